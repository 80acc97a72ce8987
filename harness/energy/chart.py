"""Where things stand on the picture of differences: rows, axes, points and intervals. Pure geometry."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from harness.energy.effects import Effects, Row, Standing
from harness.energy.wording import percent

PICTURE: Final = "energy.svg"
CHARTED: Final = {"j_per_output_token": "J per output token", "tokens_per_s": "Output tokens/s"}
"""Figure to the title of its column."""
BETTER: Final = {"j_per_output_token": -1, "tokens_per_s": 1}
"""The sign of a difference that is wanted."""
CLAIMS: Final = (Standing.DIFFERS, Standing.MAY_DIFFER, Standing.ALIKE)
"""What is drawn; of the rest nothing is claimed."""

WIDTH: Final = 1040
LABEL: Final = 330
"""Width of the column of names."""
NUMBER: Final = 66
"""Width of the column of numbers right of an axis."""
ROW: Final = 17
TITLE: Final = 34
AXIS: Final = 40
"""Height of an axis with its title."""
TOP: Final = 92
LETTERS: Final = 46
"""Characters of a name that fit."""
_TICKS: Final = (
    1,
    2,
    5,
    10,
    20,
    50,
    100,
    200,
    400,
    900,
    1900,
    4900,
    9900,
    -1,
    -2,
    -5,
    -10,
    -20,
    -50,
    -75,
    -90,
    -95,
    -99,
)
"""Differences, in percent, that an axis may name."""
_APART: Final = 44
"""Pixels between two that are named."""
_WIDEST: Final = math.log(100)
_NARROWEST: Final = math.log(1.05)


@dataclass(frozen=True, slots=True)
class Tick:
    """A line of an axis."""

    x: float
    text: str


@dataclass(frozen=True, slots=True)
class Axis:
    """A column: a logarithmic scale of ratios to the control, so that a half is as far as a double."""

    name: str
    title: str
    left: float
    right: float
    reach: float
    """The logarithm of the ratio at its right end."""

    def x(self, difference: float) -> float:
        """Where a relative difference stands, inside the axis."""
        log = math.log1p(difference) if difference > -1 else -math.inf
        share = (max(-self.reach, min(self.reach, log)) + self.reach) / (2 * self.reach)
        return round(self.left + share * (self.right - self.left), 1)

    def holds(self, difference: float) -> bool:
        """Whether it lies on the axis."""
        return difference > -1 and abs(math.log1p(difference)) <= self.reach

    @property
    def ticks(self) -> list[Tick]:
        """The lines, from the middle outwards as far apart as their texts need."""
        found = [Tick(self.x(0), "0")]
        for side in (1, -1):
            last = self.x(0)
            for named in (tick for tick in _TICKS if tick * side > 0):
                place = self.x(named / 100)
                if self.holds(named / 100) and abs(place - last) >= _APART:
                    found.append(Tick(place, f"{'+' if side > 0 else '−'}{abs(named)}%"))
                    last = place
        return sorted(found, key=lambda tick: tick.x)


@dataclass(frozen=True, slots=True)
class Point:
    """A difference with its interval."""

    x: float
    low: float
    high: float
    kind: str
    """"better" or "worse" where it differs, else "maybe", "alike" or "unclaimed"."""
    cut_low: bool
    """The interval goes on to the left of the axis."""
    cut_high: bool
    text: str
    text_x: float
    hint: str


@dataclass(frozen=True, slots=True)
class Bar:
    """A row of the picture."""

    y: float
    name: str
    hint: str
    points: list[Point]


@dataclass(frozen=True, slots=True)
class Group:
    """Rows of which equally much is claimed."""

    y: float
    title: str
    bars: list[Bar]


@dataclass(frozen=True, slots=True)
class Panel:
    """A backend."""

    y: float
    bottom: float
    title: str
    axes: list[Axis]
    groups: list[Group]
    note: str


@dataclass(frozen=True, slots=True)
class Chart:
    """The whole picture."""

    width: int
    height: float
    panels: list[Panel]


def chart(backends: Sequence[tuple[str, str, Effects]]) -> Chart:
    """The picture of all backends.

    Args:
        backends: title, model and device in words, and the effects.
    """
    y = float(TOP)
    panels = []
    for title, where, effects in backends:
        panels.append(_panel(y, title, where, effects))
        y = panels[-1].bottom + 2 * ROW
    return Chart(WIDTH, y, panels)


def _panel(y: float, title: str, where: str, effects: Effects) -> Panel:
    drawn = [row for standing in CLAIMS for row in effects.standing(standing)]
    names = [name for name in CHARTED if any((effect := row.effect(name)) and effect.versus for row in drawn)]
    span = (WIDTH - LABEL - 16) / max(1, len(names))
    axes = [
        Axis(name, CHARTED[name], LABEL + i * span + 12, LABEL + (i + 1) * span - NUMBER - 8, _reach(drawn, name))
        for i, name in enumerate(names)
    ]
    at = y + TITLE + AXIS
    groups = []
    for standing in CLAIMS:
        rows = effects.standing(standing)
        if rows:
            bars = [_bar(at + (i + 1.4) * ROW, row, axes) for i, row in enumerate(rows)]
            groups.append(Group(at + ROW / 2, f"{standing.value} ({len(rows)})", bars))
            at += (len(rows) + 1.6) * ROW
    left_out = len(effects.standing(Standing.UNCLAIMED))
    note = f"{left_out} value{'s' * (left_out != 1)} of which nothing is claimed: not drawn" if left_out else ""
    if not drawn:
        note = f"no difference to draw; {note}" if note else "no difference to draw"
    return Panel(y, at + (ROW if note else 0), f"{title}: {where}", axes, groups, note)


def _reach(rows: Sequence[Row], name: str) -> float:
    """So that every difference lies on the axis, and every interval that excludes none; up to a hundredfold."""
    logs = [_NARROWEST]
    for row in rows:
        effect = row.effect(name)
        if effect is None or effect.versus is None:
            continue
        ends = [effect.versus.value]
        if effect.standing in {Standing.DIFFERS, Standing.MAY_DIFFER} and effect.versus.ci95:
            ends += effect.versus.ci95
        logs += [abs(math.log1p(end)) for end in ends if end > -1]
    return min(_WIDEST, 1.06 * max(logs))


def _bar(y: float, row: Row, axes: Sequence[Axis]) -> Bar:
    name = row.record.row
    # the value stands at the end
    shown = name if len(name) <= LETTERS else f"…{name[1 - LETTERS :]}"
    points = [point for axis in axes if (point := _point(row, axis)) is not None]
    return Bar(round(y, 1), shown, f"{name}, against {row.record.contrast}", points)


def _point(row: Row, axis: Axis) -> Point | None:
    effect = row.effect(axis.name)
    if effect is None or effect.versus is None:
        return None
    versus = effect.versus
    low, high = versus.ci95 or (versus.value, versus.value)
    if effect.standing is Standing.DIFFERS:
        kind = "better" if versus.value * BETTER[axis.name] > 0 else "worse"
    else:
        kind = {Standing.MAY_DIFFER: "maybe", Standing.ALIKE: "alike"}.get(effect.standing, "unclaimed")
    span = f"{percent(low)} to {percent(high)}" if versus.ci95 else "one round"
    return Point(
        axis.x(versus.value),
        axis.x(low),
        axis.x(high),
        kind,
        not axis.holds(low),
        not axis.holds(high),
        percent(versus.value),
        axis.right + NUMBER,
        f"{axis.title}: {percent(versus.value)} ({span}), {effect.standing.value}",
    )
