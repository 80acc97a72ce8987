"""The page of invalid combinations as data: from rules, results and claims, nothing else.

What was measured wins. What is only declared says so, and never wears a ✅.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness import report, signs
from harness.abilities import Measured, features, places
from harness.claims import Agreement, BackendClaims, Claims, Outcome
from harness.config.rules import REGISTRY, Rule
from harness.declare import Matrix
from harness.declare_limits import Limitation
from harness.ordering import natural
from harness.recommended import recommendations
from harness.store import Judged, Results
from harness.verdict import Cause
from harness.verdict import Outcome as Verdict

PAGE = "invalid-combinations.md"
DECLARED = "declared, not measured here"
NOT_SHOWN = "it did not show where measured"

_LIMITS = (Cause.MISSING_PACKAGE, Cause.MISSING_HARDWARE, Cause.MISSING_MODEL)
_RAISED = (Cause.REJECTED, Cause.CRASHED, Cause.TIMED_OUT, Cause.OUT_OF_MEMORY)
_ADVICE = {
    Cause.MISSING_PACKAGE: "Install what is missing, or use another value",
    Cause.MISSING_HARDWARE: "Run on a machine that has it, or use another value",
    Cause.MISSING_MODEL: "Provide the checkpoint, or use another value",
    Cause.OUT_OF_MEMORY: "Use a bigger device, a smaller model or another value",
    Cause.IGNORED: "Use another value: this one is accepted and has no effect",
    Cause.WRONG_OUTPUT: "Use another value: this one changes what is generated",
}


@dataclass(frozen=True, slots=True)
class LimitRow:
    """A row of the runtime limitations."""

    backend: str
    parameter: str
    limitation: str
    resolution: str
    measured: tuple[Measured, ...]
    """The cells it rests on; none where it is only declared."""

    @property
    def where(self) -> str:
        """Where its cells were measured."""
        return places(self.measured)


def limitations(matrix: Matrix, results: Results) -> list[LimitRow]:
    """What failed or could not be run, measured rows first; then what is only declared."""
    cells = {record.cell: record for record in results.judged if not results.info(record).unavailable}
    known = {cell: limit for limit in matrix.limitations for cell in limit.cells}
    rows = [_limit_row(record, results, known.get(record.cell)) for record in cells.values() if _limits(record)]
    for limit in matrix.limitations:
        records = [cells[cell] for cell in limit.cells if cell in cells]
        if len(records) == len(limit.cells) and all(map(_limits, records)):
            continue  # each of its cells has a row of its own
        told = [record for record in records if record.verdict in {Verdict.PASS, Verdict.FAIL}]
        fine = any(record.verdict is Verdict.PASS for record in told)
        says = f"{limit.limitation}; {limit.given or NOT_SHOWN}" if fine else limit.limitation
        cited = tuple(Measured.of(record, results) for record in told)
        rows.append(LimitRow(limit.backend, limit.parameter, says, limit.resolution, cited))
    order = list(signs.COLUMNS)
    return sorted(rows, key=lambda row: (not row.measured, order.index(row.backend), natural(row.parameter)))


def absent(results: Results) -> list[tuple[str, int, str]]:
    """Backends that could not be started at all: name, number of their cells, and why."""
    found = []
    for backend in signs.COLUMNS:
        cells = [cell for cell in results.judged if cell.backend == backend and results.info(cell).unavailable]
        if cells:
            found.append((backend, len(cells), f"{cells[0].cause.value}: {cells[0].reason}"))
    return found


def _limits(record: Judged) -> bool:
    # what validation rejects is among the config errors
    fails = record.verdict is Verdict.FAIL and record.rejected_by_validation is None
    return fails or record.cause in _LIMITS


def _limit_row(record: Judged, results: Results, known: Limitation | None) -> LimitRow:
    advice = _ADVICE.get(record.cause, f"Use another value of {record.parameter}")
    says = f"{record.cause.value}: {record.reason}"
    measured = (Measured.of(record, results),)
    return LimitRow(record.backend, record.row, says, known.resolution if known else advice, measured)


def unforeseen(results: Results) -> list[tuple[Judged, str]]:
    """Cells whose config validation accepts and whose run upstream ends with an error, and in which phase it does."""
    found = [cell for cell in results.judged if cell.cause in _RAISED and cell.rejected_by_validation is None]
    return [(cell, _phase(cell)) for cell in sorted(found, key=lambda cell: natural(cell.cell))]


def _phase(cell: Judged) -> str:
    failure = (cell.whole.evidence.observed or {}).get("failure") or {}
    return str(failure.get("phase", ""))


@dataclass(frozen=True, slots=True)
class Disagreement:
    """A rule and upstream do not agree about one example."""

    backend: str
    kind: str
    rule: Rule
    config: str
    """The example, as JSON."""
    saw: str
    versions: str


def disagreements(claims: Claims) -> list[Disagreement]:
    """Where the claim check contradicts the present rules, in registry order."""
    present = {rule.id: rule for rule in REGISTRY}
    found = []
    for backend, checked in sorted(claims.backends.items()):
        for claim in checked.claims:
            for agreement, trial in ((claim.rejection, claim.witness), (claim.acceptance, claim.neighbour)):
                if claim.rule in present and agreement not in {Agreement.AGREES, Agreement.SILENT}:
                    rule = present[claim.rule]
                    saw = f"{trial.outcome.value}{': ' if trial.says else ''}{trial.says}"
                    config, libraries = json.dumps(trial.settings), checked.backend.libraries
                    found.append(Disagreement(backend, agreement.value, rule, config, saw, libraries))
    return found


def rules(severity: str) -> list[Rule]:
    """The rules of one severity, in registry order."""
    return [rule for rule in REGISTRY if rule.severity == severity]


def render(matrix: Matrix, results: Results, claims: Claims, templates: Path) -> str:
    """The page.

    Raises:
        ReportError: the template is missing or wrong.
    """
    rows, footnotes = features(matrix, results)
    return report.fill(
        templates,
        PAGE,
        columns=signs.COLUMNS,
        errors=rules("error"),
        warnings=rules("warning"),
        checked=[(name, found, _counted(found)) for name, found in sorted(claims.backends.items())],
        disagreements=disagreements(claims),
        limitations=limitations(matrix, results),
        absent=absent(results),
        unforeseen=unforeseen(results),
        features=rows,
        footnotes=footnotes,
        declared=DECLARED,
        recommendations=recommendations(matrix.recommended, claims),
        latest=_latest(results, claims),
    )


def _counted(found: BackendClaims) -> dict[str, dict[str, int]]:
    sides: Iterable[tuple[str, Sequence[Outcome]]] = (
        ("rejected", [claim.witness.outcome for claim in found.claims if claim.severity == "error"]),
        ("warned of", [claim.witness.outcome for claim in found.claims if claim.severity == "warning"]),
        ("accepted", [claim.neighbour.outcome for claim in found.claims]),
    )
    return {name: {outcome.name: outcomes.count(outcome) for outcome in Outcome} for name, outcomes in sides}


def _latest(results: Results, claims: Claims) -> str | None:
    moments = [checked.started for checked in claims.backends.values()]
    if results.latest is not None:
        moments.append(results.latest.started)
    return max(moments, default=None)
