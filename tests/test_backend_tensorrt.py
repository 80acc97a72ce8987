"""TensorRT-LLM's adapter over the stand-in: what of its work is the harness's own, and needs no model."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from harness.backends import create
from harness.drift import Drift, compare
from harness.interfaces import parse
from matrix import MATRIX
from tests import interpreters

ROOT = interpreters.ROOT
STANDIN = str(ROOT / "tests" / "contracts" / "standin")
GREEDY = {"decoder.do_sample": False}
PACED = {"traffic_simulation.enabled": True, "traffic_simulation.target_qps": 50.0}
PROMPTS = ("a", "bcd", "ef", "ghijk")

JOBS: dict[str, dict[str, Any]] = {
    "greedy": {**GREEDY, "_seeds": [1, 2]},
    "unread": {**GREEDY, "decoder.nonsense": 1},
    "streamed": {**GREEDY, "streaming": True},
    "not streamed": {**GREEDY, "streaming": False},
    "batched": {**GREEDY, "batching.batch_size": 3},
    "sorted": {**GREEDY, "batching.batch_size": 2, "batching.strategy": "sorted_static"},
    "paced": {**GREEDY, **PACED, "_seeds": [1, 2]},
    "salted": {**GREEDY, "tensorrt.cache_salt": ["s0", "s1", "s2", "s3"], "batching.batch_size": 3},
    "salted one by one": {**GREEDY, "tensorrt.cache_salt": ["s0", "s1", "s2", "s3"], "streaming": True},
    "three": {"decoder.temperature": 0.5, "tensorrt.n": 3, "tensorrt.best_of": 3},
    "contradiction": {**GREEDY, "decoder.top_k": 5},
    "budget": {**GREEDY, "batching.max_tokens_per_batch": 4},
}
SCENARIOS: dict[str, dict[str, Any]] = {
    "engine": {"jobs": [{"_prompts": PROMPTS, "_tokens": 5, **job} for job in JOBS.values()]},
    "beams": {
        "load": {"decoder.beam_search.num_beams": 2},
        "jobs": [{**GREEDY, "decoder.beam_search.num_beams": 2, "_prompts": PROMPTS}],
    },
    "contradiction": {"load": {"tensorrt.tensor_parallel_size": 2, "parallelism.degree": 2}, "jobs": []},
    "built": {"load": {"tensorrt.backend": "tensorrt"}, "jobs": [GREEDY]},
}


def standin(*arguments: str, given: str = "") -> str:
    """What a module prints in an interpreter with the stand-in."""
    done = subprocess.run(
        [sys.executable, *arguments],
        input=given,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join((STANDIN, str(ROOT))), "HF_HUB_OFFLINE": "1"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def results() -> dict[str, Any]:
    asked = {name: {"model": str(MATRIX.shipped_model), **scenario} for name, scenario in SCENARIOS.items()}
    told = standin("-m", "tests.scenario", "tensorrt", given=json.dumps(asked))
    found: dict[str, Any] = json.loads(told.splitlines()[-1])
    return found


@pytest.fixture(scope="module")
def jobs(results: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return dict(zip(JOBS, results["engine"]["jobs"], strict=True))


def calls(job: dict[str, Any], name: str) -> list[dict[str, Any]]:
    return [call["kwargs"] for call in job["calls"] if call["call"] == name]


def test_every_prompt_is_answered_under_every_seed(jobs: dict[str, Any]) -> None:
    seen = jobs["greedy"]["seen"]
    assert [(item["seed"], item["prompt"]) for item in seen["outputs"]] == [(s, p) for s in (1, 2) for p in range(4)]
    assert [given["seed"] for given in calls(jobs["greedy"], "SamplingParams")] == [1, 2]
    assert jobs["greedy"]["unread"] == []


def test_a_setting_that_nothing_reads_is_reported(jobs: dict[str, Any]) -> None:
    assert jobs["unread"]["unread"] == ["decoder.nonsense"]


def test_pieces_arrive_one_after_the_other_only_where_they_are_streamed(jobs: dict[str, Any]) -> None:
    for name, pieces in (("streamed", [1, 4]), ("not streamed", [5])):
        chunks = jobs[name]["seen"]["chunks"]
        for prompt in range(4):
            own = [item for item in chunks if item["prompt"] == prompt]
            assert [item["tokens"] for item in own] == pieces
            assert "".join(item["text"] for item in own) == jobs[name]["seen"]["outputs"][prompt]["text"]
            assert sorted(item["at_s"] for item in own) == [item["at_s"] for item in own]
        asked = calls(jobs[name], "LLM.generate_async")
        assert [given["streaming"] for given in asked] == [name == "streamed"] * 4


def test_batches_are_handed_over_as_they_were_formed(jobs: dict[str, Any]) -> None:
    assert jobs["greedy"]["seen"]["batches"] == [[0, 1, 2, 3]]
    assert jobs["batched"]["seen"]["batches"] == [[0, 1, 2], [3]]
    assert jobs["sorted"]["seen"]["batches"] == [[0, 2], [1, 3]]
    assert [item["prompt"] for item in jobs["sorted"]["seen"]["outputs"]] == [0, 1, 2, 3]
    assert len(calls(jobs["batched"], "LLM.generate")) == 2


def test_requests_are_handed_over_when_they_are_due_in_the_first_pass_alone(jobs: dict[str, Any]) -> None:
    seen = jobs["paced"]["seen"]
    planned, arrived = seen["resolved"]["planned_arrivals"], seen["arrivals"]
    assert len(planned) == len(arrived) == 4
    assert all(late >= due for due, late in zip(planned, arrived, strict=True))
    assert len(calls(jobs["paced"], "LLM.generate_async")) == 4
    assert len(calls(jobs["paced"], "LLM.generate")) == 4, "those of the second seed"


def test_each_prompt_keeps_its_own_salt(jobs: dict[str, Any]) -> None:
    batches = [given["cache_salt"] for given in calls(jobs["salted"], "LLM.generate")]
    assert batches == [["s0", "s1", "s2"], ["s3"]]
    alone = [given["cache_salt"] for given in calls(jobs["salted one by one"], "LLM.generate_async")]
    assert alone == ["s0", "s1", "s2", "s3"]


def test_every_sequence_of_a_prompt_comes_back(results: dict[str, Any], jobs: dict[str, Any]) -> None:
    sequences = jobs["three"]["seen"]["sequences"]
    assert [(item["prompt"], item["index"]) for item in sequences] == [(p, i) for p in range(4) for i in range(3)]
    (search,) = results["beams"]["jobs"]
    assert [len(item["lengths"]) for item in search["seen"]["beams"]] == [2] * 4


def test_contradictions_are_refused_before_upstream_is_asked(results: dict[str, Any], jobs: dict[str, Any]) -> None:
    assert "ConflictingSettingsError" in results["contradiction"]["raised"]
    assert results["contradiction"]["calls"] == []
    assert "ConflictingSettingsError" in jobs["contradiction"]["raised"]
    assert "max_tokens_per_batch=4 has no meaning for strategy" in jobs["budget"]["raised"]
    assert [calls(jobs[name], "LLM.generate") for name in ("contradiction", "budget")] == [[], []]


def test_what_nobody_could_see_is_named_and_absent(results: dict[str, Any], jobs: dict[str, Any]) -> None:
    seen = jobs["greedy"]["seen"]
    assert {"scheduled", "forwards", "cached", "steps", "memory"}.isdisjoint(seen)
    assert "memory" in seen["resolved"]["unread"]
    read_back = results["engine"]["read_back"]
    assert {"executor", "kv_cache", "model", "engine_files"}.isdisjoint(read_back)
    assert read_back["path"] == "pytorch"
    built = results["built"]["read_back"]
    assert built["path"] == "tensorrt"
    assert built["engine_built"] is True
    assert "build" not in built, "the stand-in's builder never ran"
    assert "inspector" in built["unread"]


@pytest.fixture(scope="module")
def drift() -> Drift:
    """What the stand-in offers, against what is declared."""
    code = "import json; from harness.backends import create; print(json.dumps(create('tensorrt').interface()))"
    return compare(parse("tensorrt", json.loads(standin("-c", code))), None, create("tensorrt").upstream, MATRIX)


def test_the_interface_is_read_from_the_library_itself(drift: Drift) -> None:
    assert drift.unread == ()
    # the option was taken out of upstream, as its matrix's row says
    assert {gone.parameter for gone in drift.gone} == {"tensorrt.builder_opt_level"}


def test_objects_that_the_adapter_makes_are_no_missing_parameters(drift: Drift) -> None:
    made = {"kv_cache_config", "sampling_params", "quant_config", "build_config", "scheduler_config"}
    assert made.isdisjoint({found.argument for found in drift.undeclared})


TORCH = """
import json
import torch
from types import SimpleNamespace
from harness.backends.tensorrt.outputs import Told
from harness.backends.tensorrt.readback import _model
from harness.backends.tensorrt.requests import Bias
from harness.backends.tensorrt.witness import Witness

