"""The config schema: the ten published checks, types and limits of every field, flat views."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from typing import Any

import pytest
from pydantic import ValidationError

from harness.config import (
    PRESETS,
    DecoderConfig,
    ExperimentConfig,
    PyTorchConfig,
    config_from_settings,
    leaf_paths,
    schema_field,
    settings,
)
from harness.config.flat import nest
from harness.config.problems import problems_of
from harness.config.schema import leaf_fields
from tests.config_strategies import ABUSE


class TestTheTenChecksOfTheConfigExpansion:
    def test_1_pytorch_config_creates_with_all_fields_none(self) -> None:
        config = PyTorchConfig()
        assert PyTorchConfig.model_fields
        assert all(getattr(config, name) is None for name in PyTorchConfig.model_fields)

    def test_2_flash_attention_3_is_valid(self) -> None:
        assert PyTorchConfig(attn_implementation="flash_attention_3").attn_implementation == "flash_attention_3"

    def test_3_torch_compile_mode_alone_raises(self) -> None:
        with pytest.raises(ValidationError, match="torch_compile=True"):
            PyTorchConfig(torch_compile_mode="reduce-overhead")

    def test_4_bnb_4bit_compute_dtype_alone_raises(self) -> None:
        with pytest.raises(ValidationError, match="load_in_4bit=True"):
            PyTorchConfig(bnb_4bit_compute_dtype="bfloat16")

    def test_5_cache_implementation_without_a_cache_raises(self) -> None:
        with pytest.raises(ValidationError, match="use_cache"):
            PyTorchConfig(use_cache=False, cache_implementation="static")

    def test_6_bnb_4bit_compute_dtype_with_load_in_4bit_is_valid(self) -> None:
        config = PyTorchConfig(load_in_4bit=True, bnb_4bit_compute_dtype="bfloat16")
        assert (config.load_in_4bit, config.bnb_4bit_compute_dtype) == (True, "bfloat16")

    def test_7_torch_compile_mode_with_torch_compile_is_valid(self) -> None:
        config = PyTorchConfig(torch_compile=True, torch_compile_mode="max-autotune")
        assert (config.torch_compile, config.torch_compile_mode) == (True, "max-autotune")

    def test_8_min_p_and_min_new_tokens_are_valid(self) -> None:
        config = DecoderConfig(min_p=0.1, min_new_tokens=10)
        assert (config.min_p, config.min_new_tokens) == (0.1, 10)

    def test_9_an_experiment_takes_a_pytorch_config_with_a_revision(self) -> None:
        config = ExperimentConfig(model="gpt2", pytorch=PyTorchConfig(revision="abc123"))
        assert config.pytorch is not None
        assert config.pytorch.revision == "abc123"

    def test_10_an_unknown_field_raises(self) -> None:
        with pytest.raises(ValidationError, match="nonexistent"):
            ExperimentConfig(model="gpt2", pytorch=PyTorchConfig(nonexistent=True))  # type: ignore[call-arg]


def test_backend_defaults_to_pytorch_and_model_is_required() -> None:
    assert ExperimentConfig(model="m").backend == "pytorch"
    with pytest.raises(ValidationError, match="model"):
        ExperimentConfig.model_validate({})
    with pytest.raises(ValidationError, match="local path or a hub id"):
        ExperimentConfig(model="  ")


def test_every_field_has_a_description_and_defaults_to_none() -> None:
    for leaf in leaf_fields().values():
        assert leaf.default is None, leaf.path
        assert len(leaf.description) > 20, leaf.path


def test_the_audited_pytorch_fields_are_all_there() -> None:
    audited = {
        "batch_size",
        "attn_implementation",
        "torch_compile",
        "torch_compile_mode",
        "torch_compile_backend",
        "load_in_4bit",
        "load_in_8bit",
        "bnb_4bit_compute_dtype",
        "bnb_4bit_quant_type",
        "bnb_4bit_use_double_quant",
        "use_cache",
        "cache_implementation",
        "num_beams",
        "early_stopping",
        "length_penalty",
        "no_repeat_ngram_size",
        "prompt_lookup_num_tokens",
        "device_map",
        "max_memory",
        "revision",
        "trust_remote_code",
        "num_processes",
    }
    assert audited == set(PyTorchConfig.model_fields)


# Of the abuse: {}, {"a": 1}, [] and [1]
_MAPPINGS = {
    "passthrough_kwargs",
    "vllm.hf_overrides",
    "vllm.override_generation_config",
    "vllm.structured_outputs.json",
    "tensorrt.model_kwargs",
    "tensorrt.guided_decoding.json",
}
_EMPTY_MAPPINGS = {"pytorch.max_memory", "vllm.logit_bias", "tensorrt.embedding_bias"}
_FILLED_MAPPINGS = {"pytorch.device_map"}
_LISTS = {"vllm.stop", "vllm.bad_words", "tensorrt.stop", "tensorrt.bad"}
_TOKEN_LISTS = {"vllm.stop_token_ids", "tensorrt.stop_token_ids", "tensorrt.bad_token_ids"}
_FILLED_LISTS = {
    "vllm.allowed_token_ids",
    "vllm.priority",
    "tensorrt.cuda_graph.batch_sizes",
    "tensorrt.kv_cache.max_attention_window",
    "tensorrt.torch_compile.capture_num_tokens",
}


def _fits(path: str, value: Any) -> bool:
    """What the schema's own description of a leaf says about a value, restated independently."""
    leaf = schema_field(path)
    limits = leaf.constraints
    match value:
        case bool():
            return "bool" in leaf.kinds
        case int() | float():
            typed = "float" in leaf.kinds or (isinstance(value, int) and "int" in leaf.kinds)
            low, high, above = limits.get("ge", -math.inf), limits.get("le", math.inf), limits.get("gt", -math.inf)
            meant = path != "vllm.max_model_len" or value != 0
            return typed and meant and math.isfinite(value) and low <= value <= high and value > above
        case str():
            long_enough = len(value) >= limits.get("min_length", 0)
            matches = re.search(limits.get("pattern", ""), value) is not None
            chosen = value in leaf.choices if leaf.choices is not None else "str" in leaf.kinds
            # None of the abuse is a device.
            return chosen and path != "pytorch.device_map" and long_enough and matches
        case dict():
            return path in _MAPPINGS | (_FILLED_MAPPINGS if value else _EMPTY_MAPPINGS)
        case list():
            return path in _TOKEN_LISTS | (_FILLED_LISTS if value else _LISTS)
        case _:
            return False


