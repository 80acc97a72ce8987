"""From declarations to cells: ids, controls, engines to share, and contradictions that are named."""

from __future__ import annotations

import string
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from harness.declare import NotApplicable, OutputRule, Probe, Scope, Shown, Value, Workload, label
from harness.jsontypes import JSON
from harness.plan import Cell, PlanError, build
from tests.toys import APPLIED, bound, column, matrix, parameter, plan

TOP_K = "decoder.top_k"
ENGINE = "pytorch.attn_implementation"


def only(*parameters: Any, **more: Any) -> Cell:
    (cell,) = plan(*parameters, **more)
    return cell


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (1, "1"),
        (True, "True"),
        (False, "False"),
        (0, "0"),
        (0.0, "0.0"),
        (None, "None"),
        ("", ""),
        ("nf4", "nf4"),
        ({"b": 1, "a": [2]}, '{"a":[2],"b":1}'),
        ("é\n", '"\\u00e9\\n"'),
    ],
)
def test_an_id_spells_the_value_out(value: JSON, shown: str) -> None:
    assert label(value) == shown
    cell = only(parameter(TOP_K, Value(value)))
    assert cell.id == f"pytorch-{TOP_K}={shown}"
    assert cell.row == f"{TOP_K}={shown}"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats(-2, 2) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)


@given(json_values)
def test_every_label_can_stand_in_an_id_of_pytest(value: JSON) -> None:
    shown = label(value)
    assert shown.isascii()
    assert not shown or shown.isprintable()


def test_a_label_stands_for_a_value_that_is_hard_to_read() -> None:
    assert only(parameter(TOP_K, Value({"x": 1}, label="short"))).id == f"pytorch-{TOP_K}=short"
    assert only(parameter(TOP_K, Value({"x": 1}, label=""))).id == f"pytorch-{TOP_K}="


def test_a_label_that_pytest_would_spell_in_another_way_is_refused() -> None:
    with pytest.raises(PlanError, match=r"decoder\.top_k on pytorch: label 'é' should be printable ASCII"):
        plan(parameter(TOP_K, Value(1, label="é")))


def test_planning_twice_gives_the_same_cells_and_keys() -> None:
    once, again = plan(parameter(TOP_K, Value(1), Value(2))), plan(parameter(TOP_K, Value(1), Value(2)))
    assert once == again
    assert [cell.treated.key for cell in once] == [cell.treated.key for cell in again]
    assert [cell.control.engine_key for cell in once] == [cell.control.engine_key for cell in again]


def test_companions_are_in_both_runs_and_the_value_only_in_one() -> None:
    cell = only(
        parameter(
            TOP_K, Value(5, companions={"decoder.top_p": 0.5}), on=column(companions={"decoder.do_sample": True})
        ),
        parameter("decoder.do_sample"),
        parameter("decoder.top_p"),
    )
    assert cell.treated.settings == {"decoder.do_sample": True, "decoder.top_p": 0.5, TOP_K: 5}
    assert cell.control.settings == {"decoder.do_sample": True, "decoder.top_p": 0.5}
    assert cell.contrast == "withheld"


def test_a_contrast_stands_in_the_control_instead_of_the_value() -> None:
    cell = only(parameter(TOP_K, Value(5, contrast=50)))
    assert cell.control.settings == {TOP_K: 50}
    assert cell.contrast == f"{TOP_K}=50"


@pytest.mark.parametrize("contrast", [False, 0, ""])
def test_a_falsy_contrast_is_a_contrast(contrast: JSON) -> None:
    cell = only(parameter("passthrough_kwargs", Value({"a": 1}, contrast={"a": contrast}), on=column()))
    assert cell.control.settings == {"passthrough_kwargs": {"a": contrast}}


@pytest.mark.parametrize("value", [False, 0, 0.0])
def test_a_falsy_value_is_declared_not_dropped(value: JSON) -> None:
    path = "decoder.do_sample" if value is False else TOP_K if isinstance(value, int) else "decoder.temperature"
    assert only(parameter(path, Value(value))).treated.settings == {path: value}


