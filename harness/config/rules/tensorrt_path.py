"""Rules about the two ways in which TensorRT-LLM runs a model: what each of them alone understands."""

from __future__ import annotations

from typing import Any

from harness.config.rules._rule import Rule
from harness.config.rules._tensorrt import BACKEND, inert, refused, within

__all__ = ["RULES"]

_ENGINE = "tensorrt"
_GONE = "TensorRT-LLM 1.2 (read, not run); the engine path is gone after it"

# Arguments of TrtLlmArgs: section or leaf to an example of it
_ENGINE_ONLY: dict[str, dict[str, Any]] = {
    "quantization": {"tensorrt.quantization.method": "fp8"},
    "build": {"tensorrt.build.use_refit": True},
    "kv_cache_type": {"tensorrt.kv_cache_type": "paged"},
    "strongly_typed": {"tensorrt.strongly_typed": True},
    "multiple_profiles": {"tensorrt.multiple_profiles": True},
    "force_rebuild": {"tensorrt.force_rebuild": True},
    "fast_build": {"tensorrt.fast_build": True},
    "batching_type": {"tensorrt.batching_type": "INFLIGHT"},
}

# Arguments of TorchLlmArgs
_PYTORCH_ONLY: dict[str, dict[str, Any]] = {
    "cuda_graph": {"tensorrt.cuda_graph.enable_padding": True},
    "torch_compile": {"tensorrt.torch_compile.enable_inductor": True},
    "speculative": {"tensorrt.speculative.decoding_type": "NGram", "tensorrt.speculative.max_draft_len": 3},
    "attn_backend": {"tensorrt.attn_backend": "TRTLLM"},
    "sampler_type": {"tensorrt.sampler_type": "TorchSampler"},
    "disable_flashinfer_sampling": {"tensorrt.disable_flashinfer_sampling": True},
    "disable_overlap_scheduler": {"tensorrt.disable_overlap_scheduler": True},
    "enable_autotuner": {"tensorrt.enable_autotuner": False},
    "stream_interval": {"tensorrt.stream_interval": 4},
}


def _engine_only(name: str, example: dict[str, Any]) -> Rule:
    path = f"tensorrt.{name}"
    return refused(
        f"path.tensorrt_{name}",
        path,
        BACKEND,
        violated=lambda values: within(values, path) and values.get(BACKEND) != _ENGINE,
        combination=f"{path} without {BACKEND}=tensorrt",
        expected=f"{BACKEND}=tensorrt, the engine path",
        reason="Only the engine path knows it; the PyTorch path, which is the default, raises ValueError",
        resolution=f"Set {BACKEND}='tensorrt', or remove {path}",
        versions=_GONE,
        witness=example,
        neighbour={**example, BACKEND: _ENGINE},
    )


def _pytorch_only(name: str, example: dict[str, Any]) -> Rule:
    path = f"tensorrt.{name}"
    return refused(
        f"path.tensorrt_{name}",
        path,
        BACKEND,
        violated=lambda values: within(values, path) and values.get(BACKEND) == _ENGINE,
        combination=f"{path} with {BACKEND}=tensorrt",
        expected="the PyTorch path",
        reason="Only the PyTorch path knows it; the engine path raises ValueError",
        resolution=f"Remove {BACKEND}, or remove {path}",
        versions=_GONE,
        witness={**example, BACKEND: _ENGINE},
        neighbour=example,
    )


RULES: tuple[Rule, ...] = (
    inert(
        "path.tensorrt_engine",
        BACKEND,
        violated=lambda values: values.get(BACKEND) == _ENGINE,
        combination=f"{BACKEND}=tensorrt",
        expected="the PyTorch path",
        reason="The engine path is legacy in 1.2 and was removed after it (NVIDIA/TensorRT-LLM#15918)",
        resolution=f"Remove {BACKEND}, unless the engine path of 1.2 is meant",
        versions=_GONE,
        witness={BACKEND: _ENGINE},
        neighbour={},
    ),
    *(_engine_only(name, example) for name, example in _ENGINE_ONLY.items()),
    *(_pytorch_only(name, example) for name, example in _PYTORCH_ONLY.items()),
    refused(
        "path.tensorrt_cache_dtype",
        "tensorrt.kv_cache.dtype",
        BACKEND,
        violated=lambda values: (
            values.get("tensorrt.kv_cache.dtype", "auto") != "auto" and values.get(BACKEND) == _ENGINE
        ),
        combination=f"tensorrt.kv_cache.dtype other than auto with {BACKEND}=tensorrt",
        expected="tensorrt.quantization.kv_cache_quant_algo instead",
        reason="KvCacheConfig.dtype is not supported by the TensorRT backend: TrtLlmArgs asserts that it is auto",
        resolution="Set tensorrt.quantization.kv_cache_quant_algo, or take the PyTorch path",
        versions=_GONE,
        witness={"tensorrt.kv_cache.dtype": "fp8", BACKEND: _ENGINE},
        neighbour={"tensorrt.quantization.kv_cache_quant_algo": "FP8", BACKEND: _ENGINE},
    ),
    inert(
        "path.tensorrt_sink_tokens",
        "tensorrt.kv_cache.sink_token_length",
        BACKEND,
        violated=lambda values: "tensorrt.kv_cache.sink_token_length" in values and values.get(BACKEND) != _ENGINE,
        combination=f"tensorrt.kv_cache.sink_token_length without {BACKEND}=tensorrt",
        expected="the engine path, or no sink tokens",
        reason="The PyTorch path drops it without a word",
        resolution=f"Remove tensorrt.kv_cache.sink_token_length, or set {BACKEND}='tensorrt'",
        witness={"tensorrt.kv_cache.sink_token_length": 4},
        neighbour={"tensorrt.kv_cache.sink_token_length": 4, BACKEND: _ENGINE},
    ),
)
