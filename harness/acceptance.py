"""Results held against what was accepted before: what changed, what is new, and what nobody plans any more."""

from __future__ import annotations

import json
import shlex
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

from harness import expectations
from harness.backends import MODULES
from harness.expectations import Accepted, Environment, Expectations, ExpectationsError, shown
from harness.jsontypes import JSON
from harness.records import CellRecord
from harness.store import Judged, Results
from harness.verdict import Cause, Outcome

_SHOWN_CHARACTERS: Final = 1000
_SHOWN_LINES: Final = 12


@dataclass(frozen=True, slots=True)
class Change:
    """A cell that ended in another way than was accepted, with the evidence of both."""

    record: CellRecord
    accepted: Accepted
    source: str
    """The file that says what was accepted."""

    def __str__(self) -> str:
        return f"{self.record.cell}: {self.accepted} → {self.now}"

    @property
    def now(self) -> str:
        """The new verdict, in a word."""
        return shown(self.record.cause)

    @property
    def evidence(self) -> str:
        """Both sides, as a failed test shows them."""
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        accepted, record = self.accepted, self.record
        yield f"verdict changed: {accepted} → {self.now}"
        yield f"accepted, in {self.source}: {accepted}: {accepted.saw}"
        for name, said in (("reason", accepted.reason), ("upstream", accepted.upstream)):
            if said:
                yield f"  {name}: {said}"
        yield f"now, in run {record.run}: {self.now}: {record.reason}"
        evidence = record.evidence
        for side, facts in (("treated", evidence.observed), ("control", evidence.control)):
            yield from _side(side, facts or {})
        if evidence.forwarded:
            yield f"  handed over: {_cut(list(evidence.forwarded))}"
        if evidence.resolved:
            yield f"  resolved: {_cut(evidence.resolved)}"
        yield from (f"  {made.role} run: {made.outcome}" for made in record.attempts)
        yield "All of it is in the results file."
        yield f"If that is right now: `paramatrix accept --cell {shlex.quote(record.cell)}`"


def _side(name: str, facts: Mapping[str, JSON]) -> Iterator[str]:
    """What was seen of one run."""
    for key in ("effect", "contrast", "saw", "output", "forwarded"):
        if value := facts.get(key):
            yield f"  {name} {key}: {_cut(value)}"
    if isinstance(failure := facts.get("failure"), Mapping):
        yield f"  {name} failure: {failure.get('type')}: {_cut(failure.get('message'))}"
        for key in ("root", "traceback"):
            yield from (f"    {line}" for line in str(failure.get(key) or "").splitlines()[-_SHOWN_LINES:])


def _cut(value: JSON) -> str:
    said = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return said if len(said) <= _SHOWN_CHARACTERS else said[: _SHOWN_CHARACTERS - 1] + "…"


def change(expected: Expectations | None, record: CellRecord) -> Change | None:
    """The change of a cell, where there is one."""
    if expected is None or (accepted := expected.changed(record)) is None:
        return None
    return Change(record, accepted, expected.path.name)


@dataclass(frozen=True, slots=True)
class Held:
    """Cells of a column, held against one file of expectations; or those of one environment that has none."""

    backend: str
    environments: tuple[Environment, ...]
    """Where they were measured; none where the column's interpreter could not be asked."""
    expected: Expectations | None
    """None where nothing was accepted: this is a first recording."""
    cells: tuple[CellRecord, ...]
    unplanned: tuple[str, ...]
    """Accepted rows that a run of the whole column no longer planned."""

    @property
    def changes(self) -> list[Change]:
        """Cells that ended in another way than was accepted."""
        return [found for cell in self.cells if (found := change(self.expected, cell))]

    @property
    def new(self) -> list[CellRecord]:
        """Cells of which nothing was accepted yet."""
        return [cell for cell in self.cells if self.expected is None or cell.row not in self.expected.rows]

    @property
    def gone(self) -> list[str]:
        """Accepted cells that are no longer planned, by their ids."""
        return [f"{self.backend}-{row}" for row in self.unplanned]

    @property
    def new_failures(self) -> list[CellRecord]:
        """Cells that fail in a way that was not accepted."""
        changed = [found.record for found in self.changes]
        return [cell for cell in [*changed, *self.new] if cell.verdict is Outcome.FAIL]


