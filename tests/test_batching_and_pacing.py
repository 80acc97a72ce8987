"""Grouping prompts and spacing requests: no library needed."""

from __future__ import annotations

import itertools
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.backends.base import Calls, Declared
from harness.backends.batching import STRATEGIES, Batching, form_batches
from harness.backends.pacing import Traffic, schedule
from harness.backends.planning import Plan, plan
from harness.jsontypes import JSON

LENGTHS = st.lists(st.integers(1, 50), max_size=30)


@given(LENGTHS, st.sampled_from(STRATEGIES), st.none() | st.integers(1, 5), st.integers(1, 100))
def test_every_prompt_is_in_exactly_one_batch(lengths: list[int], strategy: str, size: int | None, budget: int) -> None:
    batching = Batching(strategy, size, budget if strategy.endswith("dynamic") else None)
    batches = form_batches(lengths, batching)
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    assert all(batches)
    assert size is None or all(len(batch) <= size for batch in batches)


@given(LENGTHS, st.booleans(), st.integers(1, 100))
def test_a_dynamic_batch_keeps_to_its_budget_unless_one_prompt_exceeds_it(
    lengths: list[int], sort: bool, budget: int
) -> None:
    batching = Batching("sorted_dynamic" if sort else "dynamic", None, budget)
    for batch in form_batches(lengths, batching):
        assert len(batch) == 1 or len(batch) * max(lengths[index] for index in batch) <= budget


@given(LENGTHS, st.sampled_from(["static", "dynamic"]))
def test_sorting_orders_by_length_and_not_sorting_keeps_the_order(lengths: list[int], kind: str) -> None:
    budget = 60 if kind == "dynamic" else None
    plain = [index for batch in form_batches(lengths, Batching(kind, 3, budget)) for index in batch]
    ordered = [index for batch in form_batches(lengths, Batching(f"sorted_{kind}", 3, budget)) for index in batch]
    assert plain == list(range(len(lengths)))
    assert [lengths[index] for index in ordered] == sorted(lengths)


def test_batching_that_cannot_be_meant_is_refused() -> None:
    with pytest.raises(ValueError, match="needs max_tokens_per_batch"):
        Batching("dynamic")
    with pytest.raises(ValueError, match="has no meaning"):
        Batching("static", 2, 100)
    with pytest.raises(ValueError, match="expected one of static, dynamic"):
        Batching("clever")
    with pytest.raises(ValueError, match="at least 1"):
        Batching("static", 0)


def test_constant_traffic_is_even_and_poisson_traffic_is_exponential() -> None:
    even = gaps(schedule(50, Traffic("constant", 4.0)))
    random = gaps(schedule(2000, Traffic("poisson", 4.0, seed=1)))
    assert statistics.pstdev(even) == pytest.approx(0, abs=1e-9)
    assert statistics.fmean(even) == pytest.approx(0.25)
    assert statistics.fmean(random) == pytest.approx(0.25, rel=0.1)
    assert statistics.pstdev(random) / statistics.fmean(random) == pytest.approx(1, rel=0.1)


def test_a_seed_fixes_poisson_traffic() -> None:
    assert schedule(9, Traffic("poisson", 2.0, seed=5)) == schedule(9, Traffic("poisson", 2.0, seed=5))
    assert schedule(9, Traffic("poisson", 2.0, seed=5)) != schedule(9, Traffic("poisson", 2.0, seed=6))


def gaps(times: list[float]) -> list[float]:
    return [later - earlier for earlier, later in itertools.pairwise(times)]


def planned(settings: dict[str, JSON], *, together: int = 3) -> Plan:
    declared = Declared(settings)
    made = plan(declared, [5, 3, 9], Calls(), together=together)
    assert declared.unread() == []
    return made


def test_prompts_go_together_unless_batches_or_times_are_declared() -> None:
    assert planned({}).batches == ((0, 1, 2),)
    assert planned({}, together=1).batches == ((0,), (1,), (2,))
    assert planned({"batching.batch_size": 2}).batches == ((0, 1), (2,))
    assert planned({"batching.batch_size": 2, "batching.strategy": "sorted_static"}).batches == ((1, 0), (2,))
    assert planned({}).moments is None


def test_paced_prompts_come_one_by_one_and_declared_batches_as_batches() -> None:
    paced: dict[str, JSON] = {"traffic_simulation.enabled": True, "traffic_simulation.target_qps": 2.0}
    assert planned(paced).batches == ((0,), (1,), (2,))
    assert planned(paced).moments == (0.0, 0.5, 1.0)
    batched = planned({**paced, "batching.batch_size": 2})
    assert batched.batches == ((0, 1), (2,))
    assert batched.moments == (0.0, 0.5)
