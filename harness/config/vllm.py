"""The section of the vLLM backend: ``LLM(...)`` and ``SamplingParams(...)``."""

from __future__ import annotations

from typing import ClassVar, Literal

from harness.config._section import Section
from harness.config._types import INT32_MAX, opt

__all__ = ["VLLMAttentionConfig", "VLLMConfig", "VLLMSpeculativeConfig"]


class VLLMAttentionConfig(Section):
    """Attention in vLLM."""

    path_prefix: ClassVar[str] = "vllm.attention."

    backend: str | None = opt(
        "Attention backend by vLLM's name: FLASH_ATTN, FLASHINFER, TRITON_ATTN, … or auto. Open, "
        "as each version registers others. vLLM chooses by device and dtype when omitted.",
        pattern=r"^[A-Za-z0-9_.]+$",
        max_length=100,
    )


class VLLMSpeculativeConfig(Section):
    """Speculative decoding: the keys of vLLM's ``speculative_config``."""

    path_prefix: ClassVar[str] = "vllm.speculative."

    method: str | None = opt(
        "How tokens are drafted: ngram, draft_model, eagle, … Open, as each version adds methods.",
        min_length=1,
        max_length=100,
    )
    model: str | None = opt("Draft model, for methods that use one. No default.", min_length=1)
    num_speculative_tokens: int | None = opt(
        "Tokens drafted per step. No default for ngram and draft models.", ge=1, le=INT32_MAX
    )
    prompt_lookup_min: int | None = opt(
        "Shortest n-gram matched, for ngram. Follows prompt_lookup_max by default.",
        ge=1,
        le=INT32_MAX,
    )
    prompt_lookup_max: int | None = opt(
        "Longest n-gram matched, for ngram. Follows prompt_lookup_min by default.",
        ge=1,
        le=INT32_MAX,
    )


class VLLMConfig(Section):
    """Settings that only the vLLM backend has. Defaults named are those of vLLM 0.32."""

    path_prefix: ClassVar[str] = "vllm."

    attention: VLLMAttentionConfig | None = opt("Attention settings.")
    speculative: VLLMSpeculativeConfig | None = opt("Speculative decoding. Omitted: none.")
    best_of: int | None = opt(
        "Candidates generated per returned sequence. Removed upstream; kept to show so.",
        ge=1,
        le=INT32_MAX,
    )
    block_size: int | None = opt(
        "Tokens per block of the paged cache; which sizes are legal depends on the attention "
        "backend, which also chooses the default.",
        ge=1,
        le=INT32_MAX,
    )
    cpu_offload_gb: float | None = opt("GiB of weights kept in host memory. Default 0.", ge=0.0)
    distributed_backend: Literal["mp", "ray", "uni", "external_launcher"] | None = opt(
        "distributed_executor_backend: what starts the workers. Chosen by world size by default."
    )
    enable_chunked_prefill: bool | None = opt(
        "Split long prompts over several steps. Default true where the model supports it."
    )
    enable_prefix_caching: bool | None = opt(
        "Reuse cache blocks of equal prompt prefixes. Default true where the model supports it."
    )
    enforce_eager: bool | None = opt("Run without compilation and CUDA graphs. Default false.")
    gpu_memory_utilization: float | None = opt(
        "Share of device memory that vLLM may take. Default 0.92.", gt=0.0, le=1.0
    )
    kv_cache_dtype: str | None = opt(
        "Data type of the cache: auto (the model's), float16, bfloat16, fp8, … Open, as each "
        "version adds types. Default auto.",
        pattern=r"^[a-z0-9_]+$",
        max_length=100,
    )
    load_format: str | None = opt(
        "Format of the weights: auto, safetensors, pt, dummy, … Default auto.",
        pattern=r"^[a-z0-9_]+$",
        max_length=100,
    )
    logprobs: int | None = opt(
        "Likeliest tokens reported per position; -1 reports all. Off by default.",
        ge=-1,
        le=INT32_MAX,
    )
    max_model_len: int | None = opt("Longest sequence in tokens. Default: the model's own limit.", ge=1, le=INT32_MAX)
    max_num_batched_tokens: int | None = opt(
        "Most tokens processed in one step. Default depends on device and use.", ge=1, le=INT32_MAX
    )
    max_num_seqs: int | None = opt("Most requests in one step. Default depends on device and use.", ge=1, le=INT32_MAX)
    quantization_method: str | None = opt(
        "quantization=: awq, gptq, fp8, … awq and gptq need a checkpoint quantised that way. "
        "Default: what the checkpoint says.",
        min_length=1,
        max_length=100,
    )
    swap_space: float | None = opt("GiB of host memory for swapped blocks. Removed upstream; kept to show so.", ge=0.0)
