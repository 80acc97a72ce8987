"""Settings of the vLLM section that take effect when the engine is made: arguments of ``LLM(...)``."""

from __future__ import annotations

from typing import Literal

from harness.config._section import Section
from harness.config._types import INT32_MAX, INT64_MAX, SEED_MAX, Passthrough, opt
from harness.config.vllm_sections import VLLMAttentionConfig, VLLMCompilationConfig, VLLMSpeculativeConfig

__all__ = ["VLLMEngineFields"]


class VLLMEngineFields(Section, defer_build=True):
    """Arguments of ``vllm.LLM``, which are the fields of its ``EngineArgs``."""

    attention: VLLMAttentionConfig | None = opt("Attention settings.")
    compilation: VLLMCompilationConfig | None = opt("Compilation and CUDA graphs. Omitted: by optimization_level.")
    speculative: VLLMSpeculativeConfig | None = opt("Speculative decoding. Omitted: none.")

    # What runs the model, and how
    async_scheduling: bool | None = opt(
        "Schedule the next step while the present one runs. Default: on where executor and speculative method allow it."
    )
    distributed_backend: Literal["mp", "ray", "uni", "external_launcher"] | None = opt(
        "distributed_executor_backend: what starts the workers. Default: uni for one process; for more, by platform, "
        "devices visible and whether Ray runs."
    )
    enforce_eager: bool | None = opt("Run without compilation and CUDA graphs. Default false.")
    model_impl: str | None = opt(
        "Implementation of the model: auto, vllm, transformers, … Open, as versions add some. Default auto: vLLM's own "
        "where there is one.",
        pattern=r"^[a-z0-9_]+$",
        max_length=100,
    )
    optimization_level: int | None = opt(
        "0 to 3: trades time to start for speed; sets what compilation does not state. Default 2.", ge=0, le=3
    )
    performance_mode: Literal["balanced", "interactivity", "throughput"] | None = opt(
        "What batches and kernels are tuned for. Default balanced."
    )
    seed: int | None = opt(
        "Seed of the engine itself, for requests that bring none. Default 0: runs of an engine agree.",
        ge=0,
        le=SEED_MAX,
    )
    tensor_parallel_size: int | None = opt(
        "Processes that split each layer; the same argument as parallelism.strategy=tensor_parallel. Default 1.",
        ge=1,
        le=INT32_MAX,
    )
    pipeline_parallel_size: int | None = opt(
        "Processes that split the layers; the same argument as parallelism.strategy=pipeline_parallel. Default 1.",
        ge=1,
        le=INT32_MAX,
    )
    data_parallel_size: int | None = opt(
        "Copies of the engine; the same argument as parallelism.strategy=data_parallel. Default 1.",
        ge=1,
        le=INT32_MAX,
    )

    # The model and its weights
    cpu_offload_gb: float | None = opt("GiB of weights kept in host memory. Default 0.", ge=0.0)
    generation_config: str | None = opt(
        "Where defaults of sampling come from: auto (the model's generation_config.json), vllm (none), or a folder. "
        "Default auto.",
        min_length=1,
    )
    override_generation_config: Passthrough | None = opt(
        'Defaults of sampling laid over generation_config, for example {"temperature": 0.5}. Default: none.'
    )
    hf_overrides: Passthrough | None = opt(
        "Replaces fields of the checkpoint's config.json. Default: none.",
    )
    load_format: str | None = opt(
        "Format of the weights: auto, safetensors, pt, dummy, … Open, as versions and plug-ins add some. Default auto.",
        pattern=r"^[A-Za-z0-9_]+$",
        max_length=100,
    )
    safetensors_load_strategy: str | None = opt(
        "How safetensors files are read: lazy, eager, prefetch, torchao. Open, as versions add some. Default: mapped, "
        "and prefetched from a network file system.",
        pattern=r"^[a-z0-9_]+$",
        max_length=100,
    )
    max_model_len: int | None = opt(
        "Longest sequence in tokens; -1 takes as much as the memory holds. Default: the model's own limit.",
        ge=-1,
        le=INT32_MAX,
    )
    quantization_method: str | None = opt(
        "quantization=: awq, gptq, fp8, … awq and gptq need a checkpoint quantised that way. "
        "Default: what the checkpoint says.",
        min_length=1,
        max_length=100,
    )
    revision: str | None = opt("Branch, tag or commit of the model on the hub. Default: main.", min_length=1)
    skip_tokenizer_init: bool | None = opt(
        "Load no tokenizer: prompts and outputs are token ids. Default false.",
    )
    trust_remote_code: bool | None = opt("Run model code that the checkpoint brings along. Default false.")

    # The cache
    block_size: int | None = opt(
        "Tokens per block of the paged cache; which sizes are legal depends on the attention "
        "backend, which also chooses the default.",
        ge=1,
        le=INT32_MAX,
    )
    disable_cascade_attn: bool | None = opt(
        "Switch cascade attention off. vLLM 0.32 has none any more: deprecated, without effect, removed in 0.33."
    )
    disable_sliding_window: bool | None = opt(
        "Cap the model at its sliding window instead of sliding. Ignored by models without one. Default false."
    )
    enable_prefix_caching: bool | None = opt(
        "Reuse cache blocks of equal prompt prefixes. Default true where the model supports it."
    )
    gpu_memory_utilization: float | None = opt(
        "Share of device memory that vLLM may take; on a CPU, of its memory. Default 0.92.", gt=0.0, le=1.0
    )
    kv_cache_dtype: str | None = opt(
        "Data type of the cache: auto (the model's), float16, bfloat16, fp8, … Open, as each "
        "version adds types. Default auto.",
        pattern=r"^[a-z0-9_]+$",
        max_length=100,
    )
    kv_cache_memory_bytes: int | None = opt(
        "Bytes of cache per device; gpu_memory_utilization is then ignored. Default: what memory is left.",
        ge=1,
        le=INT64_MAX,
    )
    kv_offloading_backend: Literal["native", "lmcache"] | None = opt(
        "What moves cache blocks to the host; only with kv_offloading_size. Default native."
    )
    kv_offloading_size: float | None = opt(
        "GiB of host memory for cache blocks, over all tensor-parallel processes. Default: none.", gt=0.0
    )
    num_gpu_blocks_override: int | None = opt(
        "Number of cache blocks, instead of as many as fit. Default: as many as fit.", ge=1, le=INT32_MAX
    )
    prefix_caching_hash_algo: Literal["sha256", "sha256_cbor", "xxhash", "xxhash_cbor"] | None = opt(
        "How prefixes are hashed. Default sha256; the xxhash ones need the xxhash package."
    )

    # Scheduling
    enable_chunked_prefill: bool | None = opt(
        "Split long prompts over several steps. Default true where the model supports it."
    )
    long_prefill_token_threshold: int | None = opt(
        "A longer prompt is taken in chunks of at most so many tokens when others wait. Default 0: no such cap.",
        ge=0,
        le=INT32_MAX,
    )
    max_num_batched_tokens: int | None = opt(
        "Most tokens processed in one step. Default by device and use: 4096 per process for LLM on a CPU, 8192 or "
        "16384 on a GPU by its memory.",
        ge=1,
        le=INT32_MAX,
    )
    max_num_seqs: int | None = opt(
        "Most requests in one step. Default by device and use: 256 per process for LLM on a CPU, 256 or 1024 on a GPU "
        "by its memory.",
        ge=1,
        le=INT32_MAX,
    )
    scheduling_policy: Literal["fcfs", "priority"] | None = opt(
        "Order of waiting requests: of arrival, or by their priority. Default fcfs."
    )
    stream_interval: int | None = opt("Tokens between two deliveries of a stream. Default 1.", ge=1, le=INT32_MAX)

    # What requests may ask for
    enable_lora: bool | None = opt("Make room for LoRA adapters. Default false.")
    max_loras: int | None = opt("Most adapters in one batch. Default 1.", ge=1, le=INT32_MAX)
    max_lora_rank: int | None = opt(
        "Highest rank of an adapter: 1, 8, 16, 32, 64, 128, 256, 320 or 512. Default 16.", ge=1, le=INT32_MAX
    )
    max_logprobs: int | None = opt(
        "Most log probabilities a request may ask for per token; -1 for no limit. Default 20.", ge=-1, le=INT32_MAX
    )
    logprobs_mode: Literal["raw_logprobs", "raw_logits", "processed_logprobs", "processed_logits"] | None = opt(
        "Whether scores are reported before or after penalties, temperature and filters. Default raw_logprobs."
    )
