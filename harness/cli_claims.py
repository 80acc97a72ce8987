"""The command `claims`: holds the rules against what the installed backends really do."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated

import typer

from harness import claims as records
from harness import combinations, report, store
from harness.claimcheck import Checker
from harness.claims import BackendClaims, Claim, Claims, Recommended
from harness.columns import parse_backends
from harness.config import settings
from harness.config.files import load_config
from harness.host import BackendHost
from harness.jsontypes import Settings
from harness.project import Project, find
from harness.provenance import new_run_id, run_record
from harness.recommended import recommended_files
from harness.redact import Redactor


def claims(
    backend: Annotated[
        str | None, typer.Option(help="Backends, comma-separated (default: every one installed).")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The claims as JSON.")] = False,
    stored: Annotated[bool, typer.Option(help="Run nothing: show what the last check found.")] = False,
) -> None:
    """Run every rule's witness and neighbour, print how often the rules are right, and render their page again."""
    project = find()
    file = project.reports / records.FILE
    known = records.read(file)
    names = parse_backends(backend) if backend else (list(known.backends) if stored else project.installed())
    if not stored:
        for name in names:
            known = Claims(backends={**known.backends, name: check(project, name)})
        records.write(known, file)
        results = store.read(project.results) if project.results.exists() else store.Results()
        page = combinations.render(project.matrix(), results, known, project.templates)
        report.save(page, project.reports / combinations.PAGE)
    shown = {name: known.backends[name] for name in names if name in known.backends}
    if as_json:
        typer.echo(json.dumps({name: found.model_dump(mode="json") for name, found in shown.items()}, indent=1))
        return
    for name, found in shown.items():
        typer.echo(_text(name, found))
    typer.echo(f"claims: {file}" if shown else "no claim has been checked: `paramatrix claims` checks them")


def check(project: Project, backend: str) -> BackendClaims:
    """Run the examples of all rules for a backend, and its recommended configs."""
    matrix, launcher = project.matrix(), project.launcher(backend)
    snapshot = launcher.describe(backend)
    header = run_record(
        [],
        run=new_run_id(),
        backends={backend: snapshot},
        models={backend: str(matrix.shipped_model)},
        sections=(),
        narrowed=True,
        root=project.root,
    )
    host = BackendHost(backend, launcher, project.limits)
    checker = Checker(matrix, backend, host, snapshot, Redactor(project.root).text)
    found: list[Claim] = []
    began = time.perf_counter()
    try:
        for claim in checker.check():
            found.append(claim)
            told = f"{claim.rule}: witness {claim.witness.outcome.value}, neighbour {claim.neighbour.outcome.value}"
            typer.echo(f"[{time.perf_counter() - began:6.1f} s] {told}", err=True)
        recommended = [
            Recommended(file=path.name, trial=checker.accepted(_stated(path)))
            for path in recommended_files(matrix.recommended)
            if load_config(path).backend == backend
        ]
    finally:
        host.close()
    return BackendClaims(
        started=header.started,
        harness=header.harness,
        backend=header.backends[backend],
        claims=found,
        recommended=recommended,
    )


def _stated(path: Path) -> Settings:
    config = load_config(path)
    return {"backend": config.backend, **settings(config)}


def _text(name: str, found: BackendClaims) -> str:
    versions = ", ".join(f"{package} {version}" for package, version in found.backend.packages.items() if version)
    lines = [f"{name}: {len(found.claims)} rules, {versions}, {found.backend.device}", records.table(found)]
    for claim in found.claims:
        for side, agreement, trial in (
            ("witness", claim.rejection, claim.witness),
            ("neighbour", claim.acceptance, claim.neighbour),
        ):
            if agreement not in (records.Agreement.AGREES, records.Agreement.SILENT):
                lines.append(f"{agreement.value}: {claim.rule} ({side} {json.dumps(trial.settings)}): {trial.says}")
    return "\n".join(lines)
