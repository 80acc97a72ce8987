"""The PyTorch backend against the real transformers, run by the backend's own interpreter."""

from __future__ import annotations

import itertools
import statistics
from typing import Any

import pytest

from tests import interpreters

PYTHON = interpreters.pytorch()
ROOT = interpreters.ROOT
MODEL = str(ROOT / "models/tiny")
SAMPLED = {"decoder.do_sample": True, "decoder.top_k": 0}

FORWARDED: list[tuple[dict[str, Any], str, Any]] = [
    ({"decoder.do_sample": False}, "do_sample", False),
    ({"decoder.do_sample": True, "decoder.temperature": 1.0}, "temperature", 1.0),
    ({"decoder.do_sample": True, "decoder.top_k": 0}, "top_k", 0),
    ({"decoder.do_sample": True, "decoder.top_p": 1.0}, "top_p", 1.0),
    ({"decoder.do_sample": True, "decoder.min_p": 0.0}, "min_p", 0.0),
    ({"decoder.repetition_penalty": 1.0}, "repetition_penalty", 1.0),
    ({"decoder.min_new_tokens": 1}, "min_new_tokens", 1),
    ({"decoder.beam_search.num_beams": 2, "decoder.beam_search.enabled": False}, "num_beams", 1),
    ({"decoder.beam_search.num_beams": 2, "decoder.beam_search.enabled": True}, "num_beams", 2),
    ({"pytorch.num_beams": 1}, "num_beams", 1),
    ({"pytorch.num_beams": 2, "pytorch.early_stopping": False}, "early_stopping", False),
    ({"pytorch.num_beams": 2, "pytorch.length_penalty": 0.0}, "length_penalty", 0.0),
    ({"pytorch.no_repeat_ngram_size": 0}, "no_repeat_ngram_size", 0),
    ({"pytorch.use_cache": False}, "use_cache", False),
    ({"pytorch.use_cache": True}, "use_cache", True),
    ({"pytorch.cache_implementation": "static"}, "cache_implementation", "static"),
    ({"pytorch.prompt_lookup_num_tokens": 2}, "prompt_lookup_num_tokens", 2),
    ({"streaming": False}, "streamer", None),
    ({"max_output_tokens": 2}, "max_new_tokens", 2),
    ({"passthrough_kwargs": {"typical_p": 0.9}}, "typical_p", 0.9),
]

SCENARIOS: dict[str, dict[str, Any]] = {
    "plain": {
        "jobs": [
            {},
            {"decoder.nonsense": 1},
            {"streaming": True},
            {**SAMPLED, "decoder.temperature": 0.5, "_instruments": ["scores"]},
            {**SAMPLED, "decoder.top_k": 5, "_instruments": ["scores"]},
            {"decoder.repetition_penalty": 1.5, "_instruments": ["scores"]},
            {"pytorch.num_beams": 3, "pytorch.length_penalty": 1.5},
            {"batching.batch_size": 3},
            {"decoder.min_new_tokens": 6, "_tokens": 8, "_instruments": ["scores"]},
        ]
    },
    "forwarding": {"jobs": [{**settings, "_tokens": 2} for settings, _, _ in FORWARDED]},
    "seeds": {
        "jobs": [
            {**SAMPLED, "decoder.temperature": 2.0, "_seeds": [1, 2]},
            {**SAMPLED, "decoder.temperature": 2.0, "_seeds": [1, 2], "random_seed": 7},
        ]
    },
    "traffic": {
        "jobs": [
            {
                "_prompts": ["the cat"] * 8,
                "_tokens": 1,
                "traffic_simulation.enabled": True,
                "traffic_simulation.mode": mode,
                "traffic_simulation.target_qps": 10,
                "traffic_simulation.seed": 1,
            }
            for mode in ("constant", "poisson")
        ]
    },
    "four_bit": {"load": {"pytorch.load_in_4bit": True, "pytorch.bnb_4bit_quant_type": "nf4"}, "jobs": [], "odd": True},
    "not_four_bit": {"load": {"pytorch.load_in_4bit": False}, "jobs": []},
    "contradiction": {"load": {"pytorch.load_in_4bit": False, "quantization.load_in_4bit": True}, "jobs": []},
    "compiled": {
        "load": {"pytorch.torch_compile": True, "pytorch.torch_compile_backend": "eager"},
        "jobs": [{"_prompts": ["7 plus 8 is"]}],
    },
    "not_compiled": {"load": {"pytorch.torch_compile": False}, "jobs": [{"_prompts": ["7 plus 8 is"]}]},
    "tensor_parallel": {
        "load": {"parallelism.strategy": "tensor_parallel", "parallelism.degree": 2},
        "jobs": [{}, {"batching.batch_size": 3}],
    },
    "two_processes": {"load": {"pytorch.num_processes": 2}, "jobs": [{}]},
}


