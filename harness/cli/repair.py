"""The command `repair`: a results file whose last line is torn."""

from __future__ import annotations

import typer

from harness import store
from harness.cli.options import ResultsFile, fail
from harness.project import find


def repair(results: ResultsFile = None) -> None:
    """Set a torn last line of a results file aside and keep the rest."""
    source = results or find().results
    if not source.exists():
        fail(f"{source}: no such results file")
    aside = store.mend(source)
    typer.echo(f"{source}: {'nothing was torn' if aside is None else f'the torn line is now in {aside}'}")