_ENGINE_PATH = ("build.", "quantization.", "kv_cache_type", "strongly_typed", "multiple_profiles", "force_rebuild")
_COMPANIONS: dict[str, dict[str, Any]] = {
    "torch_compile_": {"pytorch.torch_compile": True},
    "pytorch.bnb_": {"pytorch.load_in_4bit": True},
    "quantization.bnb_": {"quantization.load_in_4bit": True},
    "quantization.quantization": {"quantization.load_in_4bit": True},
    "beam_search.enabled": {"decoder.beam_search.num_beams": 2},
    "parallelism.degree": {"parallelism.strategy": "tensor_parallel"},
    "max_tokens_per_batch": {"batching.strategy": "dynamic"},
    "traffic_simulation.": {"traffic_simulation.target_qps": 1.0},
    "vllm.speculative.": {"vllm.speculative.method": "suffix"},
    "vllm.logprobs": {"vllm.max_logprobs": -1},
    "vllm.prompt_logprobs": {"vllm.max_logprobs": -1},
    "vllm.data_parallel_size": {"vllm.distributed_backend": "external_launcher"},
    "vllm.lora_request": {"vllm.enable_lora": True},
    **{f"tensorrt.{name}": {"tensorrt.backend": "tensorrt"} for name in (*_ENGINE_PATH, "fast_build", "batching_type")},
    "tensorrt.speculative.": {"tensorrt.speculative.decoding_type": "NGram", "tensorrt.speculative.max_draft_len": 3},
    "tensorrt.n": {"decoder.do_sample": True},
    "tensorrt.best_of": {"decoder.do_sample": True},
    "tensorrt.skip_tokenizer_init": {"tensorrt.end_id": 0},
    "tensorrt.lora_request": {"tensorrt.lora.max_lora_rank": 8},
}


