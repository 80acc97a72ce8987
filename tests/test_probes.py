"""Probes against observations written by hand: what once fooled them does so no more."""

from __future__ import annotations

from typing import Any

import pytest

from harness.backends.pacing import Traffic, schedule
from harness.backends.torchside import in_common, of_each_kind
from harness.declare import Probe, Seen
from harness.experiment import unmet_need
from harness.jsontypes import JSON
from harness.judge import forwarded_difference
from harness.verdict import Cause
from matrix.probes import barred, execution, outputs, requests, state, timing


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


def test_an_output_that_nobody_watched_for_pieces_does_not_confirm_that_it_came_whole() -> None:
    live = streamed([1, 2, 3, 4, 5])
    whole, blind = streamed([6]), streamed([6])
    del blind.observation["chunks"][0]["forwards"]
    assert timing.delivered.effect(live, live, True).holds
    assert timing.delivered.effect(whole, live, False).holds
    assert not timing.delivered.effect(live, live, False).holds
    assert not timing.delivered.effect(blind, live, False).holds


def test_a_schedule_that_no_seed_drew_does_not_confirm_a_seed() -> None:
    drawn = seen({"arrivals": schedule(16, Traffic("poisson", timing.RATE, seed=1))})
    other = seen({"arrivals": schedule(16, Traffic("poisson", timing.RATE, seed=99))})
    assert timing.own_schedule.effect(drawn, other, 1).holds
    assert not timing.own_schedule.effect(other, drawn, 1).holds


PLAIN_LOGITS, MOVED_LOGITS = [0.0, 1.0, 2.0, 3.0], [0.0, 1.1, 1.9, 3.2]


def linear(logits: list[float], head: str = "Linear", /, **classes: int) -> Seen:
    """Linear layers by class, and that of the output head, which is one of them."""
    return seen({"logits": [logits]}, {"linear_classes": classes, "head_class": head})


def test_layers_that_compute_with_the_old_weights_are_not_quantised() -> None:
    control, real = linear(PLAIN_LOGITS, Linear=29), linear(MOVED_LOGITS, Linear4bit=28, Linear=1)
    deaf = linear([0.0, 1.0, 2.0, 3.000001], Linear4bit=28, Linear=1)
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


@pytest.mark.parametrize("operator", ["aten::scaled_dot_product_attention", "aten::_softmax"])
def test_an_attention_function_that_falls_back_to_another_kernel_is_not_confirmed(operator: str) -> None:
    functions = {"transformers.integrations.flex_attention.flex_attention_forward": 8}
    read_back = {"attention_implementation": {"flex_attention": 4}}
    real = seen({"operators": {"aten::mm": 8}, "resolved": {"attention_functions": functions}}, read_back)
    deaf = seen({"operators": {operator: 8}, "resolved": {"attention_functions": functions}}, read_back)
    assert execution.named_attention.effect(real, deaf, "flex_attention").holds
    assert not execution.named_attention.effect(deaf, deaf, "flex_attention").holds


def cached(kind: str, layer: str, keys: list[int], *, kept: bool, indexed: bool = False) -> Seen:
    """Two layers of a cache of that class, whose attention was given so many keys a step."""
    calls = [
        {"layer": number, "queries": 1, "keys": count, "kept": kept, "indexed": indexed}
        for count in keys
        for number in (0, 1)
    ]
    layers = {layer: 2} if layer else {}
    cache = {"class": kind, "layers": layers, "offloading": False}
    return seen({"attended": calls, "resolved": {"caches": [cache]}})


def test_a_cache_is_known_by_the_keys_that_attention_gets_and_not_by_its_class_alone() -> None:
    holds = execution.cache_implementation.effect
    growing = cached("DynamicCache", "DynamicLayer", [6, 7, 8], kept=False)
    static = cached("StaticCache", "StaticLayer", [20, 20, 20], kept=True)
    window = cached("StaticCache", "StaticSlidingWindowLayer", [32, 32, 32], kept=True)
    paged = cached("PagedAttentionCache", "", [1, 1, 1], kept=False, indexed=True)
    deaf = cached("StaticCache", "StaticLayer", [6, 7, 8], kept=False)
    assert holds(growing, static, "dynamic").holds
    assert holds(static, growing, "static").holds
    assert holds(window, growing, "sliding_window").holds
    assert holds(paged, growing, "paged").holds
    assert not holds(deaf, growing, "static").holds
    assert not holds(
        cached("StaticCache", "StaticSlidingWindowLayer", [99, 99], kept=True), growing, "sliding_window"
    ).holds
    assert not holds(cached("PagedAttentionCache", "", [6, 7], kept=False), growing, "paged").holds


