"""The vLLM backend against the real vLLM on a CPU, run by the backend's own interpreter."""

from __future__ import annotations

from typing import Any

import pytest

from matrix import grammar
from tests import interpreters

ROOT = interpreters.ROOT
MODEL = str(ROOT / "models/tiny")
SMALL = {
    "fp_precision": "float32",
    "vllm.enforce_eager": True,
    "vllm.max_model_len": 512,
    "vllm.kv_cache_memory_bytes": 64 << 20,
}
GREEDY = {"decoder.do_sample": False}
SAMPLED = {"decoder.do_sample": True, "decoder.top_k": 0}
SCORED = {"_instruments": ["scores"]}
PACED = {"traffic_simulation.enabled": True, "traffic_simulation.target_qps": 20.0}
LONG = grammar.VERY_LONG[0]

JOBS: dict[str, dict[str, Any]] = {
    "greedy": {**GREEDY, "_tokens": 16},
    "unread": {**GREEDY, "decoder.nonsense": 1},
    "contradiction": {**GREEDY, "decoder.temperature": 0.7},
    "three": {**SAMPLED, "vllm.n": 3, "_seeds": [1]},
    "logprobs": {**GREEDY, "vllm.logprobs": 5, "vllm.prompt_logprobs": 2},
    "stopped": {**GREEDY, "vllm.stop": "5", "_tokens": 16},
    "beams": {
        "decoder.beam_search.num_beams": 4,
        "decoder.beam_search.length_penalty": 1.5,
        "_prompts": grammar.BEAMS,
        "_tokens": 24,
    },
    "paced": {**GREEDY, **PACED, "_prompts": grammar.SHORT * 2, "_tokens": 2},
    "batched": {**GREEDY, "batching.batch_size": 2, "_tokens": 16},
    "half": {**SAMPLED, "decoder.temperature": 0.5, **SCORED},
    "half again": {**SAMPLED, "decoder.temperature": 0.5, **SCORED},
    "five": {**SAMPLED, "decoder.top_k": 5, **SCORED},
    "certain": {**GREEDY, **SCORED},
    "penalised": {**GREEDY, "vllm.presence_penalty": 1.5, "_prompts": grammar.LOOPING, "_tokens": 8, **SCORED},
    "later": {**GREEDY, "vllm.min_tokens": 6, "_tokens": 8, **SCORED},
    "free": {**SAMPLED, "decoder.temperature": 2.0, "_seeds": [1, 2]},
    "seeded": {**SAMPLED, "decoder.temperature": 2.0, "random_seed": 7, "_seeds": [1, 2]},
    "greedy again": {**GREEDY, "_tokens": 16},
}
REPEATED = {**GREEDY, "batching.batch_size": 1, "_prompts": [LONG, LONG], "_tokens": 2}

SCENARIOS: dict[str, dict[str, Any]] = {
    "small": {"load": SMALL, "jobs": list(JOBS.values())},
    "other": {
        "load": {**SMALL, "fp_precision": "bfloat16", "vllm.block_size": 32, "vllm.max_num_seqs": 2},
        "jobs": [REPEATED, REPEATED],
    },
    "streamed": {
        "load": {**SMALL, "streaming": True},
        "jobs": [{**GREEDY, "_tokens": 16}, {**GREEDY, **PACED}, {"decoder.beam_search.num_beams": 2}],
    },
    "adapted": {"load": {**SMALL, "vllm.enable_lora": True, "vllm.max_loras": 2}, "jobs": [], "odd": True},
    "contained": {
        "load": {**SMALL, "vllm.kv_cache_memory_bytes": None, "vllm.gpu_memory_utilization": 0.5},
        "jobs": [],
        "memory": 3 << 30,
    },
    "contradiction": {"load": {**SMALL, "vllm.tensor_parallel_size": 2, "parallelism.degree": 2}, "jobs": []},
}


@pytest.fixture(scope="module")
def results() -> dict[str, Any]:
    """All scenarios, run by one process of the backend's interpreter."""
    python = interpreters.vllm()
    if not python.exists():
        pytest.skip(f"no vLLM interpreter at {python}: `make setup BACKENDS=vllm` makes it")
    asked = {name: {"model": MODEL, **scenario} for name, scenario in SCENARIOS.items()}
    return interpreters.scenarios(python, "vllm", asked)