@pytest.mark.parametrize("path", leaf_paths())
def test_each_field_gives_each_abused_value_the_verdict_of_its_type(path: str) -> None:
    leaf = schema_field(path)
    flat = {"model": "m", "backend": leaf.backend or "pytorch"}
    for key, companions in _COMPANIONS.items():
        flat |= {name: value for name, value in companions.items() if key in path and name != path}
    for value in ABUSE:
        if value is False and path in ("quantization.quantization", "decoder.beam_search.enabled"):
            continue  # contradicts its companions
        blamed = _blamed(nest({**flat, path: value}), depth=path.count(".") + 1)
        assert blamed == (set() if _fits(path, value) else {path}), f"{path}={value!r}"


def _blamed(data: dict[str, Any], depth: int) -> set[str]:
    """The paths, cut to some depth, that errors about the config are reported at."""
    try:
        ExperimentConfig.model_validate(data)
    except ValidationError as error:
        return {".".join(map(str, item["loc"][:depth])) for item in error.errors()}
    return set()


@pytest.mark.parametrize("section", ["", *sorted({path.rpartition(".")[0] for path in leaf_paths() if "." in path})])
def test_every_section_rejects_unknown_keys(section: str) -> None:
    owner = section.partition(".")[0]
    backend = owner if owner in ("vllm", "tensorrt") else "pytorch"
    unknown = f"{section}.nonexistent".lstrip(".")
    with pytest.raises(ValidationError) as caught:
        ExperimentConfig.model_validate(nest({"model": "m", "backend": backend, unknown: 1}))
    assert [(item["type"], ".".join(map(str, item["loc"]))) for item in caught.value.errors()] == [
        ("extra_forbidden", unknown)
    ]


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_is_expanded_and_explicit_fields_win(preset: str) -> None:
    plain = settings(ExperimentConfig.model_validate({"model": "m", "decoder": {"preset": preset}}))
    assert plain == {"decoder.preset": preset} | {f"decoder.{name}": value for name, value in PRESETS[preset].items()}
    stated = settings(ExperimentConfig.model_validate({"model": "m", "decoder": {"preset": preset, "top_k": 7}}))
    assert stated == plain | {"decoder.top_k": 7}


def test_settings_are_flat_json_and_leave_out_none_model_and_backend() -> None:
    config = ExperimentConfig.model_validate(
        {
            "model": "m",
            "fp_precision": "float32",
            "random_seed": None,
            "streaming": False,
            "decoder": {"top_k": 1, "beam_search": {"num_beams": 1}},
            "pytorch": {"max_memory": {0: "1GiB", "cpu": 5}, "device_map": {"": 0}},
        }
    )
    flat = settings(config)
    assert flat == {
        "fp_precision": "float32",
        "streaming": False,
        "decoder.top_k": 1,
        "decoder.beam_search.num_beams": 1,
        "pytorch.max_memory": {"0": "1GiB", "cpu": 5},
        "pytorch.device_map": {"": 0},
    }
    assert json.loads(json.dumps(flat)) == flat
    assert config_from_settings(flat, model="m", backend="pytorch") == config


