"""The command `audit`: a mutation test of every ✅ on the real backends."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer
from _pytest.mark.expression import Expression

from harness import report, store
from harness.audit import choose, page, work
from harness.audit.record import FILE, Audit, Audited, AuditError, Fate, Sample
from harness.backends import MODULES
from harness.columns import parse_backends, plan_cells
from harness.plan import Cell
from harness.progress import Progress
from harness.project import Project, find, parse_versions
from harness.provenance import commit
from harness.session import snapshots


def audit(  # noqa: PLR0917 - typer makes options of them
    backends: Annotated[
        str | None, typer.Option(help="Columns, comma-separated (default: all that are installed and have a ✅).")
    ] = None,
    version: Annotated[
        list[str] | None, typer.Option("--version", help="BACKEND=VERSION: that column in its other environment.")
    ] = None,
    k: Annotated[str | None, typer.Option("-k", help="pytest -k expression over cell ids.")] = None,
    cell: Annotated[list[str] | None, typer.Option(help="Cell id, * stands for anything; several times.")] = None,
    sample: Annotated[int | None, typer.Option(min=1, help="So many cells, spread over sections.")] = None,
    seed: Annotated[str | None, typer.Option(help="What draws the sample (default: the commit).")] = None,
    model: Annotated[str | None, typer.Option(help="Model folder or hub id.")] = None,
    results: Annotated[Path | None, typer.Option(help="Results file (default: reports/results.jsonl).")] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for audit.json and audit.md (default: the results', or of a part .cache/audit)."),
    ] = None,
) -> None:
    """Try every ✅ again with a saboteur between declaration and upstream: exit 1 if one is ✅ all the same."""
    project = find().at(parse_versions(version or ()))
    source = (results or project.results).absolute()
    part = any(option is not None for option in (backends, k, cell, sample))
    # what a part found must not take the place of the whole
    folder = (out or (project.cache / "audit" if part else source.parent)).absolute()
    known = store.read(source)
    names = [name for name in MODULES if any(record.backend == name for record in known.judged)]
    asked = parse_backends(backends) if backends else []
    told = snapshots(project, asked or names)
    there = {name: facts for name, facts in told.items() if not isinstance(facts, str)}
    if missing := [f"{name}: {facts}" for name, facts in told.items() if isinstance(facts, str) and name in asked]:
        raise AuditError(f"no environment for {'; '.join(missing)}. `make setup` makes it.")
    planned = plan_cells(project, ",".join(there), model) if there else ()
    passed = choose.passed(planned, known)
    chosen = choose.named([one for one in passed if k is None or _matches(k, one)], cell or [])
    drawn = None
    if sample is not None:
        drawn = Sample(size=sample, seed=seed or commit(project.root) or "")
        chosen = choose.sample(chosen, sample, drawn.seed)
        typer.echo(f"a sample of {len(chosen)} of {len(passed)} ✅, --seed {drawn.seed}")
    if not chosen:
        raise AuditError(f"{source}: no ✅ is left to audit")
    shown = Progress(len(chosen))
    os.chdir(project.root)
    made = work.audit(
        project,
        planned,
        chosen,
        known,
        snapshots={name: facts for name, facts in there.items() if any(one.backend == name for one in chosen)},
        tell=lambda audited, took_s: shown.told(_line(audited), took_s, "; ".join(audited.missed)),
        narrowed=len(chosen) < len(passed),
        sample=drawn,
    )
    shown.close()
    for table in page.rates(made):
        typer.echo(table)
    _write(project, made, folder)
    for why in made.missed:
        typer.echo(f"missed: {why}", err=True)
    raise typer.Exit(1 if made.missed else 0)


def _matches(expression: str, cell: Cell) -> bool:
    try:
        return Expression.compile(expression.lstrip()).evaluate(lambda name, /, **_: name.lower() in cell.id.lower())
    except SyntaxError as error:
        raise AuditError(f"-k {expression!r}: at column {error.offset}: {error.msg}") from None


def _line(audited: Audited) -> str:
    killed = sum(mutant.fate is Fate.KILLED for mutant in audited.mutants)
    return f"{audited.cell} ({audited.level or audited.honest}): {killed} of {len(audited.mutants)} mutants killed"


def _write(project: Project, made: Audit, folder: Path) -> None:
    report.save(made.model_dump_json(indent=1) + "\n", folder / FILE)
    typer.echo(f"audit: {folder / FILE}")
    typer.echo(f"page:  {report.save(page.render(made, project.templates), folder / page.PAGE)}")
