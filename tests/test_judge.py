"""probe(control, treated): what it takes to pass, and what is never held against a parameter."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from harness.declare import Bound, OutputRule, Probe, Seen, Shown, Value
from harness.jsontypes import JSON
from harness.judge import Finding, judge, relative_error
from harness.verdict import Cause, Outcome
from tests.toys import APPLIED, bound, cell, handed_over, parameter, plan, seen

LOGITS = ((1.0, 2.0, 4.0),)
UNNAMED = replace(cell(), arguments=frozenset())
"""A cell of which the adapter's tables do not say what it is upstream."""


def judged(
    treated: Seen, control: Seen, rule: OutputRule | Bound = OutputRule.FREE, *, decisive: bool = True
) -> Finding:
    """Judged as a run whose value was handed to the library."""
    planned = cell(probe=replace(APPLIED, decisive=decisive), output=rule)
    return judge(planned, handed_over(treated, top_k=1), control)


@given(
    treated=st.booleans(),
    control=st.booleans(),
    decisive=st.booleans(),
    rule=st.sampled_from([OutputRule.FREE, OutputRule.LOSSLESS, bound(0.1)]),
    same_tokens=st.booleans(),
    close_logits=st.booleans(),
)
def test_a_pass_needs_the_effect_in_the_treated_run_and_not_in_the_control_and_the_right_output(
    *, treated: bool, control: bool, decisive: bool, rule: OutputRule | Bound, same_tokens: bool, close_logits: bool
) -> None:
    finding = judged(
        seen(
            applied=treated,
            ids=(1, 2) if same_tokens else (1, 3),
            logits=LOGITS if close_logits else ((9.0, 0.0, 1.0),),
        ),
        seen(applied=control, ids=(1, 2), logits=LOGITS),
        rule,
        decisive=decisive,
    )
    fine = {OutputRule.FREE: True, OutputRule.LOSSLESS: same_tokens}.get(rule, close_logits)  # type: ignore[arg-type]
    passed = finding.verdict.outcome is Outcome.PASS
    assert passed == (treated and not control and fine)
    # and everything that is not a pass has the one right cause
    if not treated and decisive:
        assert finding.verdict.cause is Cause.IGNORED
    elif not fine:
        assert finding.verdict.cause is Cause.WRONG_OUTPUT
    elif not passed:
        assert finding.verdict.cause is Cause.NO_EFFECT
    assert "\n" not in finding.verdict.reason


def test_an_effect_that_a_decisive_probe_does_not_see_means_ignored() -> None:
    finding = judged(seen(applied=False), seen(applied=False))
    assert finding.verdict.cause is Cause.IGNORED
    assert finding.verdict.reason.startswith("accepted but not applied")


def test_an_effect_that_only_the_control_shows_is_told_as_such() -> None:
    finding = judged(seen(applied=False), seen(applied=True))
    assert finding.verdict.cause is Cause.IGNORED
    assert "shows the effect instead" in finding.verdict.reason


def test_an_effect_that_an_undecided_probe_does_not_see_means_nothing() -> None:
    assert judged(seen(applied=False), seen(applied=False), decisive=False).verdict.cause is Cause.NO_EFFECT


def test_an_effect_that_the_control_shows_too_proves_nothing() -> None:
    finding = judged(seen(applied=True), seen(applied=True))
    assert finding.verdict.cause is Cause.NO_EFFECT
    assert "the control shows it too" in finding.verdict.reason


def test_a_lossless_parameter_that_changes_tokens_is_wrong_and_the_tokens_are_shown() -> None:
    finding = judged(seen(ids=(1, 9)), seen(applied=False, ids=(1, 2)), OutputRule.LOSSLESS)
    assert finding.verdict.cause is Cause.WRONG_OUTPUT
    assert "prompt 0 gives [1, 9] against [1, 2]" in finding.verdict.reason


def test_a_lossless_parameter_that_loses_an_output_is_wrong() -> None:
    finding = judged(seen(ids=None), seen(applied=False), OutputRule.LOSSLESS)
    assert finding.verdict.cause is Cause.WRONG_OUTPUT
    assert "gives None" in finding.verdict.reason


def test_no_outputs_on_either_side_are_not_equal_outputs() -> None:
    finding = judged(seen(ids=None), seen(applied=False, ids=None), OutputRule.LOSSLESS)
    assert finding.verdict.cause is Cause.PROBE_ERROR


@pytest.mark.parametrize(("change", "cause"), [(0.01, Cause.CONFIRMED), (1.0, Cause.WRONG_OUTPUT)])
def test_a_lossy_parameter_may_move_the_logits_within_its_bound(change: float, cause: Cause) -> None:
    treated = seen(logits=[[x + change for x in LOGITS[0]]])
    assert judged(treated, seen(applied=False, logits=LOGITS), bound(0.1)).verdict.cause is cause


