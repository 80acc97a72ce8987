"""The `paramatrix` command. Parses, calls, prints; errors are one line and a non-zero exit."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, NoReturn

import pytest
import typer

from harness import (
    claims,
    cli_accept,
    cli_claims,
    cli_config,
    cli_diff,
    cli_drift,
    cli_energy,
    cli_lint,
    cli_repro,
    cli_summary,
    environments,
    pages,
    repeating,
    replay,
    report,
    store,
)
from harness.audit import command as audit_command
from harness.audit.record import AuditError
from harness.backends import MODULES
from harness.cluster import EXECUTORS
from harness.columns import parse_backends, plan_cells
from harness.diff import DiffError
from harness.expectations import ExpectationsError
from harness.host import HostUnavailable
from harness.merge import MergeError
from harness.plan import Cell, PlanError
from harness.plugin.asked import PlannedBefore
from harness.plugin.chosen import Chosen
from harness.project import Project, ProjectError, find, parse_versions
from harness.shards import commands, planfile
from harness.shards import part as shards
from harness.shards.part import Part
from harness.shards.planfile import PlanFileError
from harness.verdict import Outcome

app = typer.Typer(
    help="Which value of which parameter really works on which LLM inference backend: measured, with evidence.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

app.command()(cli_config.validate)
app.command()(cli_config.preflight)
app.command()(cli_claims.claims)
app.command()(cli_accept.accept)
app.command()(cli_diff.diff)
app.command()(cli_drift.drift)
app.command()(cli_energy.energy)
app.command(name="plan")(commands.plan_command)
app.command(name="merge")(commands.merge_command)
app.command(name="summary")(cli_summary.summary_command)
app.command()(cli_lint.lint)
app.command()(cli_repro.repro)
app.command()(audit_command.audit)

Backends = Annotated[str | None, typer.Option(help="Columns, comma-separated (default: all).")]
Versions = Annotated[
    list[str] | None,
    typer.Option("--version", help="BACKEND=VERSION: that column in its other environment, with results of its own."),
]
ResultsFile = Annotated[Path | None, typer.Option(help="Results file (default: reports/results.jsonl).")]


@app.command()
def setup(
    backends: Annotated[str | None, typer.Option(help="Comma-separated (default: all that can run here).")] = None,
    version: Versions = None,
) -> None:
    """Make the backends' environments from their pinned requirements."""
    project = find().at(parse_versions(version or ()))
    _install(project, _columns(project, backends))


def _install(project: Project, asked_for: list[str]) -> None:
    for name in asked_for or _pinned(project):
        if command := project.configured(name):
            typer.echo(f"{project.named(name)}: no environment is made: its host is started by {shlex.join(command)}")
            continue
        files = environments.requirement_files(project.requirement_folder(name), cuda=environments.has_nvidia_gpu())
        try:
            made = environments.make(project.environment(name), files)
        except environments.SetupError as error:
            if asked_for:
                raise
            # the other columns can be measured; this one is told as not run
            typer.echo(f"{name}: not installed: {error}", err=True)
            continue
        if made:
            typer.echo(f"{project.named(name)}: environment ready in {project.environment(name)}")


@app.command()
def run(  # noqa: PLR0917 - typer makes options of them
    backends: Backends = None,
    version: Versions = None,
    k: Annotated[str | None, typer.Option("-k", help="pytest -k expression over cell ids.")] = None,
    cell: Annotated[list[str] | None, typer.Option(help="Exact cell id; may be given several times.")] = None,
    model: Annotated[str | None, typer.Option(help="Model folder or hub id.")] = None,
    workers: Annotated[str | None, typer.Option(help="Slots: a number, or auto (see README).")] = None,
    repeat: Annotated[int, typer.Option(min=1, help="Judge every cell so often, in random order, anew.")] = 1,
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
            _fail(f"--shard {shard}: the shard's own results file is needed, like --out shard-{part.shard.index}.jsonl")
    project = find().at(parse_versions(version or ()))
    asked_for = _columns(project, backends)
    if install:
        _install(project, asked_for)
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
    chosen = _of_shard(project, part, cells, known, target) if part else None
    del known  # or it would be there as long as the run
    if unknown := [name for name in cell or () if name not in planned]:
        _fail(f"no cell is called {', '.join(unknown)}. `paramatrix cases` lists the {len(planned)} planned cells.")
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
        *(["--matrix-fresh"] if fresh or repeat > 1 else []),
    ]
    code = _measure(arguments, [PlannedBefore(cells), *filter(None, [chosen])], target, repeat, order)
    if code == pytest.ExitCode.NO_TESTS_COLLECTED:
        _fail(f"K={k!r} matches none of the {len(planned)} planned cells. `paramatrix cases` lists them.")
    if code == pytest.ExitCode.USAGE_ERROR or not target.exists():
        raise typer.Exit(int(code) or 1)
    found = store.read(target)
    _summarise(found, [] if part else _pages(project, target, found, pages_folder), target)
    raise typer.Exit(int(code))


