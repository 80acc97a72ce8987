"""Probes against observations written by hand: what once fooled them does so no more."""

from __future__ import annotations

from typing import Any

import pytest

from harness.backends.pacing import Traffic, schedule
from harness.declare import Seen
from harness.experiment import unmet_need
from harness.judge import forwarded_difference
from harness.verdict import Cause
from matrix.probes import execution, state, timing


def seen(observation: dict[str, Any], read_back: dict[str, Any] | None = None, calls: Any = ()) -> Seen:
    return Seen(observation, read_back or {}, calls)  # type: ignore[arg-type]  # parts of an observation


def streamed(forwards: list[int]) -> Seen:
    chunks = [
        {"prompt": 0, "seed": 0, "at_s": 0.001 * index, "tokens": 1, "text": "a", "forwards": count}
        for index, count in enumerate(forwards)
    ]
    outputs = [{"prompt": 0, "seed": 0, "token_ids": [1] * len(forwards), "text": "a" * len(forwards), "ended": True}]
    return seen({"chunks": chunks, "outputs": outputs})


def test_pieces_that_were_held_back_until_the_end_are_no_stream() -> None:
    buffered, live = streamed([5, 5, 5, 5, 5]), streamed([1, 2, 3, 4, 5])
    assert not timing.streaming.effect(buffered, buffered, True).holds
    assert timing.streaming.effect(live, live, True).holds


def test_a_schedule_that_no_seed_drew_does_not_confirm_a_seed() -> None:
    drawn = seen({"arrivals": schedule(16, Traffic("poisson", timing.RATE, seed=1))})
    other = seen({"arrivals": schedule(16, Traffic("poisson", timing.RATE, seed=99))})
    assert timing.own_schedule.effect(drawn, other, 1).holds
    assert not timing.own_schedule.effect(other, drawn, 1).holds


def test_layers_that_compute_with_the_old_weights_are_not_quantised() -> None:
    control = seen({"logits": [[0.0, 1.0, 2.0, 3.0]]}, {"linear_classes": {"Linear": 29}})
    deaf = seen({"logits": [[0.0, 1.0, 2.0, 3.000001]]}, {"linear_classes": {"Linear4bit": 28, "Linear": 1}})
    real = seen({"logits": [[0.0, 1.1, 1.9, 3.2]]}, {"linear_classes": {"Linear4bit": 28, "Linear": 1}})
    assert not state.load_in_4bit.effect(deaf, control, True).holds
    assert state.load_in_4bit.effect(real, control, True).holds


def test_sdpa_may_fall_back_to_a_kernel_with_a_softmax() -> None:
    operators = {"aten::scaled_dot_product_attention": 8, "aten::_softmax": 8}
    functions = {"transformers.integrations.sdpa_attention.sdpa_attention_forward": 8}
    run = seen({"operators": operators, "resolved": {"attention_functions": functions}})
    assert execution.attention.effect(run, run, "sdpa").holds
    assert not execution.attention.effect(run, run, "eager").holds


def test_one_flash_function_serves_all_versions_so_the_live_config_tells_which() -> None:
    functions = {"transformers.integrations.flash_attention.flash_attention_forward": 8}
    observation = {"operators": {}, "resolved": {"attention_functions": functions}}
    run = seen(observation, {"attention_implementation": {"flash_attention_2": 4}})
    assert execution.named_attention.effect(run, run, "flash_attention_2").holds
    assert not execution.named_attention.effect(run, run, "flash_attention_3").holds


@pytest.mark.parametrize(("limit", "holds"), [("1GiB", False), ("4GiB", True)])
def test_a_memory_limit_is_compared_with_the_size_of_the_model(limit: str, holds: bool) -> None:
    run = seen({}, {"footprint_bytes": 2_000_000_000, "parameter_devices": {"cpu": 10}})
    assert state.max_memory.effect(run, run, {"cpu": limit}).holds is holds


def test_defaults_of_an_object_shapes_and_meeting_places_are_no_evidence_of_forwarding() -> None:
    kwargs = {
        "quantization_config": {"class": "BitsAndBytesConfig", "bnb_4bit_quant_type": "fp4"},
        "input_ids": "Tensor[1, 5]:torch.int64",
        "init_method": "file://<tmp>/rendezvous",
    }
    treated = seen({}, calls=[{"call": "from_pretrained", "kwargs": kwargs}])
    assert forwarded_difference(treated, seen({})) == ()
    built = seen({}, calls=[{"call": "BitsAndBytesConfig", "kwargs": {"bnb_4bit_quant_type": "fp4"}}])
    assert forwarded_difference(built, seen({})) == ('BitsAndBytesConfig.bnb_4bit_quant_type="fp4"',)


def test_two_processes_need_two_gpus_only_where_there_are_gpus() -> None:
    assert unmet_need(("devices:2",), {"gpus": []}) is None
    assert unmet_need(("devices:2",), {"gpus": [{}, {}]}) is None
    lacking = unmet_need(("devices:2",), {"gpus": [{}]})
    assert lacking is not None
    assert lacking.cause is Cause.MISSING_HARDWARE
