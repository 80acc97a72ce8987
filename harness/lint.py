"""Contradictions: between what is declared, what was measured, what the rules say, and what the pages show.

Each check looks at data, and where a page itself could be wrong, at the page as a reader sees it.
That results are older than the declarations is none: what was planned since is a note.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from harness import lint_pages, plan, signs
from harness.abilities import ability
from harness.backends import MODULES
from harness.claims import Agreement, Claims, Outcome
from harness.config import rules, settings
from harness.config.files import validate_text
from harness.config.presets import expand_preset
from harness.declare import Matrix, label
from harness.energy.measured import Measurements
from harness.plan import Cell
from harness.recommended import recommended_files
from harness.store import Judged, Results
from harness.verdict import Outcome as Verdict


@dataclass(frozen=True, slots=True)
class Subject:
    """One folder of results, and all that its pages are made of."""

    matrix: Matrix
    results: Results
    claims: Claims
    pages: Mapping[str, str]
    """The committed pages: file name to content."""
    templates: Path
    costs: Measurements | None = None


def planned_cells(matrix: Matrix) -> dict[str, Cell]:
    """The cells that the declarations plan today, by id.

    Raises:
        PlanError: the declarations contradict themselves.
    """
    models = dict.fromkeys(MODULES, str(matrix.shipped_model))
    return {cell.id: cell for cell in plan.build(matrix, models=models, backends=MODULES)}


def declarations(matrix: Matrix) -> list[str]:
    """Every contradiction among the declarations, one line each.

    Raises:
        PlanError: they cannot be planned.
    """
    planned = planned_cells(matrix)
    return [
        *_capabilities(matrix, planned),
        *_limitations(matrix, planned),
        *_use_cases(matrix, planned),
        *_recommended(matrix),
    ]


def check(subject: Subject) -> list[str]:
    """Every contradiction of the results and their pages, one line each.

    Raises:
        PlanError: the declarations contradict themselves.
        ReportError: a template is missing or wrong.
    """
    planned = planned_cells(subject.matrix)
    records = {record.cell: record for record in subject.results.judged}
    return [
        *_rows(subject, planned),
        *_abilities(subject),
        *_rules(subject, planned, records),
        *_configs(subject, records),
        *lint_pages.check(
            subject.matrix, subject.results, subject.claims, subject.pages, subject.templates, costs=subject.costs
        ),
    ]


def notes(subject: Subject, backends: Iterable[str], stale: Collection[str] = ()) -> list[str]:
    """What a reader should know and what is no contradiction: results of `backends` older than the declarations.

    `stale`: cells that are known to have been measured from other inputs than today's.
    """
    planned, results = planned_cells(subject.matrix), subject.results
    found = []
    if old := sorted(stale):
        found.append(
            f"{len(old)} of {len(results.judged)} verdicts {'is' if len(old) == 1 else 'are'} stale, like {old[0]}: "
            "what decides it has changed since. `make matrix` measures it again"
        )
    for backend in backends:
        new = [cell for cell in planned if planned[cell].backend == backend and cell not in results.planned]
        if new:
            found.append(f"{len(new)} cells of {backend} are declared and not among the results, like {new[0]}")
    for capability in subject.matrix.capabilities:
        for backend, stated in capability.stated.items():
            shown = ability(capability, backend, results)
            if stated.able and shown.symbol == Verdict.FAIL.symbol:
                found.append(f"{capability.name} on {backend}: declared able, measured {shown.text} ({shown.where})")
    present = {rule.id: rule for rule in rules.REGISTRY}
    for backend, checked in subject.claims.backends.items():
        held = {claim.rule for claim in checked.claims}
        new = [name for name, rule in present.items() if rule.holds_for(backend) and name not in held]
        found += [f"rule {name} was never held against {backend}: `paramatrix claims` does it" for name in new]
        gone = sorted(held - set(present))
        found += [f"{backend} was held against rule {name}, which is gone" for name in gone]
    return found


def _rows(subject: Subject, planned: Mapping[str, Cell]) -> Iterator[str]:
    for cell in subject.results.planned:
        if cell not in planned:
            yield f"results: {cell} is among the rows, and nothing plans it any more. Measure its column again."


def _capabilities(matrix: Matrix, planned: Mapping[str, Cell]) -> Iterator[str]:
    for capability in matrix.capabilities:
        for backend in signs.COLUMNS:
            where, stated = f"capability {capability.name!r} on {backend}", capability.stated.get(backend)
            cells = [cell for cell in capability.cells(backend) if cell in planned]
            for cell in capability.cells(backend):
                if cell not in planned:
                    yield f"{where}: rests on {cell}, which is not planned. Name a row that exists."
            if stated is None:
                yield f"{where}: nothing is declared. Say what upstream documents, and where."
            elif stated.able and cells and all(planned[cell].rejected for cell in cells):
                yield f"{where}: declared able, and validation rejects {', '.join(cells)}"


def _abilities(subject: Subject) -> Iterator[str]:
    """What is declared of a backend, against what its cells showed."""
    capabilities = {capability.name: capability for capability in subject.matrix.capabilities}
    for name, capability in capabilities.items():
        for backend, stated in capability.stated.items():
            shown = ability(capability, backend, subject.results)
            passed = [item.cell for item in shown.measured if item.symbol.startswith(Verdict.PASS.symbol)]
            if not stated.able and passed:
                where = f"capability {name!r} on {backend}"
                yield f"{where}: declared not able, and {', '.join(passed)} passed. Declare what was measured."
    for case in subject.matrix.use_cases:
        for name in case.rests_on if case.backend else ():
            if name in capabilities and case.backend:
                shown = ability(capabilities[name], case.backend, subject.results)
                if shown.symbol == Verdict.FAIL.symbol or (not shown.symbol and shown.declared == "no"):
                    yield f"use case {case.name!r}: recommends {case.backend}, whose {name} is {shown.text}"


def _limitations(matrix: Matrix, planned: Mapping[str, Cell]) -> Iterator[str]:
    for limit in matrix.limitations:
        for cell in limit.cells:
            if cell not in planned:
                yield f"limitation {limit.parameter} of {limit.backend}: is about {cell}, which is not planned"


def _rules(subject: Subject, planned: Mapping[str, Cell], records: Mapping[str, Judged]) -> Iterator[str]:
    """A cell that validation rejects and that passed: its rule has to be known as over-strict."""
    known = {
        (backend, claim.rule)
        for backend, checked in subject.claims.backends.items()
        for claim in checked.claims
        if claim.rejection is Agreement.OVER_STRICT
    }
    for name, record in records.items():
        cell = planned.get(name)
        if cell is None or record.verdict is Verdict.NOT_RUN:
            continue
        if (cell.rejected is None) != (record.rejected_by_validation is None):
            was, now = ("accepted", "rejects") if cell.rejected else ("rejected", "accepts")
            yield f"{name}: validation {was} it when it was measured, and {now} it today. Measure it again."
        if cell.rejected is None or record.verdict is not Verdict.PASS:
            continue
        broken = _broken(cell)
        if not broken:
            yield f"{name}: the schema rejects it, and it passed: {cell.rejected}"
        for rule in broken:
            if (cell.backend, rule) not in known:
                mend = "Mend the rule, or let `paramatrix claims` say on the page that it is over-strict."
                yield f"{name}: rule {rule} rejects it, and it passed. {mend}"


def _broken(cell: Cell) -> list[str]:
    values = {"backend": cell.backend, **expand_preset(dict(cell.treated.settings))}
    return [rule.id for rule in rules.violations(values) if rule.severity == "error"]


def _recommended(matrix: Matrix) -> Iterator[str]:
    titles: Counter[str] = Counter()
    for path in recommended_files(matrix.recommended):
        text = path.read_text(encoding="utf-8")
        titles[text.partition("\n")[0]] += 1
        for problem in validate_text(text, path.name, strict=True).problems:
            told = f"{problem.what}: {problem.actual}. To fix: {problem.fix}"
            yield f"recommended {path.name}: {problem.path}: {told}"
    for title, count in titles.items():
        if count > 1:
            yield f"recommended: {count} configs are called {title!r}"


def _configs(subject: Subject, records: Mapping[str, Judged]) -> Iterator[str]:
    """Recommended configs, against what was measured of their parts and of the whole."""
    tried = [item for checked in subject.claims.backends.values() for item in checked.recommended]
    for path in recommended_files(subject.matrix.recommended):
        where, config = f"recommended {path.name}", validate_text(path.read_text(encoding="utf-8"), path.name).config
        if config is None:
            continue
        stated = settings(config)
        for setting, value in stated.items():
            cell = f"{config.backend}-{setting}={label(value)}"
            if cell in records and records[cell].verdict is Verdict.FAIL:
                yield f"{where}: {cell} failed: {records[cell].cause.value}: {records[cell].reason}"
        for item in tried:
            if item.file == path.name and item.trial.settings == stated and item.trial.outcome is Outcome.FAILS:
                yield f"{where}: it was run as it is and fails: {item.trial.says}"


def _use_cases(matrix: Matrix, planned: Mapping[str, Cell]) -> Iterator[str]:
    names = [capability.name for capability in matrix.capabilities]
    for case in matrix.use_cases:
        for cell in case.cells.values():
            if cell not in planned:
                yield f"use case {case.name!r}: is decided by {cell}, which is not planned"
        for name in case.rests_on:
            if name not in names:
                expected = f"expected one of {', '.join(names)}"
                yield f"use case {case.name!r}: rests on {name!r}, which is no capability: {expected}"
