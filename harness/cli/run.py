"""The command `run`: the matrix, or a part of it, measured."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Final

import pytest
import typer

from harness import repeating, report, store
from harness.backends import MODULES
from harness.cli.options import Backends, Versions, columns, fail
from harness.cli.report import write_pages
from harness.cli.setup import make_environments
from harness.cluster import EXECUTORS
from harness.columns import plan_cells
from harness.plan import Cell
from harness.plugin.asked import PlannedBefore
from harness.plugin.chosen import Chosen
from harness.project import Project, find, parse_versions
from harness.shards import part as shards
from harness.shards import planfile
from harness.shards.part import Part
from harness.verdict import Outcome

_MOST_REPEATS: Final = 999


def run(  # noqa: PLR0917 - typer makes options of them
    backends: Backends = None,
    version: Versions = None,
    k: Annotated[str | None, typer.Option("-k", help="pytest -k expression over cell ids.")] = None,
    cell: Annotated[list[str] | None, typer.Option(help="Exact cell id; may be given several times.")] = None,
    model: Annotated[str | None, typer.Option(help="Model folder or hub id.")] = None,
    workers: Annotated[str | None, typer.Option(help="Slots: a number, or auto (see README).")] = None,
    repeat: Annotated[int, typer.Option(help="Judge every cell so often, in random order, anew.")] = 1,
    order: Annotated[str | None, typer.Option(help="page, random or random:SEED.")] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "--results", help="Results file (default: reports/results.jsonl).")
    ] = None,
    pages_folder: Annotated[
        Path | None, typer.Option("--pages", help="Folder for the pages (default: beside the results).")
    ] = None,
    shard: Annotated[str | None, typer.Option(help="INDEX/COUNT: that part of --plan, without pages.")] = None,
    plan: Annotated[Path | None, typer.Option(help="What `paramatrix plan` printed.")] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Run also the cells whose inputs did not change.")] = False,
    install: Annotated[bool, typer.Option("--install", help="First do what `paramatrix setup` does.")] = False,
    executor: Annotated[str | None, typer.Option(help="ray: judge on a Ray cluster instead of here.")] = None,
    ray_address: Annotated[str | None, typer.Option(help="The cluster, HOST:PORT (default: RAY_ADDRESS).")] = None,
) -> None:
    """Measure the matrix, or a part of it, and write the pages."""
    chosen_by_hand = {"--backends": backends, "--version": version, "-k": k, "--cell": cell, "--model": model}
    if part := shards.part(shard, plan, {**chosen_by_hand, "--pages": pages_folder}):
        asked = part.plan.header.asked
        backends, model = ",".join(asked.backends) or None, asked.model
        version = [f"{name}={text}" for name, text in asked.versions.items()]
        if out is None:
            fail(f"--shard {shard}: the shard's own results file is needed, like --out shard-{part.shard.index}.jsonl")
    if not 1 <= repeat <= _MOST_REPEATS:
        fail(f"--repeat {repeat}: expected how often to judge every cell: a whole number from 1 to {_MOST_REPEATS}")
    project = find().at(parse_versions(version or ()))
    asked_for = columns(project, backends)
    if install:
        make_environments(project, asked_for)
    if executor is None:
        _demand(project, asked_for)
    # paths are meant from where the user stands, pytest starts in the project
    target = (out or project.results).absolute()
    if target.exists() and (aside := store.mend(target)):
        typer.echo(f"{target}: its last line was torn, by a run that was killed: it is now in {aside}", err=True)
    known = store.read(target) if target.exists() else store.Results()
    names = asked_for or (list(MODULES) if part else _every_column(project, known))
    pages_folder = (pages_folder or target.parent).absolute()
    model = _model(model, part, project)
    cells = plan_cells(project, ",".join(names), model)
    planned = {planned.id for planned in cells}
    fresh = fresh or repeat > 1
    chosen = _of_shard(project, part, cells, known, target, fresh=fresh) if part else None
    del known  # or it would be there as long as the run
    if unknown := [name for name in cell or () if name not in planned]:
        fail(f"no cell is called {', '.join(unknown)}. `paramatrix cases` lists the {len(planned)} planned cells.")
    os.chdir(project.root)
    nodes = [f"{project.cases}::test_cell[{name}]" for name in cell or ()]
    arguments = [
        *(nodes or [project.cases]),
        *("-q", "--no-header", "--no-summary", "-p", "no:warnings", "-p", "no:hypothesispytest", "--matrix-progress"),
        f"--matrix-backends={','.join(names)}",
        *(f"--matrix-version={text}" for text in version or ()),
        *([f"--matrix-model={model}"] if model else []),
        *(["-k", k] if k else []),
        *_spread(executor, workers, ray_address),
        *(["--matrix-fresh"] if fresh else []),
    ]
    code = _measure(arguments, [PlannedBefore(cells), *filter(None, [chosen])], target, repeat, order)
    if code == pytest.ExitCode.NO_TESTS_COLLECTED:
        fail(f"K={k!r} matches none of the {len(planned)} planned cells. `paramatrix cases` lists them.")
    if code == pytest.ExitCode.USAGE_ERROR or not target.exists():
        raise typer.Exit(int(code) or 1)
    found = store.read(target)
    _summarise(found, [] if part else write_pages(project, target, found, pages_folder), target)
    raise typer.Exit(int(code))


def _model(model: str | None, part: Part | None, project: Project) -> str | None:
    """A model that is a folder, as it is called from the project's root."""
    if part and model:
        return planfile.found_model(model, project.root)
    # Path's own fails for the home of nobody
    if model and (folder := Path(os.path.expanduser(model))).exists():  # noqa: PTH111
        return str(folder.absolute())
    return model


