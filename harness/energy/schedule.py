"""How long to measure, in which order, and when the warm-up is over. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Final, TypeVar

from harness.energy.quality import Adequacy

T = TypeVar("T", bound=Hashable)

_SLICES: Final = 20
"""Slices of the warm-up, of which throughput is compared, to a window."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """How a cell is measured."""

    window_s: float | None = None
    """Seconds of a window. None: as long as a claim takes, which is 10 s and 100 ticks of the counter."""
    repeats: int = 3
    """Rounds, in each of which the cell and its control have a window."""
    idle_s: float = 10.0
    """Seconds of idling with the model loaded; 0: no baseline."""
    warm_up_s: float = 30.0
    """Seconds after which a warm-up is given up."""
    retries: int = 2
    """How often a contaminated window is measured again."""

    def __post_init__(self) -> None:
        seconds = self.window_s is None or self.window_s > 0
        if not seconds or self.repeats < 1 or min(self.idle_s, self.warm_up_s, self.retries) < 0:
            raise ValueError(
                "expected window_s above 0, repeats of 1 or more, and idle_s, warm_up_s and retries of 0 or more, "
                f"got window_s={self.window_s}, repeats={self.repeats}, idle_s={self.idle_s}, "
                f"warm_up_s={self.warm_up_s}, retries={self.retries}"
            )

    def filled_s(self, period_s: float) -> float:
        """Seconds to fill with work, for a counter of this period."""
        return Adequacy().needed_s(period_s) if self.window_s is None else self.window_s

    @property
    def slice_s(self) -> float:
        """Seconds of a slice of the warm-up."""
        return (Adequacy().window_s if self.window_s is None else self.window_s) / _SLICES


def rounds(runs: Sequence[T], control: T, repeats: int, random: Random) -> list[list[T]]:
    """Each round has every run and the control once, in an order of its own.

    The control stands in every round, so that each run is compared with one measured soon before or after.
    """
    found = []
    for _ in range(repeats):
        order = [*dict.fromkeys([*runs, control])]
        random.shuffle(order)
        found.append(order)
    return found


def settled(rates: Sequence[float], last: int = 3, tolerance: float = 0.05) -> bool:
    """Whether the warm-up is over: the last batches' throughputs lie within `tolerance` of their mean."""
    tail = rates[-last:]
    if len(tail) < last:
        return False
    mean = statistics.fmean(tail)
    return mean > 0 and max(abs(rate - mean) for rate in tail) <= tolerance * mean
