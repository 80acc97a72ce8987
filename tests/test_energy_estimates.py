"""Intervals, differences to the control and percentiles: known values, and laws that hold for any numbers."""

from __future__ import annotations

import math
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.energy.estimates import Interval, of_difference, of_mean, percentile, student_t
from harness.energy.meters import Missing
from harness.energy.schedule import rounds, settled

positive = st.floats(1e-3, 1e6)
TABLE = {  # freedom: t for 95 % and 99 %, both sides; NIST/SEMATECH e-Handbook, 1.3.6.7.2
    1: (12.706, 63.657),
    2: (4.303, 9.925),
    3: (3.182, 5.841),
    4: (2.776, 4.604),
    5: (2.571, 4.032),
    9: (2.262, 3.250),
    10: (2.228, 3.169),
    30: (2.042, 2.750),
    100: (1.984, 2.626),
}


def generator(seed: int) -> Random:
    return Random(seed)  # noqa: S311 - no secret


def interval(found: object) -> Interval:
    assert isinstance(found, Interval), found
    return found


@pytest.mark.parametrize(("freedom", "values"), TABLE.items())
def test_student_t_is_what_the_tables_say(freedom: int, values: tuple[float, float]) -> None:
    assert student_t(freedom, 0.95) == pytest.approx(values[0], abs=0.0006)
    assert student_t(freedom, 0.99) == pytest.approx(values[1], abs=0.0006)


def test_student_t_of_much_data_is_the_normal_distribution() -> None:
    assert student_t(100_000, 0.95) == pytest.approx(1.95996, abs=1e-4)


@pytest.mark.parametrize(("freedom", "confidence"), [(0, 0.95), (3, 0.0), (3, 1.0)])
def test_student_t_refuses_what_has_no_meaning(freedom: int, confidence: float) -> None:
    with pytest.raises(ValueError, match="expected freedom"):
        student_t(freedom, confidence)


def test_a_worked_example() -> None:
    found = of_mean([10.0, 11.0, 12.0])
    assert found.value == 11.0
    assert found.sd == 1.0
    reach = 4.302653 / math.sqrt(3)
    assert interval(found.interval).low == pytest.approx(11 - reach)
    assert interval(found.interval).high == pytest.approx(11 + reach)


def test_one_repeat_has_a_value_and_no_spread() -> None:
    found = of_mean([10.0])
    assert found.value == 10.0
    assert isinstance(found.sd, Missing)
    assert isinstance(found.interval, Missing)
    with pytest.raises(ValueError, match="at least one"):
        of_mean([])


@settings(deadline=None)
@given(st.lists(positive, min_size=2, max_size=8), st.floats(0.1, 10.0), st.floats(-100.0, 100.0))
def test_an_interval_moves_and_stretches_with_its_values(values: list[float], scale: float, shift: float) -> None:
    plain, moved = interval(of_mean(values).interval), interval(of_mean([scale * v + shift for v in values]).interval)
    size = scale * max(values) + abs(shift)
    assert moved.low == pytest.approx(scale * plain.low + shift, rel=1e-6, abs=1e-6 * size)
    assert moved.high == pytest.approx(scale * plain.high + shift, rel=1e-6, abs=1e-6 * size)


@settings(deadline=None)
@given(st.lists(positive, min_size=2, max_size=8))
def test_an_interval_holds_its_mean_and_grows_with_the_confidence(values: list[float]) -> None:
    narrow, wide = of_mean(values, 0.8), of_mean(values, 0.99)
    low, high = interval(narrow.interval).low, interval(narrow.interval).high
    assert low <= narrow.value <= high
    assert interval(wide.interval).low <= low
    assert high <= interval(wide.interval).high


def test_an_interval_holds_the_true_mean_as_often_as_it_says() -> None:
    random = generator(1)
    held = sum(5.0 in interval(of_mean([random.gauss(5, 1) for _ in range(3)]).interval) for _ in range(4000))
    assert held / 4000 == pytest.approx(0.95, abs=0.012)