@pytest.fixture(scope="module")
def results() -> dict[str, Any]:
    """All scenarios, run by one process of the backend's interpreter."""
    if not PYTHON.exists():
        pytest.fail(f"no PyTorch environment at {PYTHON}: `make setup` creates it")
    asked = {name: {"model": MODEL, **scenario} for name, scenario in SCENARIOS.items()}
    return interpreters.scenarios(PYTHON, "pytorch", asked)


def tokens(job: dict[str, Any]) -> list[list[int]]:
    return [output["token_ids"] for output in job["seen"]["outputs"]]


def generate_calls(job: dict[str, Any]) -> list[dict[str, Any]]:
    return [call["kwargs"] for call in job["calls"] if call["call"] == "generate"]


def test_every_value_reaches_generate_as_it_was_declared(results: dict[str, Any]) -> None:
    for job, (settings, argument, value) in zip(results["forwarding"]["jobs"], FORWARDED, strict=True):
        assert "raised" not in job, (settings, job)
        assert job["unread"] == [], settings
        for kwargs in generate_calls(job):
            assert argument in kwargs, settings
            assert kwargs[argument] == value, settings
            assert type(kwargs[argument]) is type(value), settings


def test_what_is_not_declared_is_not_forwarded(results: dict[str, Any]) -> None:
    for kwargs in generate_calls(results["plain"]["jobs"][0]):
        assert set(kwargs) == {"input_ids", "attention_mask", "max_new_tokens", "return_dict_in_generate"}
    (load,) = [c for c in results["plain"]["calls"] if c["call"] == "AutoModelForCausalLM.from_pretrained"]
    assert load["kwargs"] == {}


def test_a_setting_that_nothing_reads_is_reported(results: dict[str, Any]) -> None:
    assert results["plain"]["jobs"][1]["unread"] == ["decoder.nonsense"]


def test_streamed_chunks_join_to_the_unstreamed_text(results: dict[str, Any]) -> None:
    whole, _, streamed = (job for job in results["plain"]["jobs"][:3])
    for output in whole["seen"]["outputs"]:
        chunks = [c for c in streamed["seen"]["chunks"] if c["prompt"] == output["prompt"]]
        assert "".join(chunk["text"] for chunk in chunks) == output["text"]
        assert sum(chunk["tokens"] for chunk in chunks) == len(output["token_ids"])
        assert len({chunk["at_s"] for chunk in chunks}) > 1
        assert len([c for c in whole["seen"]["chunks"] if c["prompt"] == output["prompt"]]) == 1


def test_steps_show_what_the_processors_did_to_the_logits(results: dict[str, Any]) -> None:
    tempered, five, penalised = (job["seen"]["steps"] for job in results["plain"]["jobs"][3:6])
    assert all(step["scale"] == pytest.approx(0.5, rel=1e-3) for step in tempered)
    assert all(step["finite"] == 5 for step in five)
    assert all(step["dropped_max_ratio"] <= step["kept_min_ratio"] for step in five)
    assert all(step["penalty"] == pytest.approx(1.5, rel=1e-3) for step in penalised)
    assert all(set(step["moved"]) <= set(step["context"]) for step in penalised)


def test_the_ids_that_are_barred_at_a_step_are_told_one_by_one(results: dict[str, Any]) -> None:
    five, later = (results["plain"]["jobs"][place]["seen"]["steps"] for place in (4, 8))
    assert all(step["barred"] is None for step in five), "more than are listed"
    before, after = ([s["barred"] for s in later if (s["step"] < 6) is early] for early in (True, False))
    assert before == [results["plain"]["read_back"]["ending_ids"]] * len(before) == [[0]] * len(before)
    assert after == [[]] * len(after)
    assert len(before) >= 6
    assert after


def test_beam_scores_follow_from_the_beams_own_log_probabilities(results: dict[str, Any]) -> None:
    job = results["plain"]["jobs"][6]["seen"]
    assert {rows for rows, _ in job["forwards"]} == {3}
    for beams in job["beams"]:
        assert beams["scores"] == sorted(beams["scores"], reverse=True)
        for score, total, length in zip(beams["scores"], beams["log_probabilities"], beams["lengths"], strict=True):
            assert score == pytest.approx(total / length**1.5, rel=1e-4)


def test_a_batch_gives_the_tokens_of_its_prompts_alone(results: dict[str, Any]) -> None:
    alone, together = results["plain"]["jobs"][0], results["plain"]["jobs"][7]
    assert together["seen"]["batches"] == [[0, 1, 2]]
    assert {rows for rows, _ in together["seen"]["forwards"]} == {3}
    assert tokens(together) == tokens(alone)


def test_random_seed_makes_passes_equal_that_differ_without_it(results: dict[str, Any]) -> None:
    free, seeded = (tokens(job) for job in results["seeds"]["jobs"])
    assert free[:3] != free[3:]
    assert seeded[:3] == seeded[3:]


