"""What each value costs against its control, sorted by how much can be claimed of it. Pure.

With many rows some 95 % intervals exclude zero by chance, so a difference is claimed only where an interval made for
all comparisons of a backend together excludes it (Bonferroni). A figure that a flag speaks against claims nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import log1p
from typing import Final

from harness.energy.measured import MeasuredRecord
from harness.energy.quality import Quality
from harness.energy.quantities import QUANTITIES
from harness.energy.record import EnergyRecord, Figure, Versus
from harness.records import CellRecord
from harness.verdict import Outcome

SHOWN: Final = ("j_per_output_token", "tokens_per_s", "ttft_p50_s", "peak_device_bytes", "peak_host_bytes")
"""Figures of which the difference to the control is shown."""
CLAIMED: Final = SHOWN[:3]
"""Those that rounds tell anew, in the order in which they decide the order of rows.

Peak memory is of one engine that is kept: rounds do not tell how far two loads are apart."""
OF_ENERGY: Final = frozenset(name for name, quantity in QUANTITIES.items() if "{meter}" in quantity.method)
"""Figures that are joules: what speaks against a reading speaks against them."""


class Standing(StrEnum):
    """How much can be said of a difference, from most to least."""

    DIFFERS = "differs"
    """Its interval for all comparisons together excludes no difference."""
    MAY_DIFFER = "may differ"
    """Its own 95 % interval excludes it, which among many rows happens by chance."""
    ALIKE = "not told apart"
    UNCLAIMED = "no claim"


_ORDER: Final = tuple(Standing)


@dataclass(frozen=True, slots=True)
class Effect:
    """One figure of a value, and how it stands against the control."""

    name: str
    figure: Figure
    standing: Standing

    @property
    def versus(self) -> Versus | None:
        """The difference to the control, where it was had."""
        return self.figure.versus_control


@dataclass(frozen=True, slots=True)
class Row:
    """A measured value."""

    record: MeasuredRecord
    verdict: CellRecord | None
    effects: tuple[Effect, ...]
    """Of `SHOWN`, those that were had."""
    against: str | None
    """Why nothing is claimed of it."""

    @property
    def standing(self) -> Standing:
        """The most that is claimed of one of its figures."""
        if self.against:
            return Standing.UNCLAIMED
        return min((effect.standing for effect in self.effects), key=_ORDER.index, default=Standing.UNCLAIMED)

    def effect(self, name: str) -> Effect | None:
        """A figure by its name."""
        return next((effect for effect in self.effects if effect.name == name), None)


@dataclass(frozen=True, slots=True)
class Effects:
    """All measured values of a backend."""

    rows: tuple[Row, ...]
    """Those of which most is claimed first; of these the largest differences first."""
    comparisons: int
    """Differences that could have been claimed, for all of which the claims hold together."""

    def standing(self, standing: Standing) -> list[Row]:
        """The rows that stand so."""
        return [row for row in self.rows if row.standing is standing]

    @property
    def names(self) -> list[str]:
        """Figures that any row has."""
        return [name for name in SHOWN if any(row.effect(name) for row in self.rows)]


def effects(records: Sequence[MeasuredRecord], verdicts: Mapping[str, CellRecord]) -> Effects:
    """The rows of a backend, sorted.

    Args:
        records: its measured cells.
        verdicts: cell to how it was judged.
    """
    against = {record.cell: _against(record.energy, verdicts.get(record.cell)) for record in records}
    claimed = [record.energy for record in records if not against[record.cell]]
    comparisons = sum(_claimable(energy, name) for energy in claimed for name in CLAIMED)
    rows = [
        Row(
            record,
            verdicts.get(record.cell),
            tuple(
                Effect(name, figure, _standing(record.energy, name, comparisons))
                for name in SHOWN
                if (figure := getattr(record.energy, name)) is not None
            ),
            against[record.cell],
        )
        for record in records
    ]
    return Effects(tuple(sorted(rows, key=_place)), comparisons)


def _against(energy: EnergyRecord, verdict: CellRecord | None) -> str | None:
    """Why nothing is claimed of a value, whatever its figures are."""
    if energy.mode != "measuring":
        return "one short run, not a measurement"
    if verdict is None:
        return "nobody has judged whether the value works"
    if verdict.verdict is not Outcome.PASS:
        return f"{verdict.verdict.symbol} {verdict.cause.value}: {verdict.reason}"
    if energy.quality is Quality.CONTAMINATED:
        return "; ".join(
            f"{note.flag.value}: {note.text}" for note in energy.notes if note.flag.quality is energy.quality
        )
    if not any(_versus(energy, name) for name in CLAIMED):
        return "no difference to the control was had"
    return None


def _versus(energy: EnergyRecord, name: str) -> Versus | None:
    """A figure's difference to the control, where it was had with an interval.

    Rounds that are all alike have none: an engine that is kept tells one peak of memory in each.
    """
    figure: Figure | None = getattr(energy, name)
    versus = figure.versus_control if figure else None
    return versus if versus and versus.ci95 and len(set(versus.rounds)) > 1 else None


def _claimable(energy: EnergyRecord, name: str) -> bool:
    believed = name in CLAIMED and (name not in OF_ENERGY or energy.quality is Quality.MEASURED)
    return believed and _versus(energy, name) is not None


def _standing(energy: EnergyRecord, name: str, comparisons: int) -> Standing:
    versus = _versus(energy, name)
    if versus is None or not _claimable(energy, name):
        return Standing.UNCLAIMED
    if not versus.differs:
        return Standing.ALIKE
    together = versus.interval(1 - 0.05 / max(1, comparisons))
    if together is None or together[0] <= 0 <= together[1]:
        return Standing.MAY_DIFFER
    return Standing.DIFFERS


def _place(row: Row) -> tuple[int, int, float, str]:
    """The figure that decides a row's standing, the first of `SHOWN` that does, and how large its difference is."""
    standing = row.standing
    for place, name in enumerate(SHOWN):
        effect = row.effect(name)
        if effect is not None and effect.standing is standing and effect.versus is not None:
            return _ORDER.index(standing), place, -abs(log1p(effect.versus.value)), row.record.cell
    return _ORDER.index(standing), len(SHOWN), 0.0, row.record.cell
