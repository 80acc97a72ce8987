"""The command `report`: the pages of results, without measuring."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness import claims, pages, replay, report, store
from harness.cli.options import ResultsFile, Versions
from harness.project import Project, find, parse_versions


def report_command(
    results: ResultsFile = None,
    version: Versions = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the pages (default: beside the results).")] = None,
) -> None:
    """Render the pages again, from results, rules and claims alone."""
    project = find().at(parse_versions(version or ()))
    source = results or project.results
    for page in write_pages(project, source, store.read(source), out or source.parent):
        typer.echo(page)


def write_pages(project: Project, source: Path, results: store.Results, out: Path) -> list[Path]:
    """All pages of results that were read from `source`; their paths."""
    known = claims.read(project.reports / claims.FILE)
    costs = pages.measurements(source)
    written = pages.write(project.matrix(), results, known, project.templates, out, costs=costs)
    return [*written, report.save_parts(replay.parts(results, project.templates), out / replay.PAGE)]