@pytest.fixture(scope="module")
def jobs(results: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The jobs of the small engine, by name."""
    return dict(zip(JOBS, results["small"]["jobs"], strict=True))


def tokens(job: dict[str, Any]) -> list[list[int]]:
    return [output["token_ids"] for output in job["seen"]["outputs"]]


def texts(job: dict[str, Any]) -> list[str]:
    return [output["text"] for output in job["seen"]["outputs"]]


def test_greedy_answers_are_the_model_s_own(jobs: dict[str, Any]) -> None:
    answers = texts(jobs["greedy"])
    assert [answers[0], answers[2]] == [" 15 .", " 7 ."]
    assert [output["ended"] for output in jobs["greedy"]["seen"]["outputs"]] == [True, True, True]
    assert jobs["greedy"]["unread"] == []


def test_what_is_not_declared_is_not_forwarded(results: dict[str, Any]) -> None:
    (load,) = (call["kwargs"] for call in results["small"]["calls"] if call["call"] == "LLM")
    assert set(load) == {
        "model", "dtype", "enforce_eager", "max_model_len", "kv_cache_memory_bytes", "worker_extension_cls",
    }  # fmt: skip
    (sampling,) = (call["kwargs"] for call in results["small"]["jobs"][0]["calls"] if call["call"] == "SamplingParams")
    assert sampling == {"max_tokens": 16, "seed": 0, "temperature": 0.0}


def test_a_setting_that_nothing_reads_is_reported(jobs: dict[str, Any]) -> None:
    assert jobs["unread"]["unread"] == ["decoder.nonsense"]


def test_contradictions_are_refused_before_anything_runs(results: dict[str, Any], jobs: dict[str, Any]) -> None:
    assert "ConflictingSettingsError: parallelism.strategy=None" in results["contradiction"]["raised"]
    assert results["contradiction"]["calls"] == []
    assert "ConflictingSettingsError: decoder.do_sample=False" in jobs["contradiction"]["raised"]
    assert "ConflictingSettingsError: beams are searched by LLM" in results["streamed"]["jobs"][2]["raised"]


def test_every_sequence_of_a_prompt_comes_back(jobs: dict[str, Any]) -> None:
    sequences = jobs["three"]["seen"]["sequences"]
    assert [(item["prompt"], item["index"]) for item in sequences] == [(p, i) for p in range(3) for i in range(3)]
    assert len({tuple(item["token_ids"]) for item in sequences}) > 3, "they are drawn one by one"


def test_log_probabilities_are_counted_position_by_position(jobs: dict[str, Any]) -> None:
    seen = jobs["logprobs"]["seen"]
    for told, output, sequence in zip(seen["logprobs"], seen["outputs"], seen["sequences"], strict=True):
        assert told["entries"] == [5] * len(output["token_ids"])
        assert len(told["prompt_entries"]) == sequence["prompt_tokens"]
        assert told["prompt_entries"][0] == 0, "nothing comes before the first token of a prompt"
        assert set(told["prompt_entries"][1:]) <= {2, 3}, "the likeliest two, and the one that is there"
        assert told["chosen"][0] == max(told["first"]), "greedy takes the likeliest"


def test_a_stop_text_ends_an_output_and_is_named(jobs: dict[str, Any]) -> None:
    whole, stopped = texts(jobs["greedy"]), jobs["stopped"]["seen"]
    for text, output, sequence in zip(whole, stopped["outputs"], stopped["sequences"], strict=True):
        assert output["text"] == text.partition("5")[0]
        assert sequence["stop_reason"] == ("5" if "5" in text else None)
        assert output["ended"] is ("5" not in text)
    assert any("5" in text for text in whole)


def test_beams_are_ranked_by_their_own_log_probabilities(jobs: dict[str, Any]) -> None:
    job = jobs["beams"]
    assert job["unread"] == []
    assert len(job["seen"]["beams"]) == len(grammar.BEAMS)
    for beams, output in zip(job["seen"]["beams"], job["seen"]["outputs"], strict=True):
        assert len(beams["token_ids"]) == 4
        assert beams["log_probabilities"] == pytest.approx(beams["cumulative"], rel=1e-4)
        scores = [
            total / length**1.5
            for total, length in zip(beams["log_probabilities"], beams["whole_lengths"], strict=True)
        ]
        assert scores == sorted(scores, reverse=True)
        assert output["token_ids"] == beams["token_ids"][0]
    assert max(rows for rows, _ in job["seen"]["forwards"]) == 4


def test_requests_arrive_no_sooner_than_the_traffic_says(results: dict[str, Any], jobs: dict[str, Any]) -> None:
    for seen in (jobs["paced"]["seen"], results["streamed"]["jobs"][1]["seen"]):
        planned = seen["resolved"]["planned_arrivals"]
        assert planned == pytest.approx([index / 20 for index in range(len(planned))])
        assert len(seen["arrivals"]) == len(planned) == len(seen["outputs"])
        assert all(real >= plan for real, plan in zip(seen["arrivals"], planned, strict=True))
    assert [call["call"] for call in jobs["paced"]["calls"]].count("LLM.enqueue") == 8


def test_a_batch_is_what_is_in_flight_together(jobs: dict[str, Any]) -> None:
    assert jobs["greedy"]["seen"]["batches"] == [[0, 1, 2]]
    assert max(rows for rows, _ in jobs["greedy"]["seen"]["forwards"]) == 3
    assert jobs["batched"]["seen"]["batches"] == [[0, 1], [2]]
    assert max(rows for rows, _ in jobs["batched"]["seen"]["forwards"]) == 2
    assert tokens(jobs["batched"]) == tokens(jobs["greedy"])


def test_every_job_finds_the_prefix_cache_empty(results: dict[str, Any]) -> None:
    for job in results["other"]["jobs"]:
        first, second = job["seen"]["cached"]
        assert first["tokens"] == 0
        assert second["tokens"] >= 32, "the same prompt again, in the same job"


def test_what_is_drawn_from_is_what_the_settings_made_of_the_logits(jobs: dict[str, Any]) -> None:
    for step in jobs["half"]["seen"]["steps"]:
        assert step["scale"] == pytest.approx(0.5, rel=1e-3), "raw / processed: the temperature"
        assert step["finite"] == step["vocabulary"]
        assert step["barred"] == []
    for step in jobs["five"]["seen"]["steps"]:
        assert step["finite"] == 5
        assert step["dropped_max_ratio"] <= step["kept_min_ratio"]
    for step in jobs["certain"]["seen"]["steps"]:
        assert step["scale"] == pytest.approx(1.0)
        assert step["token"] == step["argmax"]
    shifts = [shift for step in jobs["penalised"]["seen"]["steps"] for shift in step["shifts"].values()]
    assert shifts
    assert all(shift == pytest.approx(1.5, rel=1e-3) for shift in shifts)


def test_the_ids_that_are_barred_at_a_step_are_told_one_by_one(results: dict[str, Any], jobs: dict[str, Any]) -> None:
    steps = jobs["later"]["seen"]["steps"]
    barred = {early: [s["barred"] for s in steps if (s["step"] < 6) is early] for early in (True, False)}
    assert barred[True] == [results["small"]["read_back"]["ending_ids"]] * 3 * 6
    assert barred[False] == [[]] * len(barred[False])
    assert barred[False]
    assert all(step["barred"] is None for step in jobs["five"]["seen"]["steps"]), "more than are listed"


def test_the_tape_tells_how_tokens_were_drawn(jobs: dict[str, Any]) -> None:
    for name, way, other in (("five", "sampled", "greedy"), ("certain", "greedy", "sampled")):
        seen = jobs[name]["seen"]
        assert seen["resolved"]["drawn"][way] == len(seen["forwards"])
        assert seen["resolved"]["drawn"][other] == 0
        assert len(seen["steps"]) == sum(len(output["token_ids"]) for output in seen["outputs"])
    assert jobs["five"]["seen"]["resolved"]["drawn"]["top_k"] == 5


def test_everything_that_is_watched_is_put_back(results: dict[str, Any], jobs: dict[str, Any]) -> None:
    replaced = results["small"]["replaced"]
    assert set(replaced["watching"]) == {"forward", "greedy_sample", "execute_model", "apply_top_k_top_p"}
    assert replaced["afterwards"] == []
    assert jobs["half again"]["seen"]["steps"] == jobs["half"]["seen"]["steps"]
    assert tokens(jobs["greedy again"]) == tokens(jobs["greedy"])
    assert "steps" not in jobs["greedy again"]["seen"]


def test_random_seed_makes_passes_equal_that_differ_without_it(jobs: dict[str, Any]) -> None:
    free, seeded = tokens(jobs["free"]), tokens(jobs["seeded"])
    assert free[:3] != free[3:]
    assert seeded[:3] == seeded[3:]


def test_streamed_pieces_join_to_the_text_of_the_other_engine(results: dict[str, Any], jobs: dict[str, Any]) -> None:
    streamed = results["streamed"]["jobs"][0]
    assert [call["call"] for call in results["streamed"]["calls"]] == ["AsyncEngineArgs", "AsyncLLM.from_engine_args"]
    assert texts(streamed) == texts(jobs["greedy"])
    assert tokens(streamed) == tokens(jobs["greedy"])
    for output in streamed["seen"]["outputs"]:
        chunks = [chunk for chunk in streamed["seen"]["chunks"] if chunk["prompt"] == output["prompt"]]
        assert "".join(chunk["text"] for chunk in chunks) == output["text"]
        assert sum(chunk["tokens"] for chunk in chunks) == len(output["token_ids"])
        assert len({chunk["forwards"] for chunk in chunks}) > 1, "after forward calls of their own"
    for output in jobs["greedy"]["seen"]["outputs"]:
        assert len([chunk for chunk in jobs["greedy"]["seen"]["chunks"] if chunk["prompt"] == output["prompt"]]) == 1


def test_the_read_back_follows_the_engine(results: dict[str, Any]) -> None:
    small, other = results["small"]["read_back"], results["other"]["read_back"]
    for facts in (small, other):
        assert facts["attention_backends"] == {"CPU_ATTN": 4}
        assert facts["decoder_layers"] == {"model.layers": ["0", "1", "2", "3"]}
        assert facts["kv_cache"]["bytes"] == 64 << 20
        assert [load["loader"] for load in facts["loads"]] == ["DefaultModelLoader"]
        assert facts["loads"][0]["files"] == [f"{MODEL}/model.safetensors"]
        assert facts["executor_class"] == "UniProcExecutor"
    assert small["kv_cache"]["dtypes"] == ["torch.float32"]
    assert other["kv_cache"]["dtypes"] == ["torch.bfloat16"]
    assert other["kv_cache"]["block_size"] == [32]
    for facts in (small, other):
        (shape,) = facts["kv_cache"]["tensors"]
        assert str(facts["kv_cache"]["blocks"]) in shape
    assert set(other["parameter_dtypes"]) == {"torch.bfloat16"}
    assert other["scheduler"]["max_num_running_reqs"] == 2
    assert small["scheduler"]["max_num_running_reqs"] != 2
    assert small["max_model_len"] == 512


def test_the_memory_that_an_engine_has_a_share_of_is_what_it_found_itself(results: dict[str, Any]) -> None:
    contained = results["contained"]["read_back"]
    assert contained["device_bytes"] == 3 << 30
    assert contained["kv_cache"]["bytes"] < 0.5 * (3 << 30)
    assert results["small"]["read_back"]["device_bytes"] > 3 << 30


def test_layers_that_are_alike_are_read_back_as_one_kind(results: dict[str, Any]) -> None:
    (worker,) = results["small"]["read_back"]["workers"]
    kinds = {"self_attn.qkv_proj", "self_attn.o_proj", "mlp.gate_up_proj", "mlp.down_proj"}
    assert set(worker["partitions"]) == {f"model.layers.{kind}" for kind in kinds} | {"model.embed_tokens", "lm_head"}
    assert "model.embed_tokens.weight" in worker["local_shapes"]
    assert not any(part.isdigit() for kind in worker["local_shapes"] for part in kind.split("."))


def test_a_layer_that_is_not_as_the_others_of_its_kind_shows(results: dict[str, Any]) -> None:
    even, odd = results["adapted"]["read_back"], results["adapted"]["odd"]
    name = "model.layers.mlp.down_proj.base_layer"
    assert even["partitions"][name] == [256, 128]
    assert odd["partitions"][name] == {"differing": [[256, 128], [256, 4]]}
    assert odd["partitions"].keys() == even["partitions"].keys()
    told = {kind: shown for kind, shown in odd["local_shapes"].items() if kind not in even["local_shapes"]}
    assert told == {"model.layers.mlp.told": {"differing": [["torch.float32", 4, 3], ["torch.float32", 2, 3]]}}
    assert {shape[0] for shape in even["lora"]["stacked"]} == {2}
    assert {shape[0] for shape in odd["lora"]["stacked"]} == {1, 2}


def test_the_engine_works_in_its_own_process_unless_it_streams(results: dict[str, Any]) -> None:
    assert [worker["pid"] for worker in results["small"]["read_back"]["workers"]] == [
        results["small"]["read_back"]["core_pid"]
    ]
    streamed = results["streamed"]["read_back"]
    assert [worker["pid"] == streamed["core_pid"] for worker in streamed["workers"]] == [False]