@pytest.mark.parametrize(("fetched", "holds"), [({"disk": 96}, True), ({}, False)])
def test_weights_that_are_said_to_lie_on_disk_are_read_from_it(fetched: dict[str, int], holds: bool) -> None:
    read_back = {"parameter_devices": {"cpu": 2, "meta": 48}, "device_map": {"model.layers": "disk"}}
    run = seen({"fetched": fetched}, read_back)
    assert state.device_map.effect(run, run, "auto").holds is holds
    limited = seen({"fetched": fetched}, {**read_back, "footprint_bytes": 2_000_000})
    assert state.max_memory.effect(limited, limited, {"cpu": "1MB"}).holds is holds


@pytest.mark.parametrize(("first", "holds"), [(8, True), (7, False)])
def test_code_of_a_checkpoint_has_to_run_and_not_only_to_be_loaded(first: int, holds: bool) -> None:
    read_back = {"model_module": "transformers_modules.tiny.modeling_tiny"}
    control = seen({"outputs": [{"token_ids": [7, 1]}]}, {"model_module": "transformers.models.qwen2"})
    run = seen({"outputs": [{"token_ids": [first, 2]}]}, read_back)
    assert state.remote_code.effect(run, control, True).holds is holds


WHOLE, HALF = 128, 64


def rank(*rows: int, layers: str = "0123") -> dict[str, JSON]:
    """What a process says that has so many of the 128 rows of each layer's weight, and these layers."""
    weights: list[tuple[str, JSON]] = [
        (f"layers.{place}.q_proj.weight", {"local": [own, WHOLE], "whole": [WHOLE, WHOLE]})
        for place, own in enumerate(rows)
    ]
    return {
        "local_shapes": of_each_kind(weights),
        "identity_layers": 4 - len(layers),
        "decoder_layers": {"layers": list(layers)},
    }


def exchanging(exchanges: int, *ranks: dict[str, JSON]) -> Seen:
    """Processes that have called their models, and how often these exchanged what they had computed."""
    processes = [{"pid": number, "forwards": 5, "prompts": [number]} for number in range(len(ranks))]
    outputs = [{"prompt": number} for number in range(len(ranks))]
    operators = {"c10d::allreduce_": exchanges} if exchanges else {}
    observation = {"operators": operators, "processes": processes, "outputs": outputs}
    return seen(observation, {**ranks[0], "other_ranks": list(ranks[1:])})


ALONE = exchanging(0, rank(WHOLE, WHOLE))
SPLIT = rank(HALF, HALF)


def test_two_processes_that_do_not_exchange_what_they_compute_are_not_tensor_parallel() -> None:
    real, copies = exchanging(9, SPLIT, SPLIT), exchanging(0, rank(WHOLE, WHOLE), rank(WHOLE, WHOLE))
    assert execution.parallel_degree.effect(real, ALONE, 2).holds
    assert execution.parallel_degree.effect(ALONE, real, 1).holds
    assert not execution.parallel_degree.effect(copies, ALONE, 2).holds
    assert execution.parallel_strategy.effect(real, ALONE, "tensor_parallel").holds
    assert execution.parallel_strategy.effect(copies, ALONE, "data_parallel").holds
    assert not execution.parallel_strategy.effect(exchanging(0, SPLIT, SPLIT), ALONE, "tensor_parallel").holds