def test_lists_and_mappings_survive_the_flat_view_and_token_ids_become_strings() -> None:
    schema = {"type": "object", "properties": {"a": {"enum": [1, None]}}}
    config = ExperimentConfig.model_validate(
        {
            "model": "m",
            "backend": "vllm",
            "vllm": {
                "stop": ["a", "b"],
                "stop_token_ids": [],
                "logit_bias": {5: 1, "6": -2.5},
                "structured_outputs": {"json": schema},
                "compilation": {"mode": 3},
            },
        }
    )
    flat = settings(config)
    assert flat == {
        "vllm.stop": ["a", "b"],
        "vllm.stop_token_ids": [],
        "vllm.logit_bias": {"5": 1.0, "6": -2.5},
        "vllm.structured_outputs.json": schema,
        "vllm.compilation.mode": 3,
    }
    assert json.loads(json.dumps(flat)) == flat
    assert config_from_settings(flat, model="m", backend="vllm") == config


@pytest.mark.parametrize("bias", [{"x": 1.0}, {-1: 1.0}, {"05": 1.0}, {5: 1.0, "5": 2.0}, {"5": True}, {2**31: 1.0}])
def test_a_bias_for_what_is_no_token_id_is_refused(bias: dict[Any, Any]) -> None:
    with pytest.raises(ValidationError, match="logit_bias"):
        ExperimentConfig.model_validate({"model": "m", "backend": "vllm", "vllm": {"logit_bias": bias}})


def test_a_path_through_another_value_is_named() -> None:
    with pytest.raises(ValueError, match=r"'decoder\.top_k' lies inside 'decoder'"):
        nest({"decoder.top_k": 1, "decoder": {"top_k": 2}})


def test_leaf_paths_of_a_backend_are_the_shared_ones_and_its_own() -> None:
    for backend in ("pytorch", "vllm", "tensorrt"):
        others = {"pytorch", "vllm", "tensorrt"} - {backend}
        expected = tuple(path for path in leaf_paths() if path.partition(".")[0] not in others)
        assert leaf_paths(backend) == expected
    with pytest.raises(ValueError, match="unknown backend 'jax'"):
        leaf_paths("jax")


def test_an_unknown_path_is_answered_with_near_names() -> None:
    with pytest.raises(KeyError, match=r"decoder\.top_k"):
        schema_field("decoder.topk")


def test_configs_are_immutable() -> None:
    config = ExperimentConfig(model="m")
    with pytest.raises(ValidationError, match="frozen"):
        config.streaming = True


def test_passthrough_values_must_survive_json() -> None:
    deep: Any = 1
    for _ in range(40):
        deep = [deep]
    for bad in (float("nan"), {1: 2}, 2**70, deep, {"a": [float("inf")]}, {"a": {3}}):
        with pytest.raises(ValidationError, match="passthrough_kwargs"):
            ExperimentConfig.model_validate({"model": "m", "passthrough_kwargs": {"x": bad}})


def test_importing_the_package_loads_no_backend_and_nothing_heavy() -> None:
    code = (
        "import sys, harness.config;"
        "heavy = {'torch', 'transformers', 'vllm', 'tensorrt_llm', 'numpy', 'urllib.request', 'http.client'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


def test_every_kind_of_value_that_a_field_takes_is_put_into_words() -> None:
    for path in leaf_paths():
        leaf = schema_field(path)
        config = nest({"model": "m", "backend": leaf.backend or "pytorch", path: object()})
        with pytest.raises(ValidationError) as raised:
            ExperimentConfig.model_validate(config)
        (problem,) = [item for item in problems_of(raised.value) if item.path == path]
        words = {"bool": "true or false", "int": "integer", "float": "number", "dict": "mapping", "list": "list"}
        expected = {words[kind] for kind in leaf.kinds if kind in words} | set(leaf.choices or ())
        assert all(word in problem.expected for word in expected), f"{path}: {problem.expected}"


def test_an_empty_list_is_told_that_it_may_not_be_empty() -> None:
    with pytest.raises(ValidationError) as raised:
        ExperimentConfig.model_validate({"model": "m", "backend": "vllm", "vllm": {"priority": []}})
    (problem,) = problems_of(raised.value)
    assert (problem.path, problem.actual, problem.expected) == ("vllm.priority", "[] (list)", "a list, not empty")