def environment_of(results: Results, cell: CellRecord | Judged) -> Environment | None:
    """Where a cell was measured; None where that could not be asked."""
    return Environment.of(cell.backend, results.runs[cell.run].backends[cell.backend])


def hold(results: Results, known: Iterable[Expectations]) -> list[Held]:
    """Results held against expectations, in page order.

    Raises:
        ExpectationsError: several files hold for one environment.
    """
    listed = list(known)
    groups: dict[tuple[str, object], Held] = {}
    order = {backend: index for index, backend in enumerate(MODULES)}
    for cell in sorted(results.measured, key=lambda cell: order.get(cell.backend, len(order))):
        environment = environment_of(results, cell)
        expected = expectations.find(listed, environment)
        key = (cell.backend, expected.path if expected else environment)
        held = groups.get(key) or Held(cell.backend, (), expected, (), ())
        there = [one for one in (environment,) if one and one not in held.environments]
        groups[key] = replace(held, environments=(*held.environments, *there), cells=(*held.cells, cell))
    return [replace(held, unplanned=_unplanned(results, held)) for held in groups.values()]


def _unplanned(results: Results, held: Held) -> tuple[str, ...]:
    """Only a run of the whole column states what is planned."""
    if held.expected is None or all(results.runs[cell.run].narrowed for cell in held.cells):
        return ()
    planned = {plan.row for plan in results.planned.values() if plan.backend == held.backend}
    return tuple(held.expected.unplanned(planned))


def accept(expected: Expectations, cells: Iterable[CellRecord], unplanned: Iterable[str] = ()) -> Expectations:
    """What these cells showed is what is expected from now on.

    Of a cell that ended as was accepted all that was written stays: evidence, reason, link, other outcomes.
    """
    gone = set(unplanned)
    rows = {row: accepted for row, accepted in expected.rows.items() if row not in gone}
    for cell in cells:
        if cell.row not in rows or expected.changed(cell):
            rows[cell.row] = Accepted((cell.cause,), cell.reason)
    return replace(expected, rows=rows)


def explain(expected: Expectations, cells: Iterable[CellRecord], reason: str, upstream: str) -> Expectations:
    """The same, with somebody's word on why these cells are accepted as they are.

    Raises:
        ExpectationsError: one of them passes.
    """
    rows = dict(expected.rows)
    for cell in cells:
        old = rows[cell.row]
        if old.causes == (Cause.CONFIRMED,):
            raise ExpectationsError(f"{cell.cell} passes: a reason belongs to a cell that does not")
        rows[cell.row] = replace(old, reason=reason or old.reason, upstream=upstream or old.upstream)
    return replace(expected, rows=rows)


def unexplained(expected: Expectations) -> list[str]:
    """Rows that fail, or are uncertain, with nobody's word on why that is accepted."""
    asked = (Outcome.FAIL, Outcome.UNCERTAIN)
    return [
        row
        for row, accepted in expected.rows.items()
        if not accepted.reason and any(cause.outcome in asked for cause in accepted.causes)
    ]


def unsettled(held: Iterable[Held], stale: Collection[str]) -> list[CellRecord]:
    """Stale cells that accepting would write down. Those that ended as was accepted change nothing."""
    written = [cell for one in held for cell in (*one.new, *(found.record for found in one.changes))]
    return [cell for cell in written if cell.cell in stale]


def faults(cells: Iterable[CellRecord]) -> list[CellRecord]:
    """Cells in which the harness itself failed: nothing was learned, so nothing can be accepted."""
    return [cell for cell in cells if cell.cause is Cause.HARNESS_ERROR]
