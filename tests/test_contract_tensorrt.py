"""TensorRT-LLM's adapter against a contract of the library's real interface.

The library cannot be installed here, so a stand-in with exactly its classes and fields takes its place. It
refuses what upstream refuses, records what it is given, and says by its version that it measures nothing.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.config.introspection import get_backend_specific_params
from harness.declare import OutputRule, Probe, Seen, Shown, Workload
from harness.jsontypes import JSON, Settings
from harness.judge import judge
from harness.plan import Cell, Run, build
from harness.verdict import Cause
from matrix import MATRIX
from tests.contracts import expected, handing
from tests.interpreters import ROOT

STANDIN = ROOT / "tests" / "contracts" / "standin"
MODEL = str(MATRIX.shipped_model)
PARAMETERS = expected.contract("tensorrt")["parameters"]
FIELDS = get_backend_specific_params()["tensorrt"]
CELLS = tuple(
    cell for cell in build(MATRIX, models={"tensorrt": MODEL}, backends=["tensorrt"]) if not cell.not_applicable
)
WORK = Workload("two", ("a", "bc"), max_new_tokens=4)


def forward(runs: Iterable[Run]) -> list[dict[str, Any]]:
    """What arrives in the stand-in of each run."""
    return handing.forward("tensorrt", runs, sys.executable, STANDIN)


def wrong(run: Run, found: Mapping[str, Any]) -> list[str]:
    return list(expected.wrong(run, expected.places(found), refused=found["error"] is not None))


def run_of(engine: Settings, request: Settings, workload: Workload = WORK) -> Run:
    return Run("tensorrt", MODEL, None, engine, request, workload, frozenset())


def refused_by_upstream(arrived: Mapping[str, Any]) -> bool:
    """Whether what was raised came from the library's side of the call."""
    return not Path(arrived["error"]["file"]).is_relative_to(ROOT / "harness") or "Calls" in arrived["error"]["message"]


@pytest.fixture(scope="module")
def arrived() -> dict[str, dict[str, Any]]:
    """Cell id to what arrived of its treated run."""
    return dict(zip([cell.id for cell in CELLS], forward(cell.treated for cell in CELLS), strict=True))


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.row)
def test_every_setting_of_a_cell_arrives_where_upstream_has_it(cell: Cell, arrived: dict[str, Any]) -> None:
    found = arrived[cell.id]
    assert wrong(cell.treated, found) == []
    assert found["unread"] == []
    assert found["error"] is None or refused_by_upstream(found), found["error"]


@pytest.fixture(scope="module")
def controls() -> dict[str, dict[str, Any]]:
    """Cell id to what arrived of its control."""
    return dict(zip([cell.id for cell in CELLS], forward(cell.control for cell in CELLS), strict=True))


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.row)
def test_every_cell_can_pass_as_far_as_its_calls_tell(
    cell: Cell, arrived: dict[str, Any], controls: dict[str, Any]
) -> None:
    treated, control = (Seen({}, {}, found[cell.id]["calls"]) for found in (arrived, controls))
    shows = Probe(says="the value is there", effect=lambda run, _other, _value: Shown(run is treated, ""))
    assert judge(replace(cell, probe=shows, output=OutputRule.FREE), treated, control).verdict.cause is Cause.CONFIRMED


ENGINE_PATH: Settings = {"tensorrt.backend": "tensorrt"}
COMPANIONS: Mapping[str, Settings] = {
    "tensorrt.speculative.": {"tensorrt.speculative.decoding_type": "NGram", "tensorrt.speculative.max_draft_len": 2},
    "tensorrt.n": {"decoder.temperature": 0.5, "tensorrt.best_of": 64},
    "tensorrt.best_of": {"decoder.temperature": 0.5},
}
REQUESTS = frozenset(
    path
    for path, rule in PARAMETERS.items()
    if any(
        place.startswith(("SamplingParams.", "Guided", "generate_async.", "LoRARequest."))
        for place in rule.get("at", ())
    )
)
"""Settings that a request brings."""
SHAPES: Mapping[str, tuple[JSON, ...]] = {
    "tensorrt.cache_salt": ("salt", ["one", "two"]),
    "tensorrt.cuda_graph.batch_sizes": ([1, 2],),
    "tensorrt.embedding_bias": ({"5": 2.5, "7": -1.0},),
    "tensorrt.guided_decoding.json": ('{"type": "object"}', {"type": "object"}),
    "tensorrt.kv_cache.max_attention_window": ([16], [16, 32]),
    "tensorrt.lora.lora_target_modules": (["attn_q"], ["attn_q", "attn_dense"]),
    "tensorrt.lora.lora_dir": (["."], ["/elsewhere"]),
    "tensorrt.lora_request": (".", "/elsewhere"),
    "tensorrt.model_kwargs": ({"num_hidden_layers": 2}, {}),
    "tensorrt.quantization.exclude_modules": (["lm_head"],),
    "tensorrt.quantization.calibration.dataset": (".", "/elsewhere"),
    "tensorrt.speculative.speculative_model": (".", "org/name"),
    "tensorrt.stop": ("x", ["x", "y"]),
    "tensorrt.bad": ("x", ["x", "y"]),
}
"""Values of fields that hold more than one number or word."""


