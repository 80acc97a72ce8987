"""Which upstream argument each setting is: tables, and the few that need explaining.

A setting that is absent is never forwarded, so upstream's default applies. One that is
present always is, `False`, `0` and explicit defaults included. Which path of the library
understands an argument is the library's to say: what is declared is handed over on either.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.backends.settings import ConflictingSettingsError, expand_preset, passthrough, strategy_and_degree, take

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.backends.base import Declared
    from harness.jsontypes import JSON


def _own(*names: str, section: str = "") -> dict[str, str]:
    return {f"tensorrt.{section}{name}": name for name in names}


BOTH_PATHS = {
    "fp_precision": "dtype",
    "decoder.beam_search.num_beams": "max_beam_width",
    "tensorrt.enable_chunked_context": "enable_chunked_prefill",
    **_own(
        "builder_opt_level",
        "enable_attention_dp",
        "guided_decoding_backend",
        "load_format",
        "max_batch_size",
        "max_num_tokens",
        "max_seq_len",
        "revision",
        "skip_tokenizer_init",
        "trust_remote_code",
    ),
}
"""Engine scope: fields of upstream's `BaseLlmArgs`, which both `LLM` classes take.

`builder_opt_level` is none of them: upstream removed it in 0.14 (NVIDIA/TensorRT-LLM#2297), and refuses it by name.
"""

PYTORCH_PATH = _own(
    "attn_backend",
    "backend",
    "disable_flashinfer_sampling",
    "disable_overlap_scheduler",
    "enable_autotuner",
    "model_kwargs",
    "sampler_type",
    "stream_interval",
)
"""Engine scope: fields that `TorchLlmArgs` adds."""

ENGINE_PATH = {**_own("batching_type", "fast_build"), "tensorrt.force_rebuild": "enable_build_cache"}
"""Engine scope: fields that `TrtLlmArgs` adds."""

KV_CACHE = {
    "tensorrt.enable_kv_cache_reuse": "enable_block_reuse",
    "tensorrt.gpu_memory_utilization": "free_gpu_memory_fraction",
    **_own(
        "copy_on_partial_reuse",
        "dtype",
        "enable_partial_reuse",
        "event_buffer_max_size",
        "host_cache_size",
        "max_attention_window",
        "max_gpu_total_bytes",
        "max_tokens",
        "sink_token_length",
        "tokens_per_block",
        section="kv_cache.",
    ),
}
SCHEDULER = _own("capacity_scheduler_policy", "context_chunking_policy", section="scheduler.")
LORA = _own("lora_dir", "lora_target_modules", "max_lora_rank", "max_loras", section="lora.")
CUDA_GRAPH = _own("batch_sizes", "enable_padding", "max_batch_size", section="cuda_graph.")
TORCH_COMPILE = _own(
    "capture_num_tokens",
    "enable_fullgraph",
    "enable_inductor",
    "enable_piecewise_cuda_graph",
    section="torch_compile.",
)
SPECULATIVE = _own(
    "is_keep_all",
    "is_public_pool",
    "is_use_oldest",
    "max_concurrency",
    "max_draft_len",
    "max_matching_ngram_size",
    "speculative_model",
    section="speculative.",
)
QUANT = {
    "tensorrt.quantization.method": "quant_algo",
    **_own("exclude_modules", "group_size", "kv_cache_quant_algo", "smoothquant_val", section="quantization."),
}
CALIB = {
    "tensorrt.quantization.calibration.batch_size": "calib_batch_size",
    "tensorrt.quantization.calibration.dataset": "calib_dataset",
    "tensorrt.quantization.calibration.device": "device",
    "tensorrt.quantization.calibration.max_seq_length": "calib_max_seq_length",
    "tensorrt.quantization.calibration.num_batches": "calib_batches",
}
BUILD = {
    **_own("kv_cache_type", "strongly_typed"),
    **_own(
        "force_num_profiles",
        "opt_batch_size",
        "opt_num_tokens",
        "profiling_verbosity",
        "use_refit",
        "weight_streaming",
        section="build.",
    ),
}
PLUGIN = {**_own("multiple_profiles"), **_own("use_paged_context_fmha", section="build.")}
"""Engine scope: fields of the config objects that the `LLM` classes take."""

SAMPLING = {
    "decoder.temperature": "temperature",
    "decoder.top_k": "top_k",
    "decoder.top_p": "top_p",
    "decoder.min_p": "min_p",
    "decoder.repetition_penalty": "repetition_penalty",
    "decoder.min_new_tokens": "min_tokens",
    "decoder.beam_search.early_stopping": "early_stopping",
    "decoder.beam_search.length_penalty": "length_penalty",
    "decoder.beam_search.no_repeat_ngram_size": "no_repeat_ngram_size",
    "max_output_tokens": "max_tokens",
    "random_seed": "seed",
    **_own(
        "bad",
        "bad_token_ids",
        "beam_search_diversity_rate",
        "best_of",
        "detokenize",
        "embedding_bias",
        "end_id",
        "exclude_input_from_output",
        "frequency_penalty",
        "ignore_eos",
        "include_stop_str_in_output",
        "logprobs",
        "min_tokens",
        "n",
        "presence_penalty",
        "prompt_logprobs",
        "return_context_logits",
        "return_generation_logits",
        "skip_special_tokens",
        "stop",
        "stop_token_ids",
        "top_p_decay",
        "top_p_min",
        "top_p_reset_ids",
        "truncate_prompt_tokens",
    ),
}
"""Request scope: `SamplingParams`."""

GUIDED = _own("grammar", "json", "json_object", "regex", section="guided_decoding.")
"""Request scope: `GuidedDecodingParams`, which `SamplingParams(guided_decoding=)` takes."""

GENERATE = _own("cache_salt", "lora_request")
"""Request scope: `LLM.generate` and `LLM.generate_async`."""

STREAMING = {"streaming": "streaming"}
"""Request scope: `LLM.generate_async`."""

UPSTREAM = {
    "LLM": {**BOTH_PATHS, **PYTORCH_PATH},
    "_tensorrt_engine.LLM": {**BOTH_PATHS, **ENGINE_PATH},
    "KvCacheConfig": KV_CACHE,
    "SchedulerConfig": SCHEDULER,
    "LoraConfig": LORA,
    "CudaGraphConfig": CUDA_GRAPH,
    "TorchCompileConfig": TORCH_COMPILE,
    "NGramDecodingConfig": SPECULATIVE,
    "QuantConfig": QUANT,
    "CalibConfig": CALIB,
    "BuildConfig": BUILD,
    "PluginConfig": PLUGIN,
    "SamplingParams": SAMPLING,
    "GuidedDecodingParams": GUIDED,
    "LLM.generate_async": {**GENERATE, **STREAMING},
}
"""Every table, by the upstream class or call whose arguments it names."""

PARALLEL = {"tensor_parallel": "tensor_parallel_size", "pipeline_parallel": "pipeline_parallel_size"}
"""`parallelism.strategy` to the argument that takes `parallelism.degree`."""

EARLY_STOPPING: Mapping[object, int] = {False: 0, True: 1, "never": 2}
"""Upstream takes a number: 1 stops when enough beams have ended, 0 by a heuristic, any other when none gets better."""


def on_engine_path(settings: Declared) -> bool:
    """Whether a TensorRT engine is to be built and run."""
    return settings.get("tensorrt.backend") == "tensorrt"


def llm_arguments(settings: Declared) -> dict[str, Any]:
    """Plain keyword arguments of either `LLM` class; config objects, and what the harness adds, apart.

    Raises:
        ConflictingSettingsError: two settings contradict each other.
    """
    arguments = take(settings, {**BOTH_PATHS, **PYTORCH_PATH, **ENGINE_PATH})
    if arguments.get("backend") == "tensorrt":
        # a class of its own: its loader raises for any `backend` but None
        del arguments["backend"]
    enabled = settings.get("decoder.beam_search.enabled")
    if enabled is not None:
        arguments["max_beam_width"] = _beams(bool(enabled), arguments.get("max_beam_width"))
    for name, value in _parallel(settings).items():
        if arguments.setdefault(name, value) != value:
            raise ConflictingSettingsError(f"two settings give `{name}` upstream: {arguments[name]!r} and {value!r}")
    return arguments


def _beams(enabled: bool, width: JSON) -> JSON:
    """Upstream has no switch for beams at load: a width of one is their off."""
    if enabled and width is None:
        raise ConflictingSettingsError(
            "decoder.beam_search.enabled=True needs decoder.beam_search.num_beams: max_beam_width is 1 by default, "
            "which is no beam search"
        )
    return width if enabled else 1


def _parallel(settings: Declared) -> dict[str, Any]:
    given = strategy_and_degree(settings, "TensorRT-LLM takes a number of GPUs for one strategy")
    if given is None:
        return {}
    strategy, degree = given
    if strategy not in PARALLEL:
        raise ConflictingSettingsError(
            f"parallelism.strategy={strategy!r}: TensorRT-LLM's LLM has no argument for copies of a model; "
            f"expected one of {', '.join(PARALLEL)}"
        )
    return {PARALLEL[str(strategy)]: degree}


def sampling_arguments(settings: Declared, max_new_tokens: int, seed: int, *, beam_width: int | None) -> dict[str, Any]:
    """Keyword arguments of `SamplingParams`; guided decoding apart.

    `do_sample` has no argument of its own upstream, where a request without temperature, top_k and
    top_p is greedy. So False is forwarded as top_k=1, and True as the declared temperature or 1.

    Args:
        settings: of the request.
        max_new_tokens: of the workload; a declared length wins.
        seed: of the pass; a declared seed wins.
        beam_width: what the engine was loaded for, None where nothing was said of beams.

    Raises:
        ConflictingSettingsError: two settings contradict each other.
    """
    expand_preset(settings)
    arguments: dict[str, Any] = {"max_tokens": max_new_tokens, "seed": seed, **take(settings, SAMPLING)}
    if "early_stopping" in arguments:
        arguments["early_stopping"] = EARLY_STOPPING[arguments["early_stopping"]]
    searches = beam_width is not None and beam_width > 1
    if beam_width is not None:
        arguments["use_beam_search"] = searches
    if beam_width is not None and searches:
        arguments |= _width(arguments, beam_width)
    _choose(arguments, settings.get("decoder.do_sample"), searches=searches)
    return {**arguments, **passthrough(settings)}


def _width(arguments: Mapping[str, Any], width: int) -> dict[str, int]:
    """`best_of` is the width of the search, `n` how many of its beams come back: all, if nothing else is said."""
    if arguments.get("best_of", width) != width:
        raise ConflictingSettingsError(
            f"tensorrt.best_of={arguments['best_of']} contradicts decoder.beam_search.num_beams={width}: "
            "both are `best_of` upstream"
        )
    return {"best_of": width, "n": arguments.get("n", width)}


def _choose(arguments: dict[str, Any], sample: JSON, *, searches: bool) -> None:
    """Put into words of upstream whether tokens are drawn."""
    if sample is None:
        return
    if searches:
        if sample:
            raise ConflictingSettingsError(
                "decoder.do_sample=True with beam search: upstream's beam search draws nothing, it ranks beams"
            )
        return
    if sample:
        arguments.setdefault("temperature", 1.0)
        return
    if arguments.setdefault("top_k", 1) != 1:
        raise ConflictingSettingsError(
            f"decoder.do_sample=False contradicts decoder.top_k={arguments['top_k']!r}: greedy is `top_k=1` upstream"
        )


def vocabulary_bias(bias: Mapping[str, float], size: int) -> list[float]:
    """`embedding_bias` as upstream takes it: a number for each of `size` tokens, from token ids that JSON made text."""
    given = {int(token): value for token, value in bias.items()}
    if outside := [token for token in given if token >= size]:
        raise ConflictingSettingsError(
            f"tensorrt.embedding_bias: token {outside[0]} is outside the vocabulary of {size} tokens"
        )
    return [given.get(token, 0.0) for token in range(size)]
