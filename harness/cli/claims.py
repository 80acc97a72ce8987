"""The command `claims`: holds the rules against what the installed backends really do."""

from __future__ import annotations

import difflib
import json
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated

import typer

from harness import claims as records
from harness import combinations, report, store
from harness.claimcheck import Checker
from harness.claims import BackendClaims, Claim, Claims, ClaimsError, Recommended
from harness.columns import parse_backends
from harness.config import settings
from harness.config.files import load_config
from harness.config.rules import REGISTRY, Rule
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
    rule: Annotated[
        list[str] | None,
        typer.Option(help="Only this rule; may be given several times. Page and claims file stay as they are."),
    ] = None,
) -> None:
    """Run every rule's witness and neighbour, print how often the rules are right, and render their page again."""
    project = find()
    file = project.reports / records.FILE
    known = records.read(file)
    rules = _named(rule) if rule else REGISTRY
    names = parse_backends(backend) if backend else (list(known.backends) if stored else project.installed())
    if not names and not stored:
        raise ClaimsError("no backend is installed. `make setup` installs those that can run on this machine.")
    if rule:
        names = _concerned(names, rules)
    found = known.backends if stored else {name: check(project, name, rules) for name in names}
    if not stored and not rule:
        _keep(project, Claims(backends={**known.backends, **found}), file)
    shown = {name: found[name] for name in names if name in found}
    if rule:
        shown = {name: part for name in shown if (part := _part(shown[name], rules)).claims}
    if as_json:
        typer.echo(json.dumps({name: found.model_dump(mode="json") for name, found in shown.items()}, indent=1))
        return
    for name, claimed in shown.items():
        typer.echo(_text(name, claimed, every=bool(rule)))
    if not shown:
        typer.echo("no claim has been checked: `paramatrix claims` checks them")
    elif stored or not rule:
        typer.echo(f"claims: {file}")


def _keep(project: Project, claims: Claims, file: Path) -> None:
    """Write the claims file, and the page made of it."""
    records.write(claims, file)
    results = store.read(project.results) if project.results.exists() else store.Results()
    page = combinations.render(project.matrix(), results, claims, project.templates)
    report.save(page, project.reports / combinations.PAGE)


def _named(ids: Sequence[str]) -> tuple[Rule, ...]:
    """The rules of these ids, in registry order.

    Raises:
        ClaimsError: there is none of such an id.
    """
    known = [item.id for item in REGISTRY]
    for unknown in [name for name in ids if name not in known]:
        near = ", ".join(difflib.get_close_matches(unknown, known, n=3, cutoff=0))
        raise ClaimsError(f"no rule is called {unknown!r}: expected one of {len(known)}, like {near}")
    return tuple(item for item in REGISTRY if item.id in ids)


def _concerned(backends: Sequence[str], rules: Sequence[Rule]) -> list[str]:
    """Those of the backends that one of the rules is about.

    Raises:
        ClaimsError: none is.
    """
    if found := [name for name in backends if any(item.holds_for(name) for item in rules)]:
        return found
    raise ClaimsError(
        f"{', '.join(item.id for item in rules)}: no rule of {', '.join(backends)}, name others with --backend"
    )


def check(project: Project, backend: str, rules: Sequence[Rule] = REGISTRY) -> BackendClaims:
    """Run the examples of rules for a backend; where they are all rules, its recommended configs too."""
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
        for claim in checker.check(rules):
            found.append(claim)
            told = f"{claim.rule}: witness {claim.witness.outcome.value}, neighbour {claim.neighbour.outcome.value}"
            typer.echo(f"[{time.perf_counter() - began:6.1f} s] {told}", err=True)
        recommended = [
            Recommended(file=path.name, trial=checker.accepted(_stated(path)))
            for path in (recommended_files(matrix.recommended) if rules is REGISTRY else ())
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


def _part(found: BackendClaims, rules: Iterable[Rule]) -> BackendClaims:
    wanted = {item.id for item in rules}
    claims = [claim for claim in found.claims if claim.rule in wanted]
    return found.model_copy(update={"claims": claims, "recommended": []})


def _text(name: str, found: BackendClaims, *, every: bool) -> str:
    """The four cells, and the examples that speak against their rules; `every`: each example."""
    versions = ", ".join(f"{package} {version}" for package, version in found.backend.packages.items() if version)
    lines = [
        f"{name}: {len(found.claims)} rule{'s' * (len(found.claims) != 1)}, {versions}, {found.backend.device}",
        records.table(found),
    ]
    for claim in found.claims:
        for side, agreement, trial in (
            ("witness", claim.rejection, claim.witness),
            ("neighbour", claim.acceptance, claim.neighbour),
        ):
            if every or agreement not in (records.Agreement.AGREES, records.Agreement.SILENT):
                example, says = json.dumps(trial.settings), trial.says or trial.outcome.value
                lines.append(f"{agreement.value}: {claim.rule} ({side} {example}): {says}")
    return "\n".join(lines)
