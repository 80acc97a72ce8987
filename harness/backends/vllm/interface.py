"""What the installed vLLM offers, read from its own code."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.backends.upstream import Argument, Interface, UpstreamCall, of_dataclass, of_function, read, with_values

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

PARTS = {
    "attention_config": "AttentionConfig",
    "compilation_config": "CompilationConfig",
    "speculative_config": "SpeculativeConfig",
}
"""Arguments of `LLM` that take an object, and the call here that makes it."""

ATTENTION = "vLLM's AttentionBackendEnum, members with a class"


def interface(libraries: Mapping[str, Sequence[str]]) -> Interface:
    """Every call that the adapter makes with declared arguments, and the config objects behind them."""
    return read(
        libraries,
        {
            "LLM": _llm,
            "AttentionConfig": _config("AttentionConfig"),
            "CompilationConfig": _config("CompilationConfig"),
            "SpeculativeConfig": _config("SpeculativeConfig"),
            "SamplingParams": _sampling,
            "StructuredOutputsParams": _structured,
            "BeamSearchParams": _beams,
            "LLM.generate": _generate,
            "LLM.beam_search": _beam_search,
        },
    )


def _llm() -> UpstreamCall:
    from vllm import LLM
    from vllm.engine.arg_utils import EngineArgs

    own, fields = of_function(LLM.__init__), of_dataclass(EngineArgs)
    arguments = {**own, **fields}
    arguments.pop("model", None)  # what everything runs on, no parameter of its own
    for name in own.keys() & fields.keys():
        # the constructor hands its own default on, whatever the field's is
        if "default" in own[name]:
            arguments[name]["default"] = own[name]["default"]
    if "load_format" in arguments:
        with_values(arguments["load_format"], _load_formats(), "vLLM's table of model loaders")
    if "quantization" in arguments:
        with_values(arguments["quantization"], _quantization_methods(), "vLLM's QUANTIZATION_METHODS")
    if "attention_backend" in arguments:
        with_values(arguments["attention_backend"], _attention_backends(), ATTENTION)
    for name, part in PARTS.items():
        if name in arguments:
            arguments[name]["parts"] = part
    return {
        "read_from": "LLM.__init__: signature, whose **kwargs are the fields of EngineArgs",
        "arguments": arguments,
        "note": "Defaults are those of the signature. What LLM.__init__ and EngineArgs decide in their bodies, by "
        "device and model, is not seen here.",
    }


def _attention_backends() -> list[str]:
    """Members that have a class behind them, and `auto` where it is understood."""
    from vllm.config import AttentionConfig
    from vllm.v1.attention.backends.registry import AttentionBackendEnum

    found = []
    for name, member in AttentionBackendEnum.__members__.items():
        try:
            member.get_path()
        except ValueError:
            continue
        found.append(name)
    check = getattr(AttentionConfig, "validate_backend_before", None)
    return ["auto", *found] if check is not None and check("auto") is None else found


def _load_formats() -> list[str]:
    from vllm.model_executor.model_loader import _LOAD_FORMAT_TO_MODEL_LOADER

    return sorted(_LOAD_FORMAT_TO_MODEL_LOADER)


def _quantization_methods() -> list[str]:
    from vllm.model_executor.layers.quantization import QUANTIZATION_METHODS

    return list(QUANTIZATION_METHODS)


def _config(name: str) -> Callable[[], UpstreamCall]:
    def reader() -> UpstreamCall:
        from vllm import config

        arguments = of_dataclass(getattr(config, name))
        if name == "AttentionConfig" and "backend" in arguments:
            with_values(arguments["backend"], _attention_backends(), ATTENTION)
        return {"read_from": f"vllm.config.{name}: fields", "arguments": arguments}

    return reader


def _sampling() -> UpstreamCall:
    from vllm import SamplingParams

    arguments = _public(of_function(SamplingParams))
    if "structured_outputs" in arguments:
        arguments["structured_outputs"]["parts"] = "StructuredOutputsParams"
    return {"read_from": "SamplingParams: fields", "arguments": arguments}


def _structured() -> UpstreamCall:
    from vllm.sampling_params import StructuredOutputsParams

    return {"read_from": "StructuredOutputsParams: fields", "arguments": of_dataclass(StructuredOutputsParams)}


def _beams() -> UpstreamCall:
    from vllm.sampling_params import BeamSearchParams

    arguments = _public(of_function(BeamSearchParams))
    if "structured_outputs" in arguments:
        arguments["structured_outputs"]["parts"] = "StructuredOutputsParams"
    return {"read_from": "BeamSearchParams: fields", "arguments": arguments}


def _generate() -> UpstreamCall:
    from vllm import LLM

    arguments = of_function(LLM.generate, ignore=("prompts",))
    if "sampling_params" in arguments:
        arguments["sampling_params"]["parts"] = "SamplingParams"
    return {"read_from": "LLM.generate: signature", "arguments": arguments}


def _beam_search() -> UpstreamCall:
    from vllm import LLM

    arguments = of_function(LLM.beam_search, ignore=("prompts",))
    if "params" in arguments:
        arguments["params"]["parts"] = "BeamSearchParams"
    return {"read_from": "LLM.beam_search: signature", "arguments": arguments}


def _public(arguments: dict[str, Argument]) -> dict[str, Argument]:
    return {name: found for name, found in arguments.items() if not name.startswith("_")}