def _model(model: str | None, part: Part | None, project: Project) -> str | None:
    """A model that is a folder, as it is called from the project's root."""
    if part and model:
        return planfile.found_model(model, project.root)
    if model and Path(model).expanduser().exists():
        return str(Path(model).expanduser().absolute())
    return model


def _demand(project: Project, names: Iterable[str]) -> None:
    """Backends that were asked for have to be there."""
    for name in names:
        other = f" VERSIONS={name}={project.versions[name]}" if name in project.versions else ""
        if reason := project.launcher(name).missing():
            _fail(f"no {project.named(name)} environment ({reason}). `make setup BACKENDS={name}{other}` installs it.")
        if other:
            project.launcher(name).describe(name)  # before anything runs: is it that version?


def _of_shard(project: Project, part: Part, cells: Iterable[Cell], known: store.Results, target: Path) -> Chosen:
    """The cells of a shard that are to be run; where there are none, the command ends well."""
    own = part.cells(cells, project.root)
    left = part.left(own, known, target)
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
    if executor is None:
        return ["-n", workers] if workers else []
    if executor not in EXECUTORS:
        _fail(f"--executor {executor}: expected {' or '.join(EXECUTORS)}")
    if workers and workers != "auto" and not workers.isdigit():
        _fail(f"--workers {workers}: with an executor, expected how many slots at once, or auto: all there are")
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


@app.command(name="report")
def report_command(
    results: ResultsFile = None,
    version: Versions = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the pages (default: beside the results).")] = None,
) -> None:
    """Render the pages again, from results, rules and claims alone."""
    project = find().at(parse_versions(version or ()))
    source = results or project.results
    for page in _pages(project, source, store.read(source), out or source.parent):
        typer.echo(page)


def _pages(project: Project, source: Path, results: store.Results, out: Path) -> list[Path]:
    known = claims.read(project.reports / claims.FILE)
    costs = pages.measurements(source)
    written = pages.write(project.matrix(), results, known, project.templates, out, costs=costs)
    return [*written, report.save_parts(replay.parts(results, project.templates), out / replay.PAGE)]


@app.command()
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


@app.command()
def repair(results: ResultsFile = None) -> None:
    """Set a torn last line of a results file aside and keep the rest."""
    source = results or find().results
    if not source.exists():
        _fail(f"{source}: no such results file")
    aside = store.repair(source)
    typer.echo(f"{source}: {'nothing was torn' if aside is None else f'the torn line is now in {aside}'}")


def _columns(project: Project, backends: str | None) -> list[str]:
    """The columns asked for by name or by version; none where nothing was said."""
    names = parse_backends(backends) if backends else list(project.versions)
    if left_out := [name for name in project.versions if name not in names]:
        _fail(f"a version of {', '.join(left_out)} is asked for, but not the column: --backends says {backends}")
    return names


def _every_column(project: Project, known: store.Results) -> list[str]:
    """All backends. One that is not installed is told as not run, but never in the place of what was judged before."""
    installed = project.installed()
    if not installed:
        _fail("no backend is installed. `make setup` installs those that can run on this machine.")
    judged = {record.backend for record in known.judged if record.verdict is not Outcome.NOT_RUN}
    return [name for name in MODULES if name in installed or name not in judged]


def _pinned(project: Project) -> list[str]:
    cuda = environments.has_nvidia_gpu()
    folders = {name: folder for name in MODULES if (folder := project.requirement_folder(name)).is_dir()}
    found = [name for name, folder in folders.items() if environments.installable(folder, cuda=cuda)]
    for name in [name for name in folders if name not in found]:
        typer.echo(f"{name}: not installed: {folders[name]} has no requirement files for this machine")
    if not found:
        _fail(f"{project.requirements}: no requirements of a backend there: expected a folder named like the backend")
    return found


def _fail(message: str) -> NoReturn:
    typer.echo(f"paramatrix: {message}", err=True)
    raise typer.Exit(2)


def main() -> None:
    """Entry point: every expected error is one line."""
    try:
        app()
    except (
        ProjectError,
        PlanError,
        AuditError,
        store.StoreError,
        report.ReportError,
        claims.ClaimsError,
        DiffError,
        ExpectationsError,
        MergeError,
        PlanFileError,
        HostUnavailable,
        environments.SetupError,
        FileNotFoundError,
        ValueError,
    ) as error:
        typer.echo(f"paramatrix: {error}", err=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