def test_an_explicit_null_is_a_value_of_its_own() -> None:
    cell = only(parameter(TOP_K, Value(None)), base={TOP_K: 3})
    assert cell.treated.settings == {TOP_K: None}
    assert cell.control.settings == {}
    assert cell.contrast == "withheld"


def test_an_explicit_null_is_told_from_its_contrast_and_from_a_null_that_withdraws() -> None:
    null, withdrawn = plan(
        parameter(TOP_K, Value(None, contrast=5)),
        parameter("decoder.top_p", Value(0.5, companions={TOP_K: None})),
    )
    assert null.treated.settings == {TOP_K: None}
    assert null.control.settings == {TOP_K: 5}
    assert withdrawn.treated.settings == {"decoder.top_p": 0.5}


def test_the_control_may_replace_companions() -> None:
    cell = only(
        parameter(TOP_K, Value(5, companions={"decoder.top_p": 0.5}, control={"decoder.top_p": 0.9})),
        parameter("decoder.top_p"),
    )
    assert cell.treated.settings["decoder.top_p"] == 0.5
    assert cell.control.settings == {"decoder.top_p": 0.9}


def test_the_parameter_never_slips_into_a_withheld_control() -> None:
    cell = only(
        parameter(TOP_K, Value(5, companions={TOP_K: 7}, control={TOP_K: 9})),
        base={TOP_K: 3, "decoder.top_p": 0.5},
        excluded=["decoder.top_p"],
    )
    assert cell.treated.settings == {TOP_K: 5, "decoder.top_p": 0.5}
    assert cell.control.settings == {"decoder.top_p": 0.5}


def test_none_takes_a_base_setting_away_from_both_runs() -> None:
    (cell, _) = plan(
        parameter(TOP_K, Value(5, companions={"decoder.do_sample": None})),
        parameter("decoder.do_sample", Value(True)),
        base={"decoder.do_sample": False},
    )
    assert cell.treated.settings == {TOP_K: 5}
    assert cell.control.settings == {}


def test_cells_that_differ_in_request_settings_alone_share_an_engine() -> None:
    first, second = plan(parameter(TOP_K, Value(1), Value(5)))
    assert first.treated.engine_key == second.treated.engine_key == first.control.engine_key
    assert first.treated.key != second.treated.key
    assert first.control.key == second.control.key


def test_cells_of_an_engine_scoped_parameter_have_engines_of_their_own() -> None:
    on = column(scope=Scope.ENGINE)
    first, second = plan(parameter(ENGINE, Value("sdpa"), Value("eager"), on=on))
    assert len({first.treated.engine_key, second.treated.engine_key, first.control.engine_key}) == 3
    assert first.treated.engine == {ENGINE: "sdpa"}
    assert first.treated.request == {}


def test_an_engine_scoped_companion_counts_as_engine_scoped() -> None:
    plain, companion = plan(
        parameter(TOP_K, Value(1), Value(2, companions={ENGINE: "eager"})),
        parameter(ENGINE, on=column(scope=Scope.ENGINE)),
    )
    assert companion.treated.engine == {ENGINE: "eager"}
    assert plain.treated.engine_key != companion.treated.engine_key


def test_an_excluded_field_as_companion_counts_as_request_scoped() -> None:
    cell = only(parameter(TOP_K, Value(1)), base={"max_input_tokens": 8}, excluded=["max_input_tokens"])
    assert cell.treated.request == {TOP_K: 1, "max_input_tokens": 8}


@given(st.lists(st.sampled_from([True, 1, 1.0, "1", "True", None, [1], {"a": 1}]), min_size=2, max_size=2))
def test_different_values_are_different_runs(values: list[Any]) -> None:
    spelled = [(type(value).__name__, value) for value in values]
    assume(spelled[0] != spelled[1])
    first, second = (
        only(parameter("passthrough_kwargs", Value({"x": value}, label="x"))).treated.key for value in values
    )
    assert first != second


def test_the_workload_and_the_instruments_belong_to_a_run() -> None:
    probe = Probe(says="x", effect=APPLIED.effect, instruments=frozenset({"scores"}))
    other = Workload("other", ("three",))
    plain, instrumented, elsewhere = plan(
        parameter(TOP_K, Value(1, label="a"), Value(1, probe=probe, label="b"), Value(1, workload=other, label="c"))
    )
    assert len({plain.treated.key, instrumented.treated.key, elsewhere.treated.key}) == 3
    assert plain.treated.engine_key == instrumented.treated.engine_key == elsewhere.treated.engine_key


