"""Settings as vLLM's arguments: every value as it was declared, and contradictions named. Needs no vllm."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from harness.backends.base import Calls, Declared, GenerateJob
from harness.backends.planning import plan
from harness.backends.settings import ConflictingSettingsError
from harness.backends.vllm import arguments
from harness.backends.vllm.requests import Requests
from harness.config.introspection import get_backend_specific_params
from harness.jsontypes import JSON
from harness.plan import Cell, Run, build
from matrix import MATRIX

MODEL = "org/model"
TABLES = {name: table for name, table in arguments.UPSTREAM.items() if name != "LLM.generate"}
VALUES: tuple[JSON, ...] = (False, True, 0, 1, 0.0, -0.5, None, "", "text", [], [3], {}, {"5": 2.5})
MADE_OVER = {"vllm.logit_bias"}
"""Where JSON cannot say what upstream takes: tested apart."""
OF_BEAMS_TOO = {"vllm.ignore_eos", "vllm.include_stop_str_in_output", "vllm.skip_special_tokens"}
"""Fields of both kinds of request: only one of these tables is used for a request."""


def given(call: str, settings: Declared) -> dict[str, Any]:
    """The arguments that the adapter makes of settings for this upstream call."""
    match call:
        case "LLM":
            return arguments.engine_arguments(settings, MODEL)
        case "CompilationConfig" | "SpeculativeConfig":
            part = {"CompilationConfig": "compilation_config", "SpeculativeConfig": "speculative_config"}[call]
            found: dict[str, Any] = arguments.engine_arguments(settings, MODEL)[part]
            return found
        case "SamplingParams":
            return arguments.sampling_arguments(settings, 16, seed=0)
        case "StructuredOutputsParams":
            return arguments.structured_arguments(settings)
        case "BeamSearchParams":
            beams = arguments.beam_arguments(settings, 16)
            assert beams is not None
            return beams
    raise AssertionError(call)


def companions(call: str) -> dict[str, JSON]:
    return {"decoder.beam_search.num_beams": 4} if call == "BeamSearchParams" else {}


@pytest.mark.parametrize(
    ("call", "path", "name"),
    [(call, path, name) for call, table in TABLES.items() for path, name in table.items() if path not in MADE_OVER],
)
def test_every_value_is_forwarded_as_it_was_declared(call: str, path: str, name: str) -> None:
    for value in VALUES:
        settings = Declared({**companions(call), path: value})
        arrived = given(call, settings)
        assert name in arrived, value
        assert arrived[name] == value
        assert type(arrived[name]) is type(value)
        assert settings.unread() == []


def test_what_is_not_declared_is_not_forwarded() -> None:
    nothing = Declared({})
    assert arguments.engine_arguments(nothing, MODEL) == {}
    assert arguments.sampling_arguments(nothing, 16, seed=3) == {"max_tokens": 16, "seed": 3}
    assert arguments.sampling_arguments(nothing, 16, seed=None) == {"max_tokens": 16}
    assert arguments.structured_arguments(nothing) == {}
    assert arguments.beam_arguments(nothing, 16) is None
    assert arguments.lora_paths(nothing, MODEL) is None


def test_a_declared_length_and_seed_win_over_the_workload_s() -> None:
    settings = Declared({"max_output_tokens": 4, "random_seed": 7})
    assert arguments.sampling_arguments(settings, 16, seed=0) == {"max_tokens": 4, "seed": 7}


@pytest.mark.parametrize("path", sorted(get_backend_specific_params()["vllm"]))
def test_every_setting_of_the_section_is_one_upstream_argument(path: str) -> None:
    tables = [name for name, table in arguments.UPSTREAM.items() if path in table]
    if path in OF_BEAMS_TOO:
        tables.remove("BeamSearchParams")
    assert len(tables) == 1, tables


def test_no_table_names_a_setting_of_the_section_that_there_is_not() -> None:
    named = {path for table in arguments.UPSTREAM.values() for path in table if path.startswith("vllm.")}
    assert named <= set(get_backend_specific_params()["vllm"])


@pytest.mark.parametrize(
    ("settings", "temperature"),
    [
        ({"decoder.do_sample": False}, 0.0),
        ({"decoder.do_sample": False, "decoder.temperature": 0.0}, 0.0),
        ({"decoder.do_sample": False, "decoder.temperature": None}, 0.0),
        ({"decoder.do_sample": True}, 1.0),
        ({"decoder.do_sample": True, "decoder.temperature": 0.0}, 0.0),
        ({"decoder.do_sample": True, "decoder.temperature": 0.5}, 0.5),
        ({"decoder.temperature": 0.7}, 0.7),
    ],
)
def test_greedy_is_temperature_0_and_sampling_the_declared_one(settings: dict[str, JSON], temperature: float) -> None:
    declared = Declared(settings)
    assert arguments.sampling_arguments(declared, 16, seed=0)["temperature"] == temperature
    assert declared.unread() == []


def test_ids_of_a_bias_are_numbers_although_json_has_strings() -> None:
    settings = Declared({"vllm.logit_bias": {"0": -100.0, "5": 2}})
    assert arguments.sampling_arguments(settings, 16, seed=0)["logit_bias"] == {0: -100.0, 5: 2}


@pytest.mark.parametrize("size", ["tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size"])
def test_a_strategy_and_its_degree_are_one_argument(size: str) -> None:
    settings = Declared({"parallelism.strategy": size.removesuffix("_size"), "parallelism.degree": 2})
    assert arguments.engine_arguments(settings, MODEL) == {size: 2}
    assert settings.unread() == []


def test_one_argument_may_be_said_twice_when_both_agree() -> None:
    settings = Declared(
        {"parallelism.strategy": "tensor_parallel", "parallelism.degree": 2, "vllm.tensor_parallel_size": 2}
    )
    assert arguments.engine_arguments(settings, MODEL) == {"tensor_parallel_size": 2}


@pytest.mark.parametrize(
    ("flags", "wanted"),
    [
        ({"load_in_4bit": True}, {"quantization": "bitsandbytes"}),
        ({"load_in_4bit": False}, {"quantization": None}),
        ({"load_in_8bit": False}, {"quantization": None}),
        ({"quantization": True}, {"quantization": "bitsandbytes"}),
        ({"quantization": False}, {"quantization": None}),
    ],
)
def test_the_shared_flags_of_quantisation_name_a_method_or_none(
    flags: dict[str, JSON], wanted: dict[str, JSON]
) -> None:
    settings = Declared({f"quantization.{name}": value for name, value in flags.items()})
    assert arguments.engine_arguments(settings, MODEL) == wanted
    assert settings.unread() == []


def test_8_bits_stand_where_a_checkpoint_s_own_config_would_ask_for_them() -> None:
    found = arguments.engine_arguments(Declared({"quantization.load_in_8bit": True}), MODEL)
    assert found["quantization"] == "bitsandbytes"
    assert found["hf_overrides"]["quantization_config"]["load_in_8bit"] is True


BEAMS = {"decoder.beam_search.num_beams": 4}

CONFLICTS: list[tuple[str, dict[str, JSON], str]] = [
    (
        "LLM",
        {"parallelism.strategy": "tensor_parallel", "parallelism.degree": 4, "vllm.tensor_parallel_size": 2},
        "two settings give `tensor_parallel_size` upstream: 2 and 4",
    ),
    ("LLM", {"parallelism.strategy": "tensor_parallel"}, "with parallelism.degree=None"),
    ("LLM", {"parallelism.degree": 2}, "parallelism.strategy=None"),
    (
        "LLM",
        {"quantization.load_in_4bit": True, "vllm.quantization_method": "awq"},
        "two settings give `quantization` upstream: 'awq' and 'bitsandbytes'",
    ),
    (
        "SamplingParams",
        {"decoder.min_new_tokens": 2, "vllm.min_tokens": 3},
        "vllm.min_tokens=3 contradicts decoder.min_new_tokens=2: both are `min_tokens` upstream",
    ),
    (
        "SamplingParams",
        {"decoder.do_sample": False, "decoder.temperature": 0.7},
        "decoder.do_sample=False contradicts decoder.temperature=0.7",
    ),
    ("BeamSearchParams", {"decoder.beam_search.enabled": True}, "beam search needs decoder.beam_search.num_beams"),
    ("BeamSearchParams", {"decoder.beam_search.length_penalty": 0.0}, "beam search needs"),
    ("BeamSearchParams", {**BEAMS, "decoder.do_sample": True}, "decoder.do_sample=True with beam search"),
]


@pytest.mark.parametrize(("call", "settings", "says"), CONFLICTS, ids=[says for _, _, says in CONFLICTS])
def test_a_contradiction_is_named_with_both_values(call: str, settings: dict[str, JSON], says: str) -> None:
    with pytest.raises(ConflictingSettingsError, match=re.escape(says)):
        given(call, Declared(settings))


def test_beams_bring_their_width_penalty_and_length() -> None:
    settings = Declared({**BEAMS, "decoder.beam_search.length_penalty": 0.0, "decoder.do_sample": False})
    assert arguments.beam_arguments(settings, 24) == {"beam_width": 4, "length_penalty": 0.0, "max_tokens": 24}
    assert settings.unread() == []


def test_beams_that_are_switched_off_are_read_and_not_searched() -> None:
    settings = Declared({**BEAMS, "decoder.beam_search.length_penalty": 2.0, "decoder.beam_search.enabled": False})
    assert arguments.beam_arguments(settings, 24) is None
    assert settings.unread() == []


@pytest.mark.parametrize("path", ["decoder.top_k", "decoder.beam_search.early_stopping", "vllm.stop"])
def test_what_a_beam_search_has_no_argument_for_stays_unread(path: str) -> None:
    settings = Declared({**BEAMS, path: 1})
    arguments.beam_arguments(settings, 24)
    assert settings.unread() == [path]


def test_raw_arguments_win_over_everything_else() -> None:
    for call, name in (("LLM", "seed"), ("SamplingParams", "max_tokens"), ("BeamSearchParams", "max_tokens")):
        settings = Declared({**companions(call), "vllm.seed": 1, "passthrough_kwargs": {name: 99}})
        assert given(call, settings)[name] == 99


def test_a_folder_beside_the_model_is_found_and_a_hub_id_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "model" / "draft").mkdir(parents=True)
    model = str(tmp_path / "model")
    for path, wanted in (("draft", str(tmp_path / "model" / "draft")), ("org/name", "org/name"), (".", model)):
        settings = Declared({"vllm.speculative.model": path, "vllm.lora_request": path})
        assert arguments.engine_arguments(settings, model)["speculative_config"] == {"model": wanted}
        assert arguments.lora_paths(settings, model) == wanted
        assert settings.unread() == []


def test_an_adapter_for_each_prompt_is_found_as_one_for_all_is(tmp_path: Path) -> None:
    (tmp_path / "model" / "adapter").mkdir(parents=True)
    model = str(tmp_path / "model")
    settings = Declared({"vllm.lora_request": ["adapter", "org/name"]})
    assert arguments.lora_paths(settings, model) == [str(tmp_path / "model" / "adapter"), "org/name"]


def test_priorities_are_handed_to_generate_as_they_are() -> None:
    declared = Declared({"vllm.priority": [3, 0, 1]})
    job = GenerateJob(declared, ("a", "b", "c"), 4, (0,), frozenset())
    assert Requests(MODEL, None).others(job, Calls()) == {"priority": [3, 0, 1]}
    assert declared.unread() == []


CELLS = tuple(
    cell
    for cell in build(MATRIX, models={"vllm": MODEL}, backends=["vllm"])
    if not cell.not_applicable and not cell.by_harness
)


def handed(run: Run) -> dict[str, Any]:
    """Everything that the adapter would make of a run's settings; it must have read them all."""
    engine, request = Declared(run.engine), Declared(run.request)
    work = run.workload
    found: dict[str, Any] = {
        "LLM": arguments.engine_arguments(engine, run.model),
        "streaming": engine.get("streaming"),
        "BeamSearchParams": arguments.beam_arguments(request, work.max_new_tokens),
    }
    together = 1 if found["BeamSearchParams"] else len(work.prompts)
    found["plan"] = plan(request, [1] * len(work.prompts), Calls(), together=together)
    if found["BeamSearchParams"] is None:
        found["SamplingParams"] = arguments.sampling_arguments(request, work.max_new_tokens, seed=0)
        found["StructuredOutputsParams"] = arguments.structured_arguments(request)
    found["LLM.generate"] = [request.get("vllm.priority"), arguments.lora_paths(request, run.model)]
    assert [*engine.unread(), *request.unread()] == []
    return found


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.row)
def test_vllm_is_handed_something_else_in_a_cell_than_in_its_control(cell: Cell) -> None:
    assert handed(cell.treated) != handed(cell.control)