def values(path: str) -> tuple[JSON, ...]:
    """What a field is tried with: every choice, both booleans, the least and a larger number, a word."""
    facts = FIELDS[path]
    limits, kinds = facts["constraints"], set(facts["types"])
    low = max(0, limits.get("ge", limits.get("gt", 0)))
    by_kind: tuple[tuple[set[str], tuple[JSON, ...]], ...] = (
        ({"bool", "boolean"}, (False, True)),
        ({"list", "array"}, ([7], [7, 3])),
        ({"int", "integer"}, (low, low + 3)),
        ({"float", "number"}, (0.25, 1.0)),
        ({"str", "string"}, ("TEXT",)),
    )
    found = next((found for names, found in by_kind if names & kinds), ())
    chosen = SHAPES.get(path) or tuple(facts["choices"] or ()) or found
    assert chosen, f"{path}: nothing to try, of {kinds}"
    return chosen


TRIED = [(path, value) for path in FIELDS if path in PARAMETERS for value in values(path)]


def tried(path: str, value: JSON) -> Run:
    """A run that declares one value, on the path of the library that has the field."""
    companions: Settings = {}
    for start, settings in COMPANIONS.items():
        if path == start or (start.endswith(".") and path.startswith(start)):
            companions |= settings
    cls = PARAMETERS[path].get("at", ["LLM"])[0].partition(".")[0]
    only = {"fast_build", "batching_type", "force_rebuild", "kv_cache_type"}
    if cls in {"QuantConfig", "CalibConfig", "BuildConfig", "PluginConfig"} or path.rpartition(".")[2] in only | {
        "method"
    }:
        companions |= ENGINE_PATH
    if path in REQUESTS:
        asked = {key: item for key, item in companions.items() if not key.endswith("backend")}
        return run_of({}, {**asked, path: value})
    return run_of({**companions, path: value}, {})


@pytest.fixture(scope="module")
def schema() -> list[dict[str, Any]]:
    return forward(tried(path, value) for path, value in TRIED)


def test_every_field_of_the_schema_has_its_place_upstream() -> None:
    theirs = {path for path in PARAMETERS if path.startswith("tensorrt.")}
    assert set(FIELDS) == theirs


@pytest.mark.parametrize("index", range(len(TRIED)), ids=lambda index: f"{TRIED[index][0]}={TRIED[index][1]}")
def test_every_kind_of_value_of_the_schema_arrives(index: int, schema: list[dict[str, Any]]) -> None:
    found = schema[index]
    assert wrong(tried(*TRIED[index]), found) == []
    assert found["unread"] == []


def test_nothing_is_handed_over_that_nobody_declared() -> None:
    for engine in ({}, ENGINE_PATH):
        (found,) = forward([run_of(engine, {})])
        assert found["error"] is None
        calls = {call["call"]: set(call["kwargs"]) for call in found["calls"]}
        added = {name: set(fields) for name, fields in expected.contract("tensorrt")["added"].items() if name != "why"}
        load = "_tensorrt_engine.LLM" if engine else "LLM"
        assert calls.keys() == {load, "SamplingParams", "LLM.generate"}
        assert calls[load] <= added["LLM"]
        assert calls["SamplingParams"] <= added["SamplingParams"]
        assert calls["LLM.generate"] == {"use_tqdm"}


def test_sizes_go_into_a_build_config_as_well_because_its_own_would_win() -> None:
    sizes: Settings = {"tensorrt.max_batch_size": 3, "tensorrt.max_seq_len": 99, "decoder.beam_search.num_beams": 2}
    (found,) = forward([run_of({**ENGINE_PATH, **sizes, "tensorrt.kv_cache_type": "paged"}, {})])
    got = expected.places(found)
    for name, value in (("max_batch_size", 3), ("max_seq_len", 99), ("max_beam_width", 2)):
        assert got[f"LLM.{name}"] == got[f"BuildConfig.{name}"] == [value]


@pytest.mark.parametrize(("rebuild", "built"), [(True, True), (False, False)])
def test_an_engine_that_was_built_before_is_built_anew_or_taken_again(rebuild: bool, built: bool) -> None:
    (found,) = forward([run_of({**ENGINE_PATH, "tensorrt.force_rebuild": rebuild}, {})])
    assert found["error"] is None
    assert [call["call"] for call in found["given"] if "engine" in call["call"]] == ["_tensorrt_engine.LLM"] * 2
    assert found["engine_built"] is built


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"tensorrt.builder_opt_level": 3}, "got invalid argument: builder_opt_level"),
        ({"tensorrt.quantization.method": "fp8"}, "specific to TensorRT backend.*quant_config"),
        ({"tensorrt.force_rebuild": False}, "specific to TensorRT backend.*enable_build_cache"),
        ({**ENGINE_PATH, "tensorrt.attn_backend": "TRTLLM"}, "got invalid argument: attn_backend"),
        ({**ENGINE_PATH, "tensorrt.speculative.decoding_type": "NGram"}, "does not support backend tensorrt"),
    ],
)
def test_what_a_path_does_not_have_is_handed_over_and_refused_by_upstream(settings: Settings, says: str) -> None:
    (found,) = forward([run_of(settings, {})])
    assert found["error"]["type"] == "ValueError"
    assert refused_by_upstream(found)
    assert re.search(says, found["error"]["message"])
