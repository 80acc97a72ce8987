"""What several commands are asked for, and how they refuse."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, NoReturn

import typer

from harness.columns import parse_backends
from harness.project import Project

Backends = Annotated[str | None, typer.Option(help="Columns, comma-separated (default: all).")]
Versions = Annotated[
    list[str] | None,
    typer.Option("--version", help="BACKEND=VERSION: that column in its other environment, with results of its own."),
]
ResultsFile = Annotated[Path | None, typer.Option(help="Results file (default: reports/results.jsonl).")]


def columns(project: Project, backends: str | None) -> list[str]:
    """The columns asked for by name or by version; none where nothing was said.

    Raises:
        ValueError: an unknown backend.
        typer.Exit: a version of a column that is not asked for.
    """
    names = parse_backends(backends) if backends else list(project.versions)
    if left_out := [name for name in project.versions if name not in names]:
        fail(f"a version of {', '.join(left_out)} is asked for, but not the column: --backends says {backends}")
    return names


def fail(message: str) -> NoReturn:
    """Refuse what was asked for, in one line.

    Raises:
        typer.Exit: always.
    """
    typer.echo(f"paramatrix: {message}", err=True)
    raise typer.Exit(2)