def test_the_worst_prompt_counts() -> None:
    treated, control = seen(logits=[[0.0, 1.0], [0.0, 3.0]]), seen(logits=[[0.0, 1.0], [0.0, 1.0]])
    assert relative_error(treated, control) == pytest.approx(2 / math.sqrt(0.5))


@pytest.mark.parametrize("broken", [math.nan, math.inf, -math.inf])
def test_logits_that_are_not_finite_are_the_treated_run_s_wrong_output(broken: float) -> None:
    finding = judged(seen(logits=[[broken, 2.0, 4.0]]), seen(applied=False, logits=LOGITS), bound(1e9))
    assert finding.verdict.cause is Cause.WRONG_OUTPUT


@pytest.mark.parametrize("row", [(math.nan, 2.0, 4.0), (math.inf, 2.0, 4.0), (1.0, 1.0, 1.0)])
def test_a_control_that_is_no_measure_is_not_held_against_the_parameter(row: tuple[float, ...]) -> None:
    finding = judged(seen(logits=LOGITS), seen(applied=False, logits=[row]), bound(0.1))
    assert finding.verdict.cause is Cause.PROBE_ERROR


@pytest.mark.parametrize("rows", [[], [[1.0, 2.0, 4.0], [1.0, 2.0, 4.0]], [[1.0, 2.0]]])
def test_logits_of_other_prompts_or_ids_are_not_compared(rows: list[list[float]]) -> None:
    finding = judged(seen(logits=rows), seen(applied=False, logits=LOGITS), bound(1e9))
    assert finding.verdict.cause is Cause.PROBE_ERROR


@pytest.mark.parametrize("rule", [OutputRule.FREE, OutputRule.LOSSLESS, bound(1.0)])
def test_an_observation_without_what_is_judged_is_a_probe_error(rule: OutputRule | Bound) -> None:
    blind = Seen({}, {}, [])

    def needs_scores(run: Seen, control: Seen, value: JSON) -> Shown:
        del control, value
        return Shown(bool(run.observation["steps"]), "steps")

    planned = cell(probe=Probe(says="steps", effect=needs_scores), output=rule)
    finding = judge(planned, handed_over(blind, top_k=1), blind)
    assert finding.verdict.cause is Cause.PROBE_ERROR
    assert "KeyError: 'steps'" in finding.verdict.reason


@given(st.sampled_from([ValueError, ZeroDivisionError, AssertionError, RecursionError]), st.text(), st.booleans())
@example(ValueError, "two\nlines", True)
def test_whatever_a_probe_raises_is_its_own_problem(kind: type[Exception], text: str, on_control: bool) -> None:
    control = seen(applied=False)

    def effect(run: Seen, other: Seen, value: JSON) -> Shown:
        del other, value
        if (run is control) == on_control:
            raise kind(text)
        return Shown(holds=True, saw="")

    finding = judge(cell(probe=Probe(says="x", effect=effect)), handed_over(seen(), top_k=1), control)
    assert finding.verdict.cause is Cause.PROBE_ERROR
    assert kind.__name__ in finding.verdict.reason
    assert "\n" not in finding.verdict.reason


def test_the_reason_names_the_contrast() -> None:
    (planned,) = plan(parameter("decoder.top_k", Value(1, contrast=5)))
    finding = judge(planned, handed_over(seen(), top_k=1), handed_over(seen(applied=False), top_k=5))
    assert "control with decoder.top_k=5: not applied" in finding.verdict.reason


@pytest.mark.parametrize("control", [seen(applied=False), handed_over(seen(applied=False), top_k=1)])
def test_a_value_that_was_not_handed_over_is_the_adapter_s_fault_whatever_the_effect_says(control: Seen) -> None:
    treated = replace(seen(), calls=control.calls)
    assert judge(cell(), treated, control).verdict.cause is Cause.HARNESS_ERROR


@pytest.mark.parametrize(("ours", "theirs"), [([True, True], [True, False]), ([True, False], [True, True])])
def test_a_value_of_two_loads_is_handed_over_where_the_second_differs(ours: list[bool], theirs: list[bool]) -> None:
    def loads(seen: Seen, values: list[bool]) -> Seen:
        return replace(seen, calls=[{"call": "LLM", "kwargs": {"top_k": value}} for value in values])

    treated, control = loads(seen(), ours), loads(seen(applied=False), theirs)
    assert judge(cell(), treated, control).verdict.cause is Cause.CONFIRMED
    assert judge(cell(), loads(seen(), theirs), control).verdict.cause is Cause.HARNESS_ERROR


def test_a_value_that_chooses_the_class_is_handed_over_by_calling_it() -> None:
    control = replace(seen(applied=False), calls=[{"call": "LLM", "kwargs": {"model": "x"}}])
    other = replace(seen(), calls=[{"call": "other.LLM", "kwargs": {"model": "x"}}])
    assert judge(cell(), other, control).verdict.cause is Cause.CONFIRMED
    same = replace(seen(), calls=[{"call": "LLM", "kwargs": {"model": "y"}}])
    assert judge(cell(), same, control).verdict.cause is Cause.HARNESS_ERROR
    taken = replace(control, calls=[{"call": "LLM", "kwargs": {"model": "x", "top_k": 2}}])
    assert judge(cell(), other, taken).verdict.cause is Cause.HARNESS_ERROR