def test_requests_arrive_when_the_traffic_says(results: dict[str, Any]) -> None:
    constant, poisson = (job["seen"] for job in results["traffic"]["jobs"])
    for seen in (constant, poisson):
        planned = seen["resolved"]["planned_arrivals"]
        assert all(real >= plan for real, plan in zip(seen["arrivals"], planned, strict=True))
    assert variation(constant["resolved"]["planned_arrivals"]) == pytest.approx(0, abs=1e-9)
    assert variation(poisson["resolved"]["planned_arrivals"]) > 0.4
    assert variation(constant["arrivals"]) < variation(poisson["arrivals"])


def variation(arrivals: list[float]) -> float:
    gaps = [later - earlier for earlier, later in itertools.pairwise(arrivals)]
    return statistics.pstdev(gaps) / statistics.fmean(gaps)


def test_quantisation_is_on_only_when_asked_for_and_never_by_raw_arguments(results: dict[str, Any]) -> None:
    four, plain = results["four_bit"], results["not_four_bit"]
    assert four["read_back"]["linear_classes"]["Linear4bit"] > 0
    assert four["read_back"]["quantized_layer"]["quant_type"] == "nf4"
    assert set(plain["read_back"]["linear_classes"]) == {"Linear"}
    for result in (four, plain):
        assert result["unread"] == []
        (load,) = [c["kwargs"] for c in result["calls"] if c["call"] == "AutoModelForCausalLM.from_pretrained"]
        assert set(load) == {"quantization_config"}


def test_a_layer_that_is_not_as_the_others_of_its_kind_shows(results: dict[str, Any]) -> None:
    even, odd = results["four_bit"]["read_back"], results["four_bit"]["odd"]
    assert (even["linear_classes"]["Linear"], odd["linear_classes"]["Linear"]) == (1, 2)
    assert even["head_class"] == odd["head_class"] == "Linear"
    assert (even["quantized_layer"]["nested"], odd["quantized_layer"]["nested"]) == (
        False,
        {"differing": [False, True]},
    )
    assert even["quantized_layer"] == {**odd["quantized_layer"], "nested": False}
    name = "model.layers.self_attn.o_proj.weight"
    first, last = odd["local_shapes"][name]["differing"]
    assert first == even["local_shapes"][name]
    assert last == {"class": "Tensor", "local": [4, 4], "whole": [4, 4]}
    assert {**even["local_shapes"], name: None} == {**odd["local_shapes"], name: None}


def test_each_decoder_layer_is_named(results: dict[str, Any]) -> None:
    assert results["four_bit"]["read_back"]["decoder_layers"] == {"model.layers": ["0", "1", "2", "3"]}


def test_two_spellings_of_one_argument_must_agree(results: dict[str, Any]) -> None:
    assert "ConflictingSettingsError" in results["contradiction"]["raised"]


def test_a_compiled_model_runs_compiled_graphs_and_an_uncompiled_one_none(results: dict[str, Any]) -> None:
    compiled = results["compiled"]["jobs"][0]["seen"]
    plain = results["not_compiled"]["jobs"][0]
    assert compiled["compiled"]["graph_runs"] == len(compiled["forwards"])
    assert compiled["compiled"]["counters"]["stats.unique_graphs"] > 0
    assert [compiler["compiler"] for compiler in compiled["compiled"]["compilers"]] == ["eager"]
    assert plain["seen"]["compiled"]["graph_runs"] == 0
    assert plain["seen"]["compiled"]["counters"] == {}
    assert generate_calls(plain)[0]["disable_compile"] is True
    assert tokens(plain) == tokens(results["compiled"]["jobs"][0])


def test_tensor_parallel_ranks_hold_shards_and_give_the_same_tokens(results: dict[str, Any]) -> None:
    result = results["tensor_parallel"]
    shape = result["read_back"]["local_shapes"]["model.layers.self_attn.q_proj.weight"]
    assert shape["class"] == "DTensor"
    assert shape["local"][0] * 2 == shape["whole"][0]
    assert tokens(result["jobs"][0]) == tokens(results["plain"]["jobs"][0])
    assert tokens(result["jobs"][1]) == tokens(results["plain"]["jobs"][0])
    first, second = result["jobs"][0]["seen"]["processes"]
    assert first["pid"] != second["pid"]
    assert second["same_tokens"] is True
    assert result["orphans"] == []


def test_two_processes_share_the_prompts_and_leave_nothing_behind(results: dict[str, Any]) -> None:
    result = results["two_processes"]
    seen = result["jobs"][0]["seen"]
    assert len({process["pid"] for process in seen["processes"]}) == 2
    assert sorted(index for process in seen["processes"] for index in process["prompts"]) == [0, 1, 2]
    assert all(process["prompts"] for process in seen["processes"])
    assert tokens(result["jobs"][0]) == tokens(results["plain"]["jobs"][0])
    assert result["orphans"] == []
