"""The command `repro`: a cell's two runs as a script for people who have the library alone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness import repro as reproduction
from harness import store
from harness.project import find, parse_versions


def repro(
    cell: Annotated[str, typer.Argument(help="Cell id, as `paramatrix cases` lists it.")],
    results: Annotated[Path | None, typer.Option(help="Results file (default: reports/results.jsonl).")] = None,
    version: Annotated[
        list[str] | None, typer.Option(help="BACKEND=VERSION: the results of that column's other environment.")
    ] = None,
) -> None:
    """Print a standalone script that repeats what a cell's record says, or why there is none (exit 1)."""
    project = find().at(parse_versions(version or ()))
    source = results or project.results
    found = store.read(source)
    if cell not in found.cells:
        known = "is planned but was not measured" if cell in found.planned else "is not a cell of it"
        typer.echo(f"paramatrix: {source}: {cell} {known}. `paramatrix cases` lists what can be measured.", err=True)
        raise typer.Exit(2)
    record = found.cells[cell]
    try:
        script = reproduction.script(record, found.runs[record.run], project.templates)
    except reproduction.NotReproducible as error:
        typer.echo(f"paramatrix: no script for {cell}: {error}", err=True)
        raise typer.Exit(1) from None
    typer.echo(script, nl=False)
