"""The command `cases`: what is planned."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from harness.cli.options import Backends
from harness.columns import plan_cells
from harness.project import find


def cases(
    backends: Backends = None,
    model: Annotated[str | None, typer.Option(help="Model folder or hub id.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """List the planned cells."""
    for cell in plan_cells(find(), backends, model):
        if not as_json:
            typer.echo(cell.id)
            continue
        facts = {
            "cell": cell.id,
            "backend": cell.backend,
            "parameter": cell.parameter,
            "value": cell.value,
            "section": cell.section,
            "scope": cell.scope.value,
            "engine_key": cell.treated.engine_key,
            "settings": cell.treated.settings,
            "control": cell.control.settings,
            "contrast": cell.contrast,
            "effect": cell.probe.says,
            "needs": list(cell.needs),
        }
        typer.echo(json.dumps(facts, ensure_ascii=False))