def test_the_difference_to_the_control_holds_the_true_one_as_often_as_it_says_under_drift() -> None:
    random = generator(2)
    held = 0
    for _ in range(4000):
        drift = [1.0, 1.1, 1.25]  # the device warms up: both runs of a round draw more
        pairs = [(1.2 * d * random.gauss(100, 2), d * random.gauss(100, 2)) for d in drift]
        found = of_difference(pairs)
        assert not isinstance(found, Missing)
        held += 0.2 in interval(found.interval)
    assert held / 4000 == pytest.approx(0.95, abs=0.012)


@settings(deadline=None)
@given(st.lists(st.tuples(positive, st.floats(0.5, 2.0)), min_size=2, max_size=8))
def test_treated_against_control_undoes_control_against_treated(rounds_: list[tuple[float, float]]) -> None:
    pairs = [(control * ratio, control) for control, ratio in rounds_]
    there, back = of_difference(pairs), of_difference([(control, treated) for treated, control in pairs])
    assert not isinstance(there, Missing)
    assert not isinstance(back, Missing)
    assert (1 + there.value) * (1 + back.value) == pytest.approx(1)
    undone = math.log1p(interval(there.interval).low) + math.log1p(interval(back.interval).high)
    assert undone == pytest.approx(0, abs=1e-3)


def test_rounds_that_are_worlds_apart_have_no_interval() -> None:
    assert isinstance(of_difference([(1e300, 1e-300), (1.0, 1.0)]), Missing)


@settings(deadline=None)
@given(st.lists(positive, min_size=2, max_size=6), st.floats(0.1, 10.0), positive)
def test_a_constant_ratio_is_found_exactly_whatever_the_unit(control: list[float], ratio: float, unit: float) -> None:
    found = of_difference([(ratio * unit * value, unit * value) for value in control])
    assert not isinstance(found, Missing)
    assert found.value == pytest.approx(ratio - 1, abs=1e-9)
    assert interval(found.interval).high == pytest.approx(ratio - 1, abs=1e-6)


def test_a_difference_that_has_no_meaning_says_why() -> None:
    assert of_difference([]) == Missing("no round has both the treated run and its control")
    assert of_difference([(1.0, 0.0)]) == Missing("a ratio needs positive values")
    assert of_difference([(-1.0, 2.0)]) == Missing("a ratio needs positive values")
    one = of_difference([(3.0, 2.0)])
    assert not isinstance(one, Missing)
    assert one.value == pytest.approx(0.5)
    assert isinstance(one.interval, Missing)


def test_a_percentile_lies_between_its_neighbours() -> None:
    assert percentile([4.0, 1.0, 3.0, 2.0], 50) == 2.5
    assert percentile([float(i) for i in range(101)], 95) == 95.0


@pytest.mark.parametrize(("percent", "needed"), [(50, 2), (90, 10), (95, 20), (99, 100)])
def test_a_percentile_needs_values_beyond_it(percent: float, needed: int) -> None:
    assert isinstance(percentile([1.0] * (needed - 1), percent), Missing)
    assert percentile([1.0] * needed, percent) == 1.0


@settings(deadline=None)
@given(st.integers(1, 6), st.integers(1, 5), st.integers(0, 100))
def test_every_round_has_every_run_and_the_control_once(runs: int, repeats: int, seed: int) -> None:
    names = [f"run {i}" for i in range(runs)]
    found = rounds(names, "control", repeats, generator(seed))
    assert len(found) == repeats
    assert all(sorted(order) == sorted([*names, "control"]) for order in found)
    assert all(len(order) == runs for order in rounds(names, names[0], repeats, generator(seed)))


def test_rounds_differ_in_their_order() -> None:
    assert len({tuple(order) for order in rounds("abcdef", "g", 5, generator(0))}) > 1


def test_a_warm_up_ends_when_throughput_stays() -> None:
    assert not settled([10.0, 50.0])
    assert not settled([10.0, 50.0, 90.0])
    assert settled([10.0, 50.0, 90.0, 92.0, 91.0])
    assert not settled([0.0, 0.0, 0.0])