def _demand(project: Project, names: Iterable[str]) -> None:
    """Backends that were asked for have to be there."""
    for name in names:
        other = f" VERSIONS={name}={project.versions[name]}" if name in project.versions else ""
        if reason := project.launcher(name).missing():
            fail(f"no {project.named(name)} environment ({reason}). `make setup BACKENDS={name}{other}` installs it.")
        if other:
            project.launcher(name).describe(name)  # before anything runs: is it that version?


def _of_shard(
    project: Project, part: Part, cells: Iterable[Cell], known: store.Results, target: Path, *, fresh: bool
) -> Chosen:
    """The cells of a shard that are to be run; where there are none, the command ends well."""
    own = part.cells(cells, project.root)
    left = part.left(own, known, target, fresh=fresh)
    before = f", {len(own) - len(left)} of them judged before" if len(left) < len(own) else ""
    typer.echo(f"shard {part.shard}: {len(own)} cells{before}")
    if not own and not known.runs:
        shards.write_empty(project, target, part.shard)
    if not left:
        raise typer.Exit
    return Chosen([cell.id for cell in left], part.shard)


def _measure(arguments: list[str], plugins: list[object], target: Path, repeat: int, order: str | None) -> int:
    """Judge once, or several times in random order; the exit status."""

    def once(file: Path) -> int:
        asked = order or ("random" if repeat > 1 else "page")
        return pytest.main([*arguments, f"--matrix-results={file}", f"--matrix-order={asked}"], plugins=plugins)

    return once(target) if repeat == 1 else repeating.measure(once, target, repeat)


def _spread(executor: str | None, workers: str | None, ray_address: str | None) -> list[str]:
    """What pytest is told of where the cells are judged."""
    if workers and workers != "auto" and not re.fullmatch(r"[1-9]\d{0,3}", workers):
        fail(f"--workers {workers}: expected auto (all slots there are), or how many: a whole number from 1 to 9999")
    if executor is None:
        return ["-n", workers] if workers else []
    if executor not in EXECUTORS:
        fail(f"--executor {executor}: expected {' or '.join(EXECUTORS)}")
    slots = [f"--matrix-slots={workers}"] if workers and workers != "auto" else []
    address = [f"--matrix-ray-address={ray_address}"] if ray_address else []
    return [f"--executor={executor}", *slots, *address]


def _summarise(results: store.Results, written: list[Path], target: Path) -> None:
    for summary in report.summaries(results):
        counts = summary.counts
        typer.echo(
            f"{summary.backend}: {summary.planned} cells: {counts[Outcome.PASS]} passed, "
            f"{counts[Outcome.FAIL]} failed, {counts[Outcome.UNCERTAIN]} uncertain, {counts[Outcome.NOT_RUN]} not run"
            + (f", {summary.unmeasured} not measured yet" if summary.unmeasured else "")
            + (f", {summary.stale} stale" if summary.stale else "")
        )
    typer.echo(f"evidence: {target}")
    for page in written:
        typer.echo(f"page:     {page}")


def _every_column(project: Project, known: store.Results) -> list[str]:
    """All backends. One that is not installed is told as not run, but never in the place of what was judged before."""
    installed = project.installed()
    if not installed:
        fail("no backend is installed. `make setup` installs those that can run on this machine.")
    judged = {record.backend for record in known.judged if record.verdict is not Outcome.NOT_RUN}
    return [name for name in MODULES if name in installed or name not in judged]
