"""The commands of a matrix in parts: `plan` and `merge`. `run --shard` is `run`, with cells that a plan chose."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import Annotated, Final

import pytest
import typer

from harness import groups, merge, store
from harness.columns import parse_backends, plan_cells
from harness.plan import Cell
from harness.plugin.asked import cell_of
from harness.project import Project, find, parse_versions
from harness.provenance import shown_model
from harness.shards import planfile
from harness.shards.missing import missing
from harness.shards.planfile import Asked, PlanFileError, found_model

INCOMPLETE: Final = 3
"""Exit code of `merge`: merged, but not all that was planned is judged."""


def plan_command(
    backends: Annotated[str | None, typer.Option(help="Columns, comma-separated (default: all).")] = None,
    version: Annotated[
        list[str] | None, typer.Option("--version", help="BACKEND=VERSION: that column in its other environment.")
    ] = None,
    k: Annotated[str | None, typer.Option("-k", help="pytest -k expression over cell ids.")] = None,
    model: Annotated[str | None, typer.Option(help="Model folder or hub id (default: this machine's).")] = None,
    results: Annotated[
        Path | None, typer.Option(help="Earlier results, for the expected durations (default: the project's).")
    ] = None,
) -> None:
    """Print the plan of a matrix: a header, and a line for each cell. `run --shard` measures a part of it."""
    versions = parse_versions(version or ())
    project = find().at(versions)
    source = results or project.results
    if results and not results.exists():
        raise PlanFileError(f"{results}: no such results file")
    if model and Path(model).expanduser().exists():
        # as any checkout would find it
        model = shown_model(str(Path(model).expanduser().absolute()), project.root)
    names = parse_backends(backends) if backends else list(versions)
    cells = plan_cells(project, ",".join(names) or None, model and found_model(model, project.root))
    if k:
        cells = _matching(project, cells, k)
    known = store.read(source).cells.values() if source.exists() else ()
    asked = Asked(backends=names, model=model, versions=versions, k=k)
    made = planfile.make(cells, groups.expected(cells, known), asked, project.root)
    typer.echo(made.data, nl=False)


def merge_command(
    sources: Annotated[list[Path], typer.Argument(help="Results files, each with cells of its own.")],
    out: Annotated[
        Path | None, typer.Option(help="The results file to write (default: reports/results.jsonl).")
    ] = None,
    plan: Annotated[Path | None, typer.Option(help="The shards' plan, to tell what missing shards hold.")] = None,
) -> None:
    """Write one results file from several, as of shards or of one job a backend. Equal sources make equal bytes.

    Exit 0: merged; of a plan's shards, all are there and every cell is judged. Exit 2: refused, nothing is written.
    Exit 3: merged, but shards or records are missing or stale, or cells ended as harness_error or environment.
    """
    known = planfile.read(plan) if plan else None
    target = out or find().results
    found = {source: store.read(source) for source in sources}
    if empty := [source for source, results in found.items() if not results.runs]:
        raise merge.MergeError(
            f"{empty[0]} holds no run: a shard without cells has a header all the same. Copy it again, or leave it out"
        )
    merged = merge.merged(found)
    lacking = missing(merged, known)
    merge.save(target, merged)
    typer.echo(f"{target}: {len(merged.cells)} cells of {len(merged.runs)} runs")
    if lacking:
        for line in lacking.lines():
            typer.echo(line, err=True)
        raise typer.Exit(INCOMPLETE)


def _matching(project: Project, cells: tuple[Cell, ...], k: str) -> tuple[Cell, ...]:
    """The cells that pytest itself chooses by an expression: a plan means what a run means."""
    found: set[str] = set()

    class Collector:
        def pytest_collection_finish(self, session: pytest.Session) -> None:
            found.update(cell.id for item in session.items if (cell := cell_of(item)))

    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said), contextlib.chdir(project.root):
        code = pytest.main(
            [
                *(project.cases, "--collect-only", "-qq", "-p", "no:warnings", "-k", k),
                f"--matrix-backends={','.join(dict.fromkeys(cell.backend for cell in cells))}",
            ],
            plugins=[Collector()],
        )
    matching = tuple(cell for cell in cells if cell.id in found)
    if code not in {pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED}:
        raise PlanFileError(f"K={k!r}: pytest collects nothing: {' '.join(said.getvalue().split())}")
    if not matching:
        raise PlanFileError(f"K={k!r} matches none of the {len(cells)} planned cells. `paramatrix cases` lists them.")
    return matching
