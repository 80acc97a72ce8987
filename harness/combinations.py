"""The page of invalid combinations as data: from rules, results and claims, nothing else.

What was measured wins. What is only declared says so, and never wears a ✅.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness import report
from harness.claims import Agreement, BackendClaims, Claims, Outcome, Recommended
from harness.config.rules import REGISTRY, Rule
from harness.declare import Matrix
from harness.declare_limits import Capability, Limitation
from harness.records import BackendInfo, CellRecord
from harness.store import Results
from harness.verdict import Cause
from harness.verdict import Outcome as Verdict

PAGE = "invalid-combinations.md"
DECLARED = "declared, not measured here"

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
class Measured:
    """A cell behind a statement, and where it was measured."""

    cell: str
    symbol: str
    cause: str
    where: str

    @classmethod
    def of(cls, record: CellRecord, results: Results) -> Measured:
        """A record with the versions and the device of its run."""
        info = results.runs[record.run].backends[record.backend]
        where = ", ".join([*_main(info), info.device])
        return cls(record.cell, report.symbol(record), record.cause.value, where)


@dataclass(frozen=True, slots=True)
class LimitRow:
    """A row of the runtime limitations."""

    backend: str
    parameter: str
    limitation: str
    resolution: str
    measured: tuple[Measured, ...]

    @property
    def source(self) -> str:
        """The cells it rests on, or that it is only declared."""
        return "; ".join(f"{m.symbol} {m.cell}: {m.cause} ({m.where})" for m in self.measured) or DECLARED


def limitations(matrix: Matrix, results: Results) -> list[LimitRow]:
    """What failed or could not be run, measured rows first; then what is only declared."""
    known = {cell: limit for limit in matrix.limitations for cell in limit.cells}
    rows = [_limit_row(record, results, known.get(record.cell)) for record in results.measured if _limits(record)]
    cells = {record.cell: record for record in results.measured}
    for limit in matrix.limitations:
        records = [cells[cell] for cell in limit.cells if cell in cells]
        if len(records) == len(limit.cells) and all(map(_limits, records)):
            continue  # each of its cells has a row of its own
        fine = tuple(Measured.of(record, results) for record in records if record.verdict is Verdict.PASS)
        says = limit.limitation + ("; it did not show where measured" if fine else "")
        rows.append(LimitRow(limit.backend, limit.parameter, says, limit.resolution, fine))
    order = list(report.COLUMNS)
    return sorted(rows, key=lambda row: (not row.measured, order.index(row.backend), report.natural(row.parameter)))


def _limits(record: CellRecord) -> bool:
    # what validation rejects is among the config errors
    fails = record.verdict is Verdict.FAIL and record.rejected_by_validation is None
    return fails or record.cause in _LIMITS


def _limit_row(record: CellRecord, results: Results, known: Limitation | None) -> LimitRow:
    advice = _ADVICE.get(record.cause, f"Use another value of {record.parameter}")
    says = f"{record.cause.value}: {record.reason}"
    measured = (Measured.of(record, results),)
    return LimitRow(record.backend, record.row, says, known.resolution if known else advice, measured)


def unforeseen(results: Results) -> list[CellRecord]:
    """Cells whose config validation accepts and whose run upstream ends with an error."""
    found = [cell for cell in results.measured if cell.cause in _RAISED and cell.rejected_by_validation is None]
    return sorted(found, key=lambda cell: report.natural(cell.cell))


@dataclass(frozen=True, slots=True)
class Ability:
    """One cell of the capability matrix."""

    text: str
    measured: tuple[Measured, ...]


def ability(capability: Capability, backend: str, results: Results) -> Ability:
    """Whether a backend has a feature: what its cells showed, else what is declared."""
    wanted = capability.cells(backend)
    records = [record for record in results.measured if record.cell in wanted]
    decided = [record for record in records if record.verdict is not Verdict.NOT_RUN]
    stated = capability.stated.get(backend)
    if not decided:
        word = "unknown" if stated is None else "yes" if stated.able else "no"
        note = f" ({stated.note})" if stated and stated.note else ""
        return Ability(f"{word}{note}; {DECLARED}", tuple(Measured.of(record, results) for record in records))
    passed = [record for record in decided if record.verdict is Verdict.PASS]
    failed = [record for record in decided if record.verdict is Verdict.FAIL]
    symbol = "⚠️"
    if len(passed) == len(decided):
        symbol = "✅"
    elif len(failed) == len(decided):
        symbol = "❌"
    partly = "" if len(decided) == len(wanted) else f" ({len(decided)} of {len(wanted)} measured)"
    return Ability(symbol + partly, tuple(Measured.of(record, results) for record in records))


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
                    found.append(
                        Disagreement(backend, agreement.value, rule, json.dumps(trial.settings), saw, versions(checked))
                    )
    return found


def versions(checked: BackendClaims) -> str:
    """The main library versions that claims were checked with."""
    return ", ".join(_main(checked.backend))


def _main(info: BackendInfo) -> list[str]:
    """The two libraries that a backend names first, with their versions."""
    return [f"{name} {version}" for name, version in info.packages.items() if version][:2]


@dataclass(frozen=True, slots=True)
class Recommendation:
    """A recommended config, word for word, and whether it was run."""

    title: str
    yaml: str
    status: str


def recommendations(folder: Path | None, claims: Claims) -> list[Recommendation]:
    """The recommended configs in the order of their file names; the first line is the title."""
    tried = {item.file: _tried(item, checked) for checked in claims.backends.values() for item in checked.recommended}
    found = []
    for path in sorted(folder.glob("*.yaml")) if folder else []:
        title, _, yaml = path.read_text(encoding="utf-8").partition("\n")
        found.append(
            Recommendation(
                title.removeprefix("#").strip(), yaml.strip("\n"), tried.get(path.name, DECLARED.capitalize())
            )
        )
    return found


def _tried(item: Recommended, checked: BackendClaims) -> str:
    where = f"{versions(checked)}, {checked.backend.device}"
    says = f"{item.trial.outcome.value}: {item.trial.says}".removesuffix(": ")
    return f"Run as it is, with the model {checked.backend.model}: {says} ({where})"


def rules(severity: str) -> list[Rule]:
    """The rules of one severity, in registry order."""
    return [rule for rule in REGISTRY if rule.severity == severity]


def render(matrix: Matrix, results: Results, claims: Claims, templates: Path) -> str:
    """The page.

    Raises:
        ReportError: the template is missing or wrong.
    """
    abilities = [(item.name, _row(item, results)) for item in matrix.capabilities]
    return report.fill(
        templates,
        PAGE,
        columns=report.COLUMNS,
        errors=rules("error"),
        warnings=rules("warning"),
        checked=[(name, found, _counted(found)) for name, found in sorted(claims.backends.items())],
        disagreements=disagreements(claims),
        versions=versions,
        limitations=limitations(matrix, results),
        unforeseen=unforeseen(results),
        abilities=abilities,
        recommendations=recommendations(matrix.recommended, claims),
        latest=_latest(results, claims),
    )


def _row(capability: Capability, results: Results) -> list[tuple[str, Ability]]:
    return [(backend, ability(capability, backend, results)) for backend in report.COLUMNS]


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


def write(matrix: Matrix, results: Results, claims: Claims, templates: Path, out: Path) -> Path:
    """Render the page into a folder; its path.

    Raises:
        ReportError: the template is wrong, or the folder cannot be written.
    """
    return report.save(render(matrix, results, claims, templates), out / PAGE)
