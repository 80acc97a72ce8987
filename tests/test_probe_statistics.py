"""Probes that decide by chance keep the error rates that they state: exactly, or by simulation."""

from __future__ import annotations

import random
from typing import Any

import pytest

from harness.backends.pacing import Traffic, schedule
from harness.declare import Probe, Seen
from matrix import MATRIX
from matrix.probes import timing
from matrix.workloads import MANY_ARRIVALS
from tests.chances import at_least, at_most

CONFIRMED_FALSELY = 1e-4
EXPONENTIAL_IS_OFF_BEAT = 0.6166
LATE = 0.01
"""Chance that a request comes half a gap late on a busy machine."""


def arrivals(times: list[float]) -> Seen:
    observation: dict[str, Any] = {"arrivals": times}
    return Seen(observation, {}, ())  # type: ignore[arg-type]  # a part of an observation


def even(rng: random.Random) -> list[float]:
    """Constant arrivals, some of them late."""
    due = schedule(len(MANY_ARRIVALS.prompts), Traffic("constant", timing.RATE))
    return [at + (rng.uniform(0.05, 0.09) if rng.random() < LATE else 0.0) for at in due]


def holds(probe: Probe, times: list[float], value: str) -> bool:
    run = arrivals(times)
    return probe.effect(run, run, value).holds


def test_the_arrival_test_keeps_its_rates_exactly() -> None:
    below = at_most(timing.MODE_LEAST - 1, timing.MODE_GAPS, EXPONENTIAL_IS_OFF_BEAT)
    # a late request makes at most two gaps odd: before it and after it
    late = at_least(-(-timing.MODE_LEAST // 2), timing.MODE_GAPS + 1, LATE)
    assert below <= CONFIRMED_FALSELY  # exponential gaps taken for even ones
    assert late <= CONFIRMED_FALSELY  # even gaps taken for exponential ones
    assert len(MANY_ARRIVALS.prompts) - 1 == timing.MODE_GAPS


@pytest.mark.parametrize(("value", "other"), [("constant", "poisson"), ("poisson", "constant")])
def test_simulated_arrivals_are_told_apart(value: str, other: str) -> None:
    rng = random.Random(1)  # noqa: S311 - repeatable
    count = len(MANY_ARRIVALS.prompts)
    wrong = 0
    for seed in range(20_000):
        poisson = schedule(count, Traffic("poisson", timing.RATE, seed))
        wrong += not holds(timing.mode, poisson if value == "poisson" else even(rng), value)
        wrong += holds(timing.mode, poisson if other == "poisson" else even(rng), value)
    # 1.4 are expected of 40 000 at the exact rates: more than 8 have a chance of 3e-5
    assert wrong <= 8


def test_the_chance_that_a_gap_is_off_beat_is_what_is_stated() -> None:
    rng = random.Random(2)  # noqa: S311 - repeatable
    draws = 40_000
    odd = sum(abs(rng.expovariate(1.0) - 1) > 0.5 for _ in range(draws))
    assert min(at_most(odd, draws, EXPONENTIAL_IS_OFF_BEAT), at_least(odd, draws, EXPONENTIAL_IS_OFF_BEAT)) > 1e-4


def test_too_few_gaps_decide_nothing() -> None:
    with pytest.raises(LookupError, match="15 gaps: 31 are needed"):
        holds(timing.mode, schedule(16, Traffic("poisson", timing.RATE, 3)), "poisson")


def test_a_probe_that_states_statistics_states_its_sample_and_its_rates() -> None:
    columns = (column for parameter in MATRIX.parameters for column in parameter.columns.values())
    stated = {probe.statistics for column in columns if (probe := getattr(column, "probe", None)) and probe.statistics}
    assert stated
    assert all("chance" in text and any(char.isdigit() for char in text) for text in stated)
