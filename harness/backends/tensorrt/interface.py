"""What the installed TensorRT-LLM offers, read from its own code."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.backends.tensorrt.configs import find
from harness.backends.upstream import (
    Argument,
    Interface,
    UpstreamCall,
    of_dataclass,
    of_function,
    of_model,
    read,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

PARTS = {
    "build_config": "BuildConfig",
    "calib_config": "CalibConfig",
    "cuda_graph_config": "CudaGraphConfig",
    "guided_decoding": "GuidedDecodingParams",
    "kv_cache_config": "KvCacheConfig",
    "lora_config": "LoraConfig",
    "plugin_config": "PluginConfig",
    "quant_config": "QuantConfig",
    "sampling_params": "SamplingParams",
    "scheduler_config": "SchedulerConfig",
    "speculative_config": "NGramDecodingConfig",
    "torch_compile_config": "TorchCompileConfig",
}
"""Arguments that take an object, and the call here that makes it."""

CONFIGS = (
    "KvCacheConfig",
    "SchedulerConfig",
    "LoraConfig",
    "CudaGraphConfig",
    "TorchCompileConfig",
    "NGramDecodingConfig",
    "QuantConfig",
    "CalibConfig",
    "BuildConfig",
    "PluginConfig",
    "SamplingParams",
    "GuidedDecodingParams",
)


def interface(libraries: Mapping[str, Sequence[str]]) -> Interface:
    """Every call that the adapter makes with declared arguments, and the config objects behind them.

    A version without the engine path says so in that call's `failed`, and is not accused of anything else.
    """
    return read(
        libraries,
        {
            "LLM": _llm("TorchLlmArgs"),
            "_tensorrt_engine.LLM": _llm("TrtLlmArgs"),
            **{name: _config(name) for name in CONFIGS},
            "LLM.generate_async": _generate,
        },
    )


def _llm(name: str) -> Callable[[], UpstreamCall]:
    def reader() -> UpstreamCall:
        arguments = _with_parts(of_model(find(name)))
        arguments.pop("model", None)  # what everything runs on, no parameter of its own
        return {
            "read_from": f"tensorrt_llm.llmapi.{name}: fields",
            "arguments": arguments,
            "note": "Defaults are those of the fields. What upstream's validators decide by device and model is not "
            "seen here.",
        }

    return reader


def _config(name: str) -> Callable[[], UpstreamCall]:
    def reader() -> UpstreamCall:
        cls: Any = find(name)
        fields = of_model(cls) if hasattr(cls, "model_fields") else of_dataclass(cls)
        return {"read_from": f"{cls.__module__}.{name}: fields", "arguments": _with_parts(fields)}

    return reader


def _generate() -> UpstreamCall:
    from tensorrt_llm import LLM

    arguments = {
        name: found
        for name, found in of_function(LLM.generate_async, ignore=("inputs",)).items()
        if not name.startswith("_")
    }
    return {"read_from": "LLM.generate_async: signature", "arguments": _with_parts(arguments)}


def _with_parts(arguments: dict[str, Argument]) -> dict[str, Argument]:
    for name, part in PARTS.items():
        if name in arguments:
            arguments[name]["parts"] = part
    return arguments