def test_a_bound_asks_for_logits_in_both_runs() -> None:
    cell = only(parameter(TOP_K, Value(1), on=column(output=bound(0.1))))
    assert cell.treated.instruments == cell.control.instruments == {"logits"}


def test_what_a_value_says_goes_before_what_its_column_says() -> None:
    probe = Probe(says="another", effect=APPLIED.effect)
    cell = only(
        parameter(
            TOP_K,
            Value(1, probe=probe, output=OutputRule.LOSSLESS, needs=()),
            on=column(needs=("cuda",), output=OutputRule.FREE),
        )
    )
    assert (cell.probe, cell.output, cell.needs) == (probe, OutputRule.LOSSLESS, ())


def test_rows_stand_in_section_order_and_as_declared_within() -> None:
    cells = plan(
        parameter(TOP_K, Value(2), Value(1)),
        parameter("random_seed", Value(0), section="Core"),
        parameter("streaming", Value(True)),
    )
    assert [cell.row for cell in cells] == ["random_seed=0", "decoder.top_k=2", "decoder.top_k=1", "streaming=True"]


def test_a_parameter_without_meaning_for_a_backend_is_planned_with_its_reason() -> None:
    cell = only(parameter(TOP_K, Value(1), on=NotApplicable("no such thing here")))
    assert cell.not_applicable == "no such thing here"


def test_a_value_may_be_for_some_backends_only() -> None:
    assert plan(parameter(TOP_K, Value(1, backends=("vllm",)))) == ()
    assert build(matrix(parameter(TOP_K, Value(1))), models={"vllm": "m"}, backends=["vllm"]) == ()


def test_a_row_declared_twice_is_named() -> None:
    with pytest.raises(PlanError, match=r"declared twice: pytorch-decoder.top_k=1\. Give one of them another label"):
        plan(parameter(TOP_K, Value(1), Value("1")))


def test_a_section_nobody_knows_is_named() -> None:
    with pytest.raises(PlanError, match=r"decoder\.top_k: section 'Elsewhere' is not one of Core, Decoder"):
        plan(parameter(TOP_K, Value(1), section="Elsewhere"))


def test_a_companion_that_nobody_declares_is_named() -> None:
    with pytest.raises(PlanError, match=r"decoder\.top_k on pytorch: companion decoder\.top_p has no pytorch column"):
        plan(parameter(TOP_K, Value(1, companions={"decoder.top_p": 0.5})))


def test_a_config_that_validation_rejects_is_planned_all_the_same_and_says_so() -> None:
    cell = only(parameter("decoder.temperature", Value(-1.0)))
    assert cell.rejected is not None
    assert "greater than or equal to 0" in cell.rejected
    assert cell.treated.settings == {"decoder.temperature": -1.0}
    assert cell.control.settings == {}


def test_a_config_that_validation_accepts_says_nothing() -> None:
    assert only(parameter(TOP_K, Value(1))).rejected is None


def test_the_shipped_declarations_declare_every_value_they_test() -> None:
    from matrix import MATRIX

    cells = build(MATRIX, models={"pytorch": "model"}, backends=["pytorch"])
    for cell in cells:
        if cell.value is not None:
            assert cell.treated.settings[cell.parameter] == cell.value, cell.id
            assert type(cell.treated.settings[cell.parameter]) is type(cell.value), cell.id
        assert cell.treated.key != cell.control.key, f"{cell.id}: the control is the treated run"
        assert set(cell.id) <= set(string.printable), cell.id


def test_unknown_instruments_are_refused() -> None:
    with pytest.raises(ValueError, match="unknown instruments"):
        Probe(says="x", effect=lambda *_: Shown(holds=True, saw=""), instruments=frozenset({"x-ray"}))


@pytest.mark.parametrize("wrong", [{"prompts": ()}, {"seeds": ()}, {"max_new_tokens": 0}])
def test_a_workload_without_work_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="needs prompts, seeds and max_new_tokens"):
        Workload(**{"name": "empty", "prompts": ("a",), **wrong})
