"""Probes that decide by chance keep the error rates that they state: exactly, or by simulation."""

from __future__ import annotations

import math
import os
import random
import subprocess
import sys
from typing import Any

import pytest

from harness.backends.pacing import Traffic, schedule
from harness.declare import Probe, Seen
from harness.jsontypes import JSON
from matrix import MATRIX
from matrix.probes import timing
from matrix.workloads import ARRIVALS, MANY_ARRIVALS
from tests.chances import at_least, at_most, stays_close
from tests.interpreters import ROOT

CONFIRMED_FALSELY, REFUSED_FALSELY = 1e-4, 1e-3
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


def delayed(times: list[float], rng: random.Random, chance: float = LATE) -> list[float]:
    """A schedule on a busy machine: the first request comes at once, any other may come late."""
    return [at + (rng.uniform(0.05, 0.2) if at and rng.random() < chance else 0.0) for at in times]


def holds(probe: Probe, times: list[float], value: JSON) -> bool:
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


AFTER_THE_FIRST = len(ARRIVALS.prompts) - 1


def test_a_schedule_is_told_from_any_other_with_the_stated_rates() -> None:
    assert AFTER_THE_FIRST == 15
    another = stays_close(AFTER_THE_FIRST, timing.ON_TIME_LEAST, within=0.5, below=0.01)
    assert another <= 1e-5 <= CONFIRMED_FALSELY
    refused = at_least(AFTER_THE_FIRST - timing.ON_TIME_LEAST + 1, AFTER_THE_FIRST, LATE)
    assert refused == pytest.approx(6e-11, rel=0.05)
    assert refused <= REFUSED_FALSELY


def test_a_walk_that_never_turns_negative_has_the_chance_of_the_books() -> None:
    # of any symmetric walk without ties: C(2n, n) / 4^n
    assert stays_close(15, 0, within=0.5, below=0.0, cell=0.02) == pytest.approx(math.comb(30, 15) / 4**15, rel=0.05)


def test_simulated_schedules_are_told_from_those_of_other_seeds() -> None:
    rng = random.Random(4)  # noqa: S311 - repeatable
    wrong = refused = 0
    for seed in range(20_000):
        due = schedule(len(ARRIVALS.prompts), Traffic("poisson", timing.RATE, seed))
        wrong += holds(timing.own_schedule, due, seed + 20_000)
        refused += not holds(timing.own_schedule, delayed(due, rng), seed)
    # 0.15 are expected of 20 000: more than 3 have a chance of 2e-5
    assert wrong <= 3
    assert refused == 0


@pytest.mark.parametrize(("seed", "other"), [(0, 1), (1, 0)])
def test_the_cells_of_two_seeds_are_told_apart_on_a_machine_that_is_late_half_the_time(seed: int, other: int) -> None:
    rng = random.Random(5)  # noqa: S311 - repeatable
    due = schedule(len(ARRIVALS.prompts), Traffic("poisson", timing.RATE, other))
    assert not any(holds(timing.own_schedule, delayed(due, rng, chance=0.5), seed) for _ in range(2_000))


@pytest.mark.parametrize(("value", "other"), [(5.0, 20.0), (20.0, 5.0)])
def test_a_rate_is_told_from_another_and_from_requests_at_no_pace(value: float, other: float) -> None:
    rng = random.Random(6)  # noqa: S311 - repeatable
    count = len(ARRIVALS.prompts)
    at_pace, at_another = (schedule(count, Traffic("constant", rate)) for rate in (value, other))
    unpaced = [0.01 * index for index in range(count)]
    for _ in range(2_000):
        assert holds(timing.rate, delayed(at_pace, rng), value)
        assert not holds(timing.rate, delayed(at_another, rng), value)
        assert not holds(timing.rate, delayed(unpaced, rng), value)


def test_a_mean_that_is_right_by_its_ends_alone_is_no_rate() -> None:
    ends = [0.0, *(3.0 for _ in range(14)), 3.0]
    assert not holds(timing.rate, ends, 5.0)


def test_requests_seem_paced_only_where_each_is_held_up() -> None:
    due = schedule(len(ARRIVALS.prompts), Traffic("constant", timing.RATE))
    one_early = [*due[:7], due[7] - 0.09, *due[8:]]
    assert holds(timing.paced, due, True)
    assert not holds(timing.paced, due, False)
    assert holds(timing.paced, one_early, False)
    assert not holds(timing.paced, one_early, True)
    assert LATE**AFTER_THE_FIRST <= 1e-29


def test_a_probe_that_states_statistics_states_its_sample_and_its_rates() -> None:
    columns = (column for parameter in MATRIX.parameters for column in parameter.columns.values())
    stated = {probe.statistics for column in columns if (probe := getattr(column, "probe", None)) and probe.statistics}
    assert stated
    assert all("chance" in text and any(char.isdigit() for char in text) for text in stated)


def test_the_page_of_what_is_decided_by_chance_is_that_of_the_declarations() -> None:
    told = subprocess.run(
        [sys.executable, "scripts/chance_page.py"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    written = (ROOT / "docs" / "chance.md").read_text(encoding="utf-8")
    assert written == told, "`PYTHONPATH=. .venv/bin/python scripts/chance_page.py > docs/chance.md` writes it"
