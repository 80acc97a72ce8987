"""What the devices drew over a stretch of time, thinned out for a picture. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from statistics import fmean
from typing import Final

from harness.energy.meters import Trace
from harness.energy.windows import Window

POINTS: Final = 400
"""Most that are kept."""
FINEST_S: Final = 0.1
"""Counters tick about as often."""


def power(traces: Sequence[Trace], window: Window) -> list[tuple[float, float]]:
    """(Seconds, watts of all devices together): means over stretches in which each device was read."""
    step_s = max(FINEST_S, window.duration_s / POINTS)
    each = [_means(_watts(trace), window, step_s) for trace in traces]
    if not each:
        return []
    shared = sorted(set(each[0]).intersection(*each[1:]))
    return [(window.start + (place + 0.5) * step_s, sum(means[place] for means in each)) for place in shared]


def _watts(trace: Trace) -> list[tuple[float, float]]:
    """Power as it was read; of a meter without a power sensor as its counter tells it."""
    if not trace.source.no_power:
        read = [
            (sample.t, sample.average_w if sample.instant_w is None else sample.instant_w) for sample in trace.samples
        ]
        return [(t, watts) for t, watts in read if watts is not None]
    return [
        ((before.t + now.t) / 2, (now.energy_j - before.energy_j) / (now.t - before.t))
        for before, now in pairwise(sample for sample in trace.samples if sample.energy_j is not None)
        if before.energy_j is not None and now.energy_j is not None and before.epoch == now.epoch
    ]


def _means(points: Sequence[tuple[float, float]], window: Window, step_s: float) -> dict[int, float]:
    """Mean power in each stretch of the window, by its number."""
    found: dict[int, list[float]] = {}
    for t, watts in points:
        if t in window:
            found.setdefault(int((t - window.start) / step_s), []).append(watts)
    return {place: fmean(values) for place, values in found.items()}
