"""What changed between two results files: cells by verdict, cause, evidence level and resolved values.

Only columns that both files have are compared, so that the results of one column can be held against
those of a whole matrix. Which resolved values count is told in `harness.settled`.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from harness import circumstances, report, signs
from harness.circumstances import Fact
from harness.jsontypes import JSON
from harness.ordering import natural
from harness.records import CellRecord, Planned
from harness.report import Measured
from harness.settled import ABSENT, ValueChange, changes
from harness.store import Results
from harness.verdict import Outcome

PAGE: Final = "version-diff.md"
_SHOWN_CELLS: Final = 3
_SHOWN_CHARACTERS: Final = 80


class DiffError(RuntimeError):
    """Two results cannot be compared; one line with the mend."""


@dataclass(frozen=True, slots=True)
class State:
    """How a cell ended on one side; all None where it was planned and not measured."""

    verdict: str | None
    cause: str | None
    level: str | None
    reason: str
    stale: bool = False
    """Whether it is of other inputs than the newest run in its file (†)."""

    @property
    def symbol(self) -> str:
        """As a page shows it."""
        if self.verdict is None:
            return Outcome.NOT_RUN.symbol
        return signs.shown(Outcome(self.verdict), self.level) + (signs.STALE if self.stale else "")


@dataclass(frozen=True, slots=True)
class CellChange:
    """A cell that both sides planned and that ended differently."""

    cell: str
    backend: str
    section: str
    changed: tuple[str, ...]
    """Some of "verdict", "cause", "level" and "resolved"."""
    before: State
    after: State
    resolved: tuple[ValueChange, ...]


@dataclass(frozen=True, slots=True)
class OneSided:
    """A cell that only one side planned."""

    cell: str
    backend: str
    section: str
    state: State


@dataclass(frozen=True, slots=True)
class Everywhere:
    """One change of a resolved value, and the cells that show it."""

    path: str
    before: str
    after: str
    cells: str


@dataclass(frozen=True, slots=True)
class Difference:
    """All that changed, and between what."""

    before: tuple[Measured, ...]
    after: tuple[Measured, ...]
    backends: tuple[str, ...]
    left_out: tuple[str, ...]
    """Columns that only one side has."""
    both: int
    """Cells that both sides planned."""
    stale: tuple[int, int]
    """How many records of each side are of other inputs than its file's newest run (†)."""
    changed: tuple[CellChange, ...]
    appeared: tuple[OneSided, ...]
    vanished: tuple[OneSided, ...]

    @property
    def judged(self) -> list[CellChange]:
        """Cells that are judged differently, whatever was read back."""
        return [change for change in self.changed if change.changed != ("resolved",)]

    @property
    def unchanged(self) -> int:
        """Cells of both sides that ended alike."""
        return self.both - len(self.changed)

    @property
    def packages(self) -> list[Fact]:
        """Versions that differ."""
        return circumstances.packages(self.before, self.after)

    @property
    def circumstances(self) -> list[Fact]:
        """What else differs, and may be the reason for a change that no package explains."""
        return circumstances.others(self.before, self.after)

    def everywhere(self) -> list[Everywhere]:
        """Resolved changes, each once with the cells that show it, the most frequent first."""
        found: dict[tuple[str, str, str], list[str]] = {}
        for change in self.changed:
            for value in change.resolved:
                shown = (_cut(_text(value.before)), _cut(_text(value.after)))
                key = (value.path or "(everything)", *shown)
                found.setdefault(key, []).append(change.cell)
        ordered = sorted(found.items(), key=lambda item: (-len(item[1]), natural(item[0][0]), item[0]))
        return [Everywhere(*key, cells=self._cells(cells)) for key, cells in ordered]

    def _cells(self, cells: list[str]) -> str:
        if len(cells) == self.both > 1:
            return f"all {self.both}"
        rest = len(cells) - _SHOWN_CELLS
        return ", ".join(cells[:_SHOWN_CELLS]) + (f" and {rest} more" if rest > 0 else "")

    def to_json(self) -> dict[str, Any]:
        """Plain JSON: everything, uncut."""
        return {
            "before": [_measured(source) for source in self.before],
            "after": [_measured(source) for source in self.after],
            "backends": list(self.backends),
            "left_out": list(self.left_out),
            "stale": dict(zip(("before", "after"), self.stale, strict=True)),
            "packages": [asdict(fact) for fact in self.packages],
            "circumstances": [asdict(fact) for fact in self.circumstances],
            "cells": {
                "both": self.both,
                "unchanged": self.unchanged,
                "changed": len(self.changed),
                "appeared": len(self.appeared),
                "vanished": len(self.vanished),
            },
            "changed": [asdict(change) for change in self.changed],
            "appeared": [asdict(cell) for cell in self.appeared],
            "vanished": [asdict(cell) for cell in self.vanished],
        }


