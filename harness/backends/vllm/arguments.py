"""Which upstream argument each setting is: tables, and the few that need explaining.

A setting that is absent is never forwarded, so upstream's default applies. One that is
present always is, `False`, `0` and explicit defaults included.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.backends.settings import (
    ConflictingSettingsError,
    beside,
    expand_preset,
    passthrough,
    strategy_and_degree,
    take,
)

if TYPE_CHECKING:
    from harness.backends.base import Declared
    from harness.jsontypes import JSON

LLM = {
    "fp_precision": "dtype",
    "vllm.attention.backend": "attention_backend",
    "vllm.distributed_backend": "distributed_executor_backend",
    "vllm.quantization_method": "quantization",
    **{
        f"vllm.{name}": name
        for name in (
            "async_scheduling",
            "block_size",
            "cpu_offload_gb",
            "data_parallel_size",
            "disable_cascade_attn",
            "disable_sliding_window",
            "enable_chunked_prefill",
            "enable_lora",
            "enable_prefix_caching",
            "enforce_eager",
            "generation_config",
            "hf_overrides",
            "gpu_memory_utilization",
            "kv_cache_dtype",
            "kv_cache_memory_bytes",
            "kv_offloading_backend",
            "kv_offloading_size",
            "load_format",
            "logprobs_mode",
            "long_prefill_token_threshold",
            "max_logprobs",
            "max_lora_rank",
            "max_loras",
            "max_model_len",
            "max_num_batched_tokens",
            "max_num_seqs",
            "model_impl",
            "num_gpu_blocks_override",
            "optimization_level",
            "override_generation_config",
            "performance_mode",
            "pipeline_parallel_size",
            "prefix_caching_hash_algo",
            "revision",
            "safetensors_load_strategy",
            "scheduling_policy",
            "seed",
            "skip_tokenizer_init",
            "stream_interval",
            "swap_space",
            "tensor_parallel_size",
            "trust_remote_code",
        )
    },
}
"""Engine scope: `vllm.LLM`, which takes every field of `EngineArgs`."""

COMPILATION = {f"vllm.compilation.{name}": name for name in ("mode", "cudagraph_mode", "backend")}
"""Engine scope: keys of `LLM(compilation_config=)`."""

SPECULATIVE = {
    f"vllm.speculative.{name}": name
    for name in ("method", "model", "num_speculative_tokens", "prompt_lookup_min", "prompt_lookup_max")
}
"""Engine scope: keys of `LLM(speculative_config=)`."""

SAMPLING = {
    "decoder.temperature": "temperature",
    "decoder.top_k": "top_k",
    "decoder.top_p": "top_p",
    "decoder.min_p": "min_p",
    "decoder.repetition_penalty": "repetition_penalty",
    "decoder.min_new_tokens": "min_tokens",
    "max_output_tokens": "max_tokens",
    "random_seed": "seed",
    **{
        f"vllm.{name}": name
        for name in (
            "allowed_token_ids",
            "bad_words",
            "best_of",
            "detokenize",
            "flat_logprobs",
            "frequency_penalty",
            "ignore_eos",
            "include_stop_str_in_output",
            "logit_bias",
            "logprobs",
            "min_tokens",
            "n",
            "presence_penalty",
            "prompt_logprobs",
            "skip_reading_prefix_cache",
            "skip_special_tokens",
            "spaces_between_special_tokens",
            "stop",
            "stop_token_ids",
        )
    },
}
"""Request scope: `SamplingParams`."""

STRUCTURED = {f"vllm.structured_outputs.{name}": name for name in ("regex", "choice", "json", "grammar")}
"""Request scope: `StructuredOutputsParams`, which `SamplingParams(structured_outputs=)` takes."""

BEAM = {
    "decoder.beam_search.num_beams": "beam_width",
    "decoder.beam_search.length_penalty": "length_penalty",
    "decoder.temperature": "temperature",
    "max_output_tokens": "max_tokens",
    "vllm.ignore_eos": "ignore_eos",
    "vllm.include_stop_str_in_output": "include_stop_str_in_output",
    "vllm.skip_special_tokens": "skip_special_tokens",
}
"""Request scope, when beams are searched: `BeamSearchParams`."""

GENERATE = {"vllm.priority": "priority", "vllm.lora_request": "lora_request"}
"""Request scope: `LLM.generate` itself."""

UPSTREAM = {
    "LLM": LLM,
    "CompilationConfig": COMPILATION,
    "SpeculativeConfig": SPECULATIVE,
    "SamplingParams": SAMPLING,
    "StructuredOutputsParams": STRUCTURED,
    "BeamSearchParams": BEAM,
    "LLM.generate": GENERATE,
}
"""Every table, by the upstream class or call whose arguments it names."""

PARALLEL = {
    "tensor_parallel": "tensor_parallel_size",
    "pipeline_parallel": "pipeline_parallel_size",
    "data_parallel": "data_parallel_size",
}
"""`parallelism.strategy` to the argument that takes `parallelism.degree`."""


def engine_arguments(settings: Declared, model: str) -> dict[str, Any]:
    """Keyword arguments of `vllm.LLM`.

    Raises:
        ConflictingSettingsError: two settings contradict each other.
    """
    arguments = take(settings, LLM)
    compilation = take(settings, COMPILATION)
    if compilation:
        arguments["compilation_config"] = compilation
    speculative = take(settings, SPECULATIVE)
    if speculative:
        if isinstance(draft := speculative.get("model"), str):
            speculative["model"] = beside(model, draft)
        arguments["speculative_config"] = speculative
    for name, value in {**_parallel(settings), **_bitsandbytes(settings)}.items():
        if name in arguments and arguments[name] != value:
            raise ConflictingSettingsError(f"two settings give `{name}` upstream: {arguments[name]!r} and {value!r}")
        arguments[name] = value
    return {**arguments, **passthrough(settings)}


def _parallel(settings: Declared) -> dict[str, Any]:
    given = strategy_and_degree(settings, "vLLM takes a number of processes for one strategy")
    if given is None:
        return {}
    strategy, degree = given
    return {PARALLEL[str(strategy)]: degree}


def _bitsandbytes(settings: Declared) -> dict[str, Any]:
    """The method by its name: what the flags stand for, which 0.31 and 0.32 do not know and refuse.

    Versions that had it quantised to 4 bits while loading, and to 8 only as a checkpoint's config asked:
    `load_in_8bit` therefore goes where such a config would stand.
    """
    given = take(settings, {f"quantization.{name}": name for name in ("quantization", "load_in_4bit", "load_in_8bit")})
    if not given:
        return {}
    if given.get("load_in_8bit"):
        config = {"quant_method": "bitsandbytes", "load_in_8bit": True, "load_in_4bit": False}
        return {"quantization": "bitsandbytes", "hf_overrides": {"quantization_config": config}}
    wanted = bool(given.get("load_in_4bit") or given.get("quantization"))
    return {"quantization": "bitsandbytes" if wanted else None}


def sampling_arguments(settings: Declared, max_new_tokens: int, seed: int | None) -> dict[str, Any]:
    """Keyword arguments of `SamplingParams`; structured outputs apart.

    `do_sample` has no argument of its own upstream: greedy is temperature 0, and a temperature above
    it samples. So False is forwarded as 0, and True as the declared temperature or upstream's own 1.

    Raises:
        ConflictingSettingsError: greedy and a temperature above 0 at once.
    """
    expand_preset(settings)
    arguments: dict[str, Any] = {"max_tokens": max_new_tokens}
    if seed is not None:
        arguments["seed"] = seed
    arguments |= take(settings, SAMPLING)
    sample = settings.get("decoder.do_sample")
    if sample is not None:
        temperature = arguments.get("temperature")
        if not sample and temperature:
            raise ConflictingSettingsError(
                f"decoder.do_sample=False contradicts decoder.temperature={temperature!r}: both are `temperature` "
                "upstream, where 0 means greedy"
            )
        arguments["temperature"] = (1.0 if temperature is None else temperature) if sample else 0.0
    if "logit_bias" in arguments:
        # JSON has string keys only
        arguments["logit_bias"] = {int(key): value for key, value in arguments["logit_bias"].items()}
    return {**arguments, **passthrough(settings)}


def structured_arguments(settings: Declared) -> dict[str, Any]:
    """Keyword arguments of `StructuredOutputsParams`; empty when no structure is asked for."""
    return take(settings, STRUCTURED)


def beam_arguments(settings: Declared, max_new_tokens: int) -> dict[str, Any] | None:
    """Keyword arguments of `BeamSearchParams`, or None when beams are not searched.

    Raises:
        ConflictingSettingsError: beams are asked for without saying how many, or while sampling.
    """
    enabled = settings.get("decoder.beam_search.enabled")
    asked = any(path in settings for path in ("decoder.beam_search.num_beams", "decoder.beam_search.length_penalty"))
    if enabled is None and not asked:
        return None
    arguments = {"max_tokens": max_new_tokens, **take(settings, BEAM)}
    if enabled is False:
        return None
    expand_preset(settings)
    if "beam_width" not in arguments:
        raise ConflictingSettingsError(
            "beam search needs decoder.beam_search.num_beams: BeamSearchParams has no default for beam_width"
        )
    if settings.get("decoder.do_sample"):
        raise ConflictingSettingsError(
            "decoder.do_sample=True with beam search: vLLM's beam search draws nothing, it ranks beams"
        )
    return {**arguments, **passthrough(settings)}


def lora_paths(settings: Declared, model: str) -> str | list[str] | None:
    """The folder of the adapter to use, one for each prompt, or None."""
    given: JSON = settings.get("vllm.lora_request")
    if isinstance(given, list):
        return [beside(model, str(path)) for path in given]
    return None if given is None else beside(model, str(given))