@pytest.mark.parametrize("ranks", [(rank(HALF, WHOLE), SPLIT), (SPLIT, rank(HALF, WHOLE)), (SPLIT, rank(WHOLE, WHOLE))])
def test_weights_that_are_split_in_one_layer_or_process_alone_are_not_tensor_parallel(ranks: Any) -> None:
    assert not execution.parallel_degree.effect(exchanging(9, *ranks), ALONE, 2).holds
    assert not execution.parallel_strategy.effect(exchanging(9, *ranks), ALONE, "tensor_parallel").holds
    assert not execution.parallel_strategy.effect(exchanging(0, *ranks), ALONE, "data_parallel").holds


def test_layers_that_are_not_alike_in_the_control_either_leave_open_what_is_split() -> None:
    mixed = exchanging(0, rank(WHOLE, HALF))
    with pytest.raises(LookupError, match=r"differ in the control as well: layers\.q_proj\.weight"):
        execution.parallel_degree.effect(exchanging(9, SPLIT, SPLIT), mixed, 2)


@pytest.mark.parametrize(
    ("each", "holds"),
    [(("01", "23"), True), (("01", "13"), False), (("01", "2"), False), (("0123", ""), False), (("0", "1"), False)],
)
def test_the_stages_of_a_pipeline_have_each_layer_of_the_model_just_once(each: tuple[str, str], holds: bool) -> None:
    run = exchanging(9, *(rank(WHOLE, WHOLE, layers=own) for own in each))
    shown = execution.parallel_strategy.effect(run, ALONE, "pipeline_parallel")
    assert shown.holds is holds, shown.saw


def test_layers_of_which_the_control_knows_none_are_not_judged() -> None:
    run, control = (exchanging(9, rank(WHOLE, layers=layers)) for layers in ("0", ""))
    with pytest.raises(LookupError, match="no layers were read back"):
        execution.parallel_strategy.effect(run, control, "pipeline_parallel")


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


def test_a_model_of_which_one_layer_alone_is_quantised_is_not_confirmed() -> None:
    control, partly = linear(PLAIN_LOGITS, Linear=29), linear(MOVED_LOGITS, Linear4bit=1, Linear=28)
    assert not state.load_in_4bit.effect(partly, control, True).holds
    assert not state.load_in_4bit.effect(partly, control, False).holds


def test_the_one_linear_layer_that_may_stay_as_it_is_is_the_head() -> None:
    control = linear(PLAIN_LOGITS, Linear=29)
    for bits, probe in (("Linear4bit", state.load_in_4bit), ("Linear8bitLt", state.load_in_8bit)):
        assert probe.effect(linear(MOVED_LOGITS, bits, **{bits: 29}), control, True).holds
        assert not probe.effect(linear(MOVED_LOGITS, bits, **{bits: 28, "Linear": 1}), control, True).holds
        assert not probe.effect(linear(MOVED_LOGITS, **{bits: 28, "Other": 1}), control, True).holds


@pytest.mark.parametrize(
    ("probe", "field", "value", "other"),
    [
        (state.quant_type, "quant_type", "nf4", "fp4"),
        (state.compute_dtype, "compute_dtype", "float16", "torch.float32"),
        (state.double_quant, "nested", True, False),
    ],
)
def test_what_some_quantised_layers_show_and_others_do_not_is_not_confirmed(
    probe: Probe, field: str, value: JSON, other: JSON
) -> None:
    alike, apart = (
        seen({"logits": [MOVED_LOGITS]}, {"quantized_layer": {field: in_common(values)}})
        for values in ((value, value), (value, other))
    )
    control = seen({"logits": [PLAIN_LOGITS]}, {"quantized_layer": {field: other}})
    assert probe.effect(alike, control, value).holds
    assert not probe.effect(apart, control, value).holds


def test_a_compiler_that_gives_up_after_some_calls_is_not_confirmed() -> None:
    def compiled(runs: int) -> Seen:
        facts = {"graph_runs": runs, "compilers": [{"compiler": "inductor", "options": {}}] if runs else []}
        return seen({"compiled": facts, "forwards": [[4, 9], [4, 1], [4, 1]]})

    for probe, value in (
        (execution.torch_compile, True),
        (execution.torch_compile_backend, "inductor"),
        (execution.torch_compile_mode, "default"),
    ):
        assert probe.effect(compiled(3), compiled(0), value).holds
        assert not probe.effect(compiled(2), compiled(0), value).holds
    assert execution.torch_compile.effect(compiled(0), compiled(3), False).holds


