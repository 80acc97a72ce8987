"""Energy within a window of time: from the ticks of a counter, and from a trace of power. Pure.

A counter shows the energy up to its last tick. When it ticked is only known to lie between two reads, so the energy
at an edge of the window is interpolated between the ticks around it. It cannot be below that of the last tick that
was surely before nor above that of the first one that is surely after: this is the uncertainty.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from harness.energy.meters import Known, Missing, Sample

TICK_JITTER: Final = 1.5
"""The last tick is at most so many periods older than the read that shows it."""
POWER_GAP_S: Final = 1.0
"""Power that was not seen for longer is not interpolated."""
AVERAGED_S: Final = 1.0
"""What NVML_FI_DEV_POWER_AVERAGE averages over (NVML API reference)."""


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of time, in CLOCK_MONOTONIC seconds."""

    start: float
    end: float

    @property
    def duration_s(self) -> float:
        """Seconds."""
        return self.end - self.start

    def __contains__(self, t: float) -> bool:
        return self.start <= t <= self.end


@dataclass(frozen=True, slots=True)
class Tick:
    """A change of the counter, somewhere between two moments."""

    energy_j: float
    lo: float
    hi: float
    epoch: int

    @property
    def at(self) -> float:
        """The middle of where it may be."""
        return (self.lo + self.hi) / 2


@dataclass(frozen=True, slots=True)
class Energy:
    """Joules, and the most that they can be wrong by as far as the counter's ticks go."""

    joules: float
    uncertainty_j: float


def ticks(samples: Sequence[Sample], period_s: Known) -> list[Tick]:
    """The counter's changes that were seen; of several between two reads the last."""
    found: list[Tick] = []
    read = [(sample, sample.energy_j) for sample in samples if sample.energy_j is not None]
    for (before, was), (now, joules) in pairwise(read):
        if joules == was and now.epoch == before.epoch:
            continue
        lo, begun = before.t - before.took / 2, now.t - now.took / 2
        if not isinstance(period_s, Missing):
            lo = max(lo, begun - TICK_JITTER * period_s)
        found.append(Tick(joules, lo, begun + now.took, now.epoch))
    return found


def by_counter(samples: Sequence[Sample], window: Window, period_s: Known) -> Energy | Missing:
    """Energy between two moments by the difference of the counter."""
    seen = ticks(samples, period_s)
    first = max((i for i, tick in enumerate(seen) if tick.hi <= window.start), default=None)
    last = min((i for i, tick in enumerate(seen) if tick.lo >= window.end), default=None)
    if first is None:
        return Missing(f"no counter tick was seen before the window{_last_error(samples)}")
    if last is None:
        return Missing(f"no counter tick was seen after the window{_last_error(samples)}")
    around = seen[first : last + 1]
    if around[0].epoch != around[-1].epoch:
        return Missing("the counter was set back during the window: the device or its driver was reset")
    if not any(tick.lo in window and tick.hi in window for tick in around):
        return Missing("the window is shorter than the counter's ticks are apart")
    begun, ended = _at(around, window.start), _at(around, window.end)
    return Energy(ended.joules - begun.joules, begun.uncertainty_j + ended.uncertainty_j)


def _at(around: Sequence[Tick], moment: float) -> Energy:
    """The counter's energy at a moment that has surely a tick before it and one after it."""
    index = min(max(bisect_right([tick.at for tick in around], moment), 1), len(around) - 1)
    before, after = around[index - 1], around[index]
    share = (moment - before.at) / (after.at - before.at)
    joules = before.energy_j + share * (after.energy_j - before.energy_j)
    lowest = max(tick.energy_j for tick in around if tick.hi <= moment)
    highest = min(tick.energy_j for tick in around if tick.lo >= moment)
    return Energy(joules, max(joules - lowest, highest - joules))


def by_instant_power(samples: Sequence[Sample], window: Window) -> Known:
    """Joules between two moments by trapezoids of instant power."""
    points = [(sample.t, sample.instant_w) for sample in samples if sample.instant_w is not None]
    first = max((i for i, (t, _) in enumerate(points) if t <= window.start), default=None)
    last = min((i for i, (t, _) in enumerate(points) if t >= window.end), default=None)
    if first is None or last is None:
        side = "before" if first is None else "after"
        return Missing(f"no instant power was read {side} the window{_last_error(samples)}")
    joules = 0.0
    for (t0, w0), (t1, w1) in pairwise(points[first : last + 1]):
        if t1 - t0 > POWER_GAP_S:
            return Missing(f"no instant power was read for {t1 - t0:.1f} s during the window{_last_error(samples)}")
        slope = (w1 - w0) / (t1 - t0)
        lo, hi = max(t0, window.start), min(t1, window.end)
        joules += (hi - lo) * (w0 + slope * ((lo + hi) / 2 - t0))
    return joules


def by_average_power(samples: Sequence[Sample], window: Window) -> Known:
    """Joules between two moments by the mean of power that is itself averaged over a second.

    Only what was averaged within the window counts, so the window has to be many seconds long.
    """
    within = Window(window.start + AVERAGED_S, window.end)
    inside = [sample.average_w for sample in samples if sample.average_w is not None and sample.t in within]
    if not inside:
        return Missing(f"no average power was read during the window{_last_error(samples)}")
    return sum(inside) / len(inside) * window.duration_s


def longest_gap_s(samples: Sequence[Sample], window: Window) -> float:
    """The longest time within a window in which nothing was read."""
    good = [s.t for s in samples if s.t in window and (s.energy_j is not None or s.instant_w is not None)]
    return max(after - before for before, after in pairwise([window.start, *good, window.end]))


def _last_error(samples: Sequence[Sample]) -> str:
    errors = [sample.error for sample in samples if sample.error]
    return f": {errors[-1]}" if errors else ""
