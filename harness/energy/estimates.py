"""Mean, spread and interval of repeats, and how a treated run compares with its control. Pure.

Repeats are few (3 by default), so intervals are Student's: with 3 repeats 95 % reach 4.3 standard errors, not 2.

The difference to the control is paired: treated and control are measured in every round, one soon after the other,
and a drift (a device that warms up) acts on both. Its ratio is judged on a logarithmic scale, where it is symmetric,
so the interval is `exp(mean ± t·s/√n) - 1` of the rounds' log ratios. Welch's interval would count the drift as noise,
and Fieller's, for a ratio of means, can be unbounded with few repeats.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from harness.energy.meters import Known, Missing

CONFIDENCE: Final = 0.95
_BOUNDLESS: Final = 100.0
"""Logarithm of a ratio that says nothing any more, and may soon not fit into a number."""


@dataclass(frozen=True, slots=True)
class Interval:
    """Where the true value lies, with the confidence that was asked for."""

    low: float
    high: float

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value from repeats."""

    value: float
    repeats: int
    sd: Known
    """Sample standard deviation."""
    interval: Interval | Missing


def of_mean(values: Sequence[float], confidence: float = CONFIDENCE) -> Estimate:
    """Mean of repeats, with its interval.

    Raises:
        ValueError: there are none.
    """
    if not values:
        raise ValueError("expected at least one repeat")
    mean, n = statistics.fmean(values), len(values)
    if n == 1:
        one = Missing("one repeat has no spread")
        return Estimate(mean, n, one, one)
    sd = statistics.stdev(values)
    reach = student_t(n - 1, confidence) * sd / math.sqrt(n)
    return Estimate(mean, n, sd, Interval(mean - reach, mean + reach))


def of_difference(rounds: Sequence[tuple[float, float]], confidence: float = CONFIDENCE) -> Estimate | Missing:
    """Relative difference of treated to control: 0.1 is a tenth more. `sd` is that of the log ratios.

    Args:
        rounds: (treated, control) of each round, measured one soon after the other.
        confidence: of the interval; 1 - 0.05/m for a claim about any of m rows (Bonferroni).
    """
    if not rounds:
        return Missing("no round has both the treated run and its control")
    if any(value <= 0 for pair in rounds for value in pair):
        return Missing("a ratio needs positive values")
    logs = of_mean([math.log(treated) - math.log(control) for treated, control in rounds], confidence)
    if isinstance(logs.interval, Missing):
        return Estimate(math.expm1(logs.value), 1, logs.sd, logs.interval)
    if max(abs(logs.interval.low), abs(logs.interval.high)) > _BOUNDLESS:
        return Missing("the rounds are too far apart for an interval")
    ends = Interval(math.expm1(logs.interval.low), math.expm1(logs.interval.high))
    return Estimate(math.expm1(logs.value), logs.repeats, logs.sd, ends)


def percentile(values: Sequence[float], percent: float) -> Known:
    """A percentile, linear between neighbours; missing where too few values lie beyond it to tell."""
    needed = math.ceil(round(100 / (100 - percent), 9))
    if len(values) < needed:
        return Missing(f"{len(values)} values, expected at least {needed} for the {percent:g}th percentile")
    ordered = sorted(values)
    place = (len(ordered) - 1) * percent / 100
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])


def student_t(freedom: int, confidence: float = CONFIDENCE) -> float:
    """How many standard errors to both sides hold a share `confidence` of Student's t, by bisection.

    Raises:
        ValueError: `freedom` is below 1, or `confidence` not between 0 and 1.
    """
    if freedom < 1 or not 0 < confidence < 1:
        raise ValueError(f"expected freedom >= 1 and 0 < confidence < 1, got {freedom} and {confidence}")
    low, high = 0.0, math.pi / 2
    for _ in range(100):
        middle = (low + high) / 2
        if _within(middle, freedom) < confidence:
            low = middle
        else:
            high = middle
    return math.sqrt(freedom) * math.tan(low)


def _within(angle: float, freedom: int) -> float:
    """P(|T| < t) with angle = atan(t/√freedom): the finite series of Abramowitz & Stegun, 26.7.3 and 26.7.4."""
    sine, cosine = math.sin(angle), math.cos(angle)
    odd = freedom % 2
    term, total = (cosine, 0.0) if odd else (1.0, 0.0)
    for k in range(odd, freedom - 1, 2):
        total += term
        term *= cosine * cosine * (k + 1) / (k + 2)
    return 2 / math.pi * (angle + sine * total) if odd else sine * total