def test_a_cache_that_serves_the_first_prompt_alone_is_not_confirmed() -> None:
    served = seen({"forwards": [[1, 9], [1, 1], [1, 1], [1, 7], [1, 1]]})
    once = seen({"forwards": [[1, 9], [1, 1], [1, 1], [1, 7], [1, 8]]})
    never = seen({"forwards": [[1, 9], [1, 10], [1, 7], [1, 8]]})
    assert execution.use_cache.effect(served, never, True).holds
    assert not execution.use_cache.effect(once, never, True).holds
    assert not execution.use_cache.effect(once, served, False).holds


def test_layers_that_mix_two_attentions_are_not_sdpa() -> None:
    functions = {"a.sdpa_attention_forward": 4, "a.eager_attention_forward": 4}
    mixed = seen(
        {"operators": {"aten::scaled_dot_product_attention": 4}, "resolved": {"attention_functions": functions}}
    )
    assert not execution.attention.effect(mixed, mixed, "sdpa").holds


def varied(*seeded: tuple[int, int]) -> Seen:
    told = [{"prompt": p, "seed": s, "token_ids": [one]} for p, own in enumerate(seeded) for s, one in enumerate(own)]
    return seen({"outputs": told})


def test_sampling_of_the_first_prompt_alone_neither_confirms_nor_refutes() -> None:
    drawn, greedy, first = varied((1, 2), (3, 4)), varied((1, 1), (3, 3)), varied((1, 2), (3, 3))
    assert outputs.varies_with_seed.effect(drawn, greedy, True).holds
    assert not outputs.varies_with_seed.effect(greedy, drawn, True).holds
    assert outputs.varies_with_seed.effect(greedy, drawn, False).holds
    assert not outputs.varies_with_seed.effect(first, drawn, False).holds
    with pytest.raises(LookupError, match="1 of 2 prompts"):
        outputs.varies_with_seed.effect(first, greedy, True)


def barring(
    *barred: list[int] | None,
    ends: list[int] | None = None,
    tokens: list[int] | None = None,
    calls: Any = (),
    **different: Any,
) -> Seen:
    """A run in which these ids are impossible, step by step, and whose one output ends with id 0 at the last."""
    ids = [1] * (len(barred) - 1) + [0] if tokens is None else tokens
    steps = [
        {
            "prompt": 0,
            "seed": 0,
            "step": at,
            "barred": these,
            "token": token,
            "vocabulary": 32,
            "moved": [],
            "finite": 32 - len(these or ()),
            **different,
        }
        for at, (these, token) in enumerate(zip(barred, ids, strict=False))
    ]
    output = {"prompt": 0, "seed": 0, "token_ids": ids, "ended": ids[-1] == 0}
    return seen({"steps": steps, "outputs": [output]}, {"ending_ids": [0] if ends is None else ends}, calls)


FREE = barring([], [])


def test_an_id_that_is_barred_in_the_place_of_the_end_is_not_confirmed() -> None:
    assert barred.min_new_tokens.effect(barring([0], [0], []), FREE, 2).holds
    for other in (barring([5], [5], []), barring([0, 5], [0, 5], [])):
        assert not barred.min_new_tokens.effect(other, FREE, 2).holds


def test_the_end_is_barred_for_just_as_many_tokens_as_were_asked_for() -> None:
    others = (barring([], [], []), barring([0], [], []), barring([0], [0], [0], []), barring([0], [0]))
    for other in (*others, barring([0], [0], [5]), barring([0], [], tokens=[1, 0])):
        shown = barred.min_new_tokens.effect(other, FREE, 2)
        assert not shown.holds, shown.saw


def test_no_tokens_at_least_is_confirmed_where_nothing_is_barred() -> None:
    assert barred.min_new_tokens.effect(FREE, barring([0], [0], []), 0).holds
    assert not barred.min_new_tokens.effect(barring([0], []), FREE, 0).holds


def test_a_barred_id_that_is_taken_all_the_same_is_not_barred() -> None:
    assert not barred.min_new_tokens.effect(barring([0], [0], [], tokens=[1, 0, 1]), FREE, 2).holds
    suppressed: JSON = {"suppress_tokens": [5]}
    assert not barred.suppressed.effect(barring([5], [5], tokens=[5, 1]), FREE, suppressed).holds