def test_what_the_harness_does_itself_is_given_to_its_own_part_and_not_to_upstream() -> None:
    own: dict[str, JSON] = {"call": "harness.batches", "kwargs": {"size": 1}}
    control = seen(applied=False)
    treated = replace(seen(), calls=[*control.calls, own])
    assert judge(cell(by_harness=True), treated, control).verdict.cause is Cause.CONFIRMED
    assert judge(cell(), treated, control).verdict.cause is Cause.HARNESS_ERROR
    for calls in (control.calls, handed_over(seen(), top_k=1).calls):
        verdict = judge(cell(by_harness=True), replace(seen(), calls=calls), control).verdict
        assert verdict.cause is Cause.HARNESS_ERROR
        assert "own part was given nothing" in verdict.reason


def test_an_object_of_upstream_s_defaults_is_handed_over_by_making_it() -> None:
    control = seen(applied=False)
    made = replace(seen(), calls=[*control.calls, {"call": "BitsAndBytesConfig", "kwargs": {}}])
    finding = judge(UNNAMED, made, control)
    assert finding.verdict.cause is Cause.CONFIRMED
    assert finding.forwarded == ("BitsAndBytesConfig()",)


@pytest.mark.parametrize(("ours", "theirs"), [(True, 1), (1, 1.0), (0, False), (None, "null"), ([1], [1, 2])])
def test_arguments_that_differ_in_type_alone_are_different_arguments(ours: JSON, theirs: JSON) -> None:
    finding = judge(cell(), handed_over(seen(), top_k=ours), handed_over(seen(applied=False), top_k=theirs))
    assert finding.verdict.cause is Cause.CONFIRMED
    assert len(finding.forwarded) == 1


def test_a_mapping_hands_over_its_entries_and_one_less_of_them_is_nothing_more() -> None:
    control = handed_over(seen(applied=False), compilation={"mode": 2, "backend": "eager"})
    full = handed_over(seen(), compilation={"mode": 2, "backend": "inductor", "passes": {}})
    less = handed_over(seen(), compilation={"mode": 2})
    assert judge(UNNAMED, full, control).forwarded == (
        'generate.compilation.backend="inductor"',
        "generate.compilation.passes={}",
    )
    assert judge(UNNAMED, less, control).verdict.cause is Cause.HARNESS_ERROR


@pytest.mark.parametrize(
    "others",
    [
        {"model": "another"},
        {"top_p": 0.5},
        {"compilation": {"mode": 2}},
        {"sampling": {"class": "SamplingParams", "top_k": 1}},
    ],
)
def test_where_the_adapter_names_the_argument_another_one_hands_nothing_over(others: dict[str, JSON]) -> None:
    control = seen(applied=False)
    assert judge(cell(), handed_over(seen(), **others), control).verdict.cause is Cause.HARNESS_ERROR
    assert judge(cell(), handed_over(seen(), top_k=1, **others), control).verdict.cause is Cause.CONFIRMED


@pytest.mark.parametrize("value", [5, {"class": "TopK", "k": 5}, "file://x"])
def test_the_named_argument_counts_whatever_it_is_and_as_an_entry_of_a_mapping_too(value: JSON) -> None:
    control = handed_over(seen(applied=False), top_k=1, choice={"top_k": 1})
    assert judge(cell(), handed_over(seen(), top_k=value), control).verdict.cause is Cause.CONFIRMED
    within = replace(cell(), arguments=frozenset({("Choice", "top_k")}))
    assert judge(within, handed_over(seen(), choice={"top_k": value}), control).verdict.cause is Cause.CONFIRMED
    assert judge(cell(), handed_over(seen(), top_k=1), control).verdict.cause is Cause.HARNESS_ERROR


def test_of_several_calls_that_take_the_argument_each_must_have_got_it() -> None:
    both = replace(cell(), arguments=frozenset({("load", "revision"), ("read", "revision"), ("serve", "revision")}))
    control = replace(seen(applied=False), calls=[{"call": "load", "kwargs": {}}, {"call": "read", "kwargs": {}}])

    def given(**revisions: str) -> Seen:
        asked = {name: {"revision": revisions[name]} if name in revisions else {} for name in ("load", "read")}
        return replace(seen(), calls=[{"call": name, "kwargs": kwargs} for name, kwargs in asked.items()])

    assert judge(both, given(load="main", read="main"), control).verdict.cause is Cause.CONFIRMED
    assert judge(both, given(read="main"), control).verdict.cause is Cause.HARNESS_ERROR
    assert judge(both, given(load="main"), control).verdict.cause is Cause.HARNESS_ERROR
