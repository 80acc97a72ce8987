"""The command `summary`: what a run brought."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness import expectation_files, report, store, summary
from harness.project import find


def summary_command(
    results: Annotated[Path | None, typer.Option(help="Results file (default: reports/results.jsonl).")] = None,
    before: Annotated[Path | None, typer.Option(help="Earlier results, to tell what changed since.")] = None,
    out: Annotated[Path | None, typer.Option(help="Write to this file instead of the terminal.")] = None,
) -> None:
    """What a run brought, as Markdown: counts, changed verdicts, new failures with their evidence."""
    project = find()
    source = results or project.results
    found = store.read(source)
    if not found.runs:
        raise store.StoreError(f"{source}: no run is recorded in it; `make matrix` records one")
    page = summary.render(
        found,
        expectation_files.read_all(project.expectations),
        project.templates,
        store.read(before) if before else None,
    )
    if out is None:
        typer.echo(page, nl=False)
    else:
        typer.echo(f"page: {report.save(page, out)}")