@pytest.mark.parametrize("different", [{"finite": 20}, {"finite": 31, "barred": []}, {"moved": [5]}])
def test_ids_that_are_lost_or_moved_besides_the_barred_ones_are_not_confirmed(different: dict[str, Any]) -> None:
    suppressed: JSON = {"suppress_tokens": [5]}
    assert not barred.min_new_tokens.effect(barring([0], [], **different), FREE, 1).holds
    assert not barred.suppressed.effect(barring([5], [5], **different), FREE, suppressed).holds


def test_ids_that_the_control_moves_as_well_are_moved_by_something_else() -> None:
    assert barred.min_new_tokens.effect(barring([0], [], moved=[5]), barring([], [], moved=[5]), 1).holds


def test_an_output_that_ends_with_an_unknown_id_leaves_open_which_id_is_the_end() -> None:
    for ids in ([7], []):
        with pytest.raises(LookupError, match=r"outputs ended with \[0\]"):
            barred.min_new_tokens.effect(barring([0], [], ends=ids), barring([], [], ends=ids), 1)


def test_ids_that_a_request_names_as_its_ends_are_barred_as_well() -> None:
    calls = ({"call": "SamplingParams", "kwargs": {"min_tokens": 1, "stop_token_ids": [7]}},)
    assert barred.min_new_tokens.effect(barring([0, 7], [], calls=calls), FREE, 1).holds
    assert not barred.min_new_tokens.effect(barring([0], [], calls=calls), FREE, 1).holds
    assert not barred.min_new_tokens.effect(barring([0, 7], []), FREE, 1).holds


def test_outputs_that_never_reach_the_step_after_leave_open_where_the_barring_ends() -> None:
    with pytest.raises(LookupError, match="no output has more than 2 tokens"):
        barred.min_new_tokens.effect(barring([0], [0], tokens=[1, 1]), FREE, 2)


def test_tokens_whose_scores_nobody_saw_leave_open_what_was_barred() -> None:
    suppressed: JSON = {"suppress_tokens": [5]}
    part, none = (
        barring([0], [], tokens=[1, 1, 0]),
        seen({"outputs": FREE.observation["outputs"]}, dict(FREE.read_back)),
    )
    for run, unseen in ((part, "1 of 3"), (none, "2 of 2")):
        for probe, value in ((barred.min_new_tokens, 1), (barred.suppressed, suppressed)):
            with pytest.raises(LookupError, match=f"{unseen} generated tokens"):
                probe.effect(run, FREE, value)
    for probe, value in ((barred.min_new_tokens, 1), (barred.suppressed, suppressed)):
        with pytest.raises(LookupError, match="over 64 ids are impossible"):
            probe.effect(barring(None, []), FREE, value)


def test_other_ids_in_the_place_of_the_suppressed_ones_are_not_confirmed() -> None:
    value: JSON = {"suppress_tokens": [6, 5]}
    assert barred.suppressed.effect(barring([5, 6], [5, 6]), FREE, value).holds
    for other in ([5, 7], [5], [5, 6, 7]):
        assert not barred.suppressed.effect(barring([5, 6], other), FREE, value).holds


def test_ids_named_twice_or_beyond_the_vocabulary_are_suppressed_as_far_as_they_can_be() -> None:
    assert barred.suppressed.effect(barring([5, 6], [5, 6]), FREE, {"suppress_tokens": [6, 5, 5, 32, -1]}).holds


def test_values_of_the_first_request_alone_do_not_tell_the_kind_of_all() -> None:
    raw, processed, mixed = (
        seen({"logprobs": [{"first": list(own)} for own in told]})
        for told in (((4.0, 3.0), (5.0, 3.0)), ((8.0, 6.0), (10.0, 6.0)), ((8.0, 6.0), (5.0, 3.0)))
    )
    assert requests.logprobs_mode.effect(processed, raw, "processed_logits").holds
    assert not requests.logprobs_mode.effect(mixed, raw, "processed_logits").holds
