"""Where things stand on the picture of power over time: the windows of one cell of each backend. Pure geometry."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from harness.energy.measured import MeasuredRecord
from harness.energy.windows import POWER_GAP_S

PICTURE: Final = "energy-trace.svg"
WIDTH: Final = 1040
LEFT: Final = 64
RIGHT: Final = 1024
HEIGHT: Final = 150
"""Of one plot."""
TOP: Final = 92
BETWEEN: Final = 86
_POINTS: Final = 2000
"""More than the picture has pixels for."""
_STEPS: Final = (1, 2, 5)


@dataclass(frozen=True, slots=True)
class Tick:
    """A line of an axis."""

    at: float
    text: str


@dataclass(frozen=True, slots=True)
class Shade:
    """A window."""

    role: str
    x: float
    width: float
    hint: str
    kept: bool
    letter: str
    """What it is labelled with, where there is room."""


@dataclass(frozen=True, slots=True)
class Plot:
    """The trace of one cell."""

    title: str
    y: float
    bottom: float
    lines: list[str]
    """Points of each stretch without a gap."""
    shades: list[Shade]
    watts: list[Tick]
    seconds: list[Tick]


@dataclass(frozen=True, slots=True)
class Traces:
    """The whole picture."""

    width: int
    height: float
    plots: list[Plot]


def traces(cells: Sequence[tuple[str, MeasuredRecord]]) -> Traces:
    """The picture of some cells, each with a title; those without a trace are left out."""
    plots: list[Plot] = []
    for title, record in cells:
        if record.trace:
            y = TOP + len(plots) * (HEIGHT + BETWEEN)
            plots.append(_plot(y, title, record, record.trace))
    return Traces(WIDTH, TOP + len(plots) * (HEIGHT + BETWEEN), plots)


def _plot(y: float, title: str, record: MeasuredRecord, trace: Sequence[tuple[float, float]]) -> Plot:
    points = sorted(trace)
    start = min([points[0][0], *(window.start_s for window in record.windows)])
    end = max([points[-1][0], *(window.end_s for window in record.windows)])
    top = 1.08 * max(watts for _, watts in points)
    bottom = y + HEIGHT

    def across(second: float) -> float:
        return round(LEFT + (second - start) / max(end - start, 1e-9) * (RIGHT - LEFT), 1)

    def up(watts: float) -> float:
        return round(bottom - watts / max(top, 1e-9) * HEIGHT, 1)

    shades = [
        Shade(
            window.role,
            across(window.start_s),
            round(across(window.end_s) - across(window.start_s), 1),
            f"{window.role}{f', round {window.round}' if window.round else ''}: {window.start_s:.1f} to "
            f"{window.end_s:.1f} s{'' if window.energy_j is None else f', {window.energy_j:.4g} J'}"
            f"{'' if window.kept else ', contaminated and measured again'}",
            window.kept,
            window.role if across(window.end_s) - across(window.start_s) > 50 else window.role[0],
        )
        for window in record.windows
    ]
    return Plot(
        title,
        y,
        bottom,
        [" ".join(f"{across(t)},{up(watts)}" for t, watts in part) for part in _stretches(_thinned(points))],
        shades,
        [Tick(up(watts), f"{watts:g} W") for watts in _round_steps(0, top, 4)],
        [Tick(across(second), f"{second:g} s") for second in _round_steps(start, end, 10)],
    )


def _thinned(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Not more than can be seen; of what is left out the lowest and the highest stay."""
    size = -(-2 * len(points) // _POINTS)
    if size < 3:
        return list(points)
    kept = []
    for first in range(0, len(points), size):
        part = points[first : first + size]
        kept += sorted({min(part, key=lambda point: point[1]), max(part, key=lambda point: point[1])})
    return kept


def _stretches(points: Sequence[tuple[float, float]]) -> list[list[tuple[float, float]]]:
    """Parts between which nothing was read for longer than is interpolated."""
    parts = [[points[0]]]
    for (before, _), point in pairwise(points):
        if point[0] - before > POWER_GAP_S:
            parts.append([])
        parts[-1].append(point)
    return parts


def _round_steps(low: float, high: float, most: int) -> list[float]:
    """Round numbers between two, at most so many spaces."""
    width = max(high - low, 1e-9)
    scale = 10.0**-9
    while True:
        for step in _STEPS:
            size = step * scale
            if width / size <= most:
                first = -(-low // size)
                return [round(i * size, 9) for i in range(int(first), int(high // size) + 1)]
        scale *= 10