def difference(before: Results, after: Results, *, repeat: Results | None = None) -> Difference:
    """Hold `after` against `before`.

    Args:
        before: the older results.
        after: the newer.
        repeat: another run of one side's version: what was read back differently there varies by nature.

    Raises:
        DiffError: they have no column in common.
    """
    old, new = ({plan.backend for plan in results.planned.values()} for results in (before, after))
    common = tuple(sorted(old & new))
    if not common:
        has = [", ".join(sorted(names)) or "no cells" for names in (old, new)]
        raise DiffError(
            f"nothing to compare: the first has {has[0]}, the second has {has[1]}; expected a common column"
        )
    noise = _noise((before, after), repeat) if repeat else frozenset()
    shared = [cell for cell in after.planned if cell in before.planned]
    old_stale, new_stale = before.stale, after.stale
    return Difference(
        before=tuple(source for source in report.measured(before) if source.backend in common),
        after=tuple(source for source in report.measured(after) if source.backend in common),
        backends=common,
        left_out=tuple(sorted(old ^ new)),
        both=len(shared),
        stale=(_count(before, old_stale, common), _count(after, new_stale, common)),
        changed=tuple(
            change
            for cell in shared
            if (
                change := _change(
                    after.planned[cell],
                    (before.cells.get(cell), after.cells.get(cell)),
                    (cell in old_stale, cell in new_stale),
                    noise,
                )
            )
        ),
        appeared=tuple(_one_sided(after, before, common, new_stale)),
        vanished=tuple(_one_sided(before, after, common, old_stale)),
    )


def _noise(sides: Iterable[Results], repeat: Results) -> frozenset[str]:
    """Paths that differ between the repeat and that side which ran the same packages."""
    for side in sides:
        if _packages(side, repeat) == _packages(repeat, side):
            return frozenset(
                change.path
                for cell, record in side.cells.items()
                if cell in repeat.cells
                for change in changes(record.evidence.resolved, repeat.cells[cell].evidence.resolved)
            )
    raise DiffError("the repeat ran other packages than either side: give a second run of one of the two versions")


def _packages(results: Results, other: Results) -> dict[str, Mapping[str, str | None]]:
    """The packages of the columns that the other has too."""
    common = {source.backend for source in report.measured(other)}
    return {s.backend: s.info.packages for s in report.measured(results) if s.backend in common}


def _change(
    plan: Planned, sides: tuple[CellRecord | None, CellRecord | None], stale: tuple[bool, bool], noise: frozenset[str]
) -> CellChange | None:
    before, after = sides
    old, new = _state(before, stale=stale[0]), _state(after, stale=stale[1])
    # a cell that was not measured read nothing back: its verdict says so
    values = changes(before.evidence.resolved, after.evidence.resolved) if before and after else []
    resolved = tuple(value for value in values if value.path not in noise)
    changed = [name for name in ("verdict", "cause", "level") if getattr(old, name) != getattr(new, name)]
    changed += ["resolved"] if resolved else []
    if not changed:
        return None
    return CellChange(plan.cell, plan.backend, plan.section, tuple(changed), old, new, resolved)


def _one_sided(
    there: Results, elsewhere: Results, backends: Iterable[str], stale: Collection[str]
) -> Iterable[OneSided]:
    for cell, plan in there.planned.items():
        if plan.backend in backends and cell not in elsewhere.planned:
            yield OneSided(cell, plan.backend, plan.section, _state(there.cells.get(cell), stale=cell in stale))


def _count(results: Results, stale: Collection[str], backends: Collection[str]) -> int:
    return sum(results.cells[cell].backend in backends for cell in stale)


def _state(cell: CellRecord | None, *, stale: bool) -> State:
    if cell is None:
        return State(None, None, None, "planned, not measured")
    return State(cell.verdict.value, cell.cause.value, cell.evidence.level, cell.reason, stale)


def _measured(source: Measured) -> dict[str, Any]:
    return {
        "backend": source.backend,
        "run": source.run,
        "started": source.started,
        "cells": source.cells,
        "device": source.info.device,
        "harness": source.harness,
        **source.info.model_dump(mode="json"),
    }


def _text(value: JSON) -> str:
    """As JSON, so that 16 and "16" differ on the page as well."""
    return value if value == ABSENT else json.dumps(value, ensure_ascii=False)


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARACTERS else text[: _SHOWN_CHARACTERS - 1] + "…"


def render(found: Difference, templates: Path) -> str:
    """The page.

    Raises:
        ReportError: the template is missing or wrong.
    """
    return report.fill(templates, PAGE, diff=found, columns=signs.COLUMNS)
