"""How long to measure, in which order, and when the warm-up is over. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Hashable, Sequence
from random import Random
from typing import TypeVar

T = TypeVar("T", bound=Hashable)


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


def batches_for(window_s: float, batch_s: float) -> int:
    """How many batches fill a window, from the seconds that one took in the warm-up; 5 % more than needed.

    Raises:
        ValueError: a batch takes no time.
    """
    if batch_s <= 0:
        raise ValueError(f"expected a batch that takes time, got {batch_s:g} s")
    return max(1, -int(-1.05 * window_s // batch_s))


def settled(rates: Sequence[float], last: int = 3, tolerance: float = 0.05) -> bool:
    """Whether the warm-up is over: the last batches' throughputs lie within `tolerance` of their mean."""
    tail = rates[-last:]
    if len(tail) < last:
        return False
    mean = statistics.fmean(tail)
    return mean > 0 and max(abs(rate - mean) for rate in tail) <= tolerance * mean