bias = torch.tensor(Bias(6, **{"2": 1.5, "4": -2.0}))

def result(rows):
    sequence = SimpleNamespace(index=0, token_ids=[3, 1], text="x", finish_reason="length", stop_reason=None,
        cumulative_logprob=None, logprobs=[], prompt_logprobs=[], generation_logits=rows)
    return SimpleNamespace(request_id=1, prompt_token_ids=[3, 3, 0], outputs=[sequence])

rows = torch.tensor([[0.0, 1.0, 2.0, 3.0, 4.0, -1.0], [0.0, 5.0, 0.0, 0.0, 0.0, 0.0], [9.0] * 6])
params = SimpleNamespace(use_beam_search=False, end_id=5)
found = []
for given in (rows, rows[None]):  # one matrix, or one of each sequence
    told = Told(frozenset({"scores", "logits"}))
    told.take(result(given), params, prompt=0, seed=7)
    found.append({"steps": told.steps, "logits": told.logits})

class TrtllmAttention(torch.nn.Module):
    pass

class Attention(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.qkv_proj = torch.nn.Linear(4, 12, bias=False, dtype=torch.bfloat16)
        self.attn = TrtllmAttention()

class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = torch.nn.ModuleList([Attention(), Attention()])
        self.norm = torch.nn.LayerNorm(4)

print(json.dumps({"bias": bias.tolist(), "told": found, "model": _model(Model())}))
"""


@pytest.fixture(scope="module")
def with_torch() -> dict[str, Any]:
    """What is made of real tensors."""
    if not interpreters.pytorch().is_file():
        pytest.skip(f"no PyTorch interpreter at {interpreters.pytorch()}: `make setup` makes it")
    found: dict[str, Any] = json.loads(interpreters.run(str(interpreters.pytorch()), "-c", TORCH))
    return found


def test_a_bias_becomes_the_tensor_that_upstream_makes_of_it(with_torch: dict[str, Any]) -> None:
    assert with_torch["bias"] == [0.0, 0.0, 1.5, 0.0, -2.0, 0.0]


def test_a_step_says_where_the_drawn_token_stands_among_the_logits(with_torch: dict[str, Any]) -> None:
    first, second = with_torch["told"]
    assert first == second
    step, last = first["steps"]
    assert (step["token"], step["argmax"], step["rank"], step["end"]) == (3, 4, 1, 5)
    assert step["share"] == pytest.approx(0.2333, abs=1e-3)
    assert step["above"] == pytest.approx(0.6341, abs=1e-3)
    assert step["raw"] == {"0": 0.0, "1": 1.0, "2": 2.0, "3": 3.0, "4": 4.0, "5": -1.0}
    assert step["context"] == {"3": [2, 0], "0": [1, 0]}
    assert last["context"] == {"3": [2, 1], "0": [1, 0]}, "what was generated before counts"
    assert (last["token"], last["rank"], last["step"]) == (1, 0, 1)


def test_a_model_of_torch_s_modules_is_described(with_torch: dict[str, Any]) -> None:
    model = with_torch["model"]
    assert model["parameter_dtypes"] == {"torch.bfloat16": 2, "torch.float32": 2}
    assert model["model"]["linear_bytes"] == 2 * 4 * 12 * 2
    assert model["model"]["local_shapes"] == {"layers.qkv_proj.weight": ["torch.bfloat16", 12, 4]}
    assert model["attention_backends"] == {"TRTLLM": 2}
