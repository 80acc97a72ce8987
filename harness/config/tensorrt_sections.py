"""Sub-sections of the TensorRT-LLM section: settings that upstream groups into a config of their own."""

from __future__ import annotations

import warnings
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from harness.config._section import Section
from harness.config._types import INT32_MAX, INT64_MAX, JSONSchema, NonBlank, NonEmpty, opt

__all__ = [
    "TensorRTCudaGraphConfig",
    "TensorRTGuidedDecodingConfig",
    "TensorRTKvCacheConfig",
    "TensorRTLoraConfig",
    "TensorRTSchedulerConfig",
    "TensorRTSpeculativeConfig",
    "TensorRTTorchCompileConfig",
]

_Count = Annotated[int, Field(ge=1, le=INT32_MAX)]
_Counts = Annotated[list[_Count], Field(min_length=1)]


class TensorRTKvCacheConfig(Section):
    """The cache of keys and values: TensorRT-LLM's ``KvCacheConfig``.

    Two of its fields stand one level up, under other names: enable_kv_cache_reuse and gpu_memory_utilization.
    """

    path_prefix: ClassVar[str] = "tensorrt.kv_cache."

    dtype: str | None = opt(
        "Data type of the cache: auto (the model's), fp8, … Open, as versions add types. PyTorch path. Default auto.",
        pattern=r"^[a-z0-9_]+$",
        max_length=100,
    )
    max_tokens: int | None = opt(
        "Most tokens in the cache; gpu_memory_utilization still holds. Default: as many as fit.", ge=1, le=INT32_MAX
    )
    max_attention_window: _Counts | None = opt(
        "Tokens that each layer attends to; the list repeats over the layers. Default: all."
    )
    sink_token_length: int | None = opt(
        "First tokens that a window never drops. Upstream ignores it on the PyTorch path. Default: none.",
        ge=0,
        le=INT32_MAX,
    )
    tokens_per_block: int | None = opt("Tokens per block of the paged cache. Default 32.", ge=1, le=INT32_MAX)
    enable_partial_reuse: bool | None = opt("Reuse blocks of which only the first tokens match. Default true.")
    copy_on_partial_reuse: bool | None = opt(
        "Copy partly matching blocks that are in use, so that they can be reused too. Default true."
    )
    host_cache_size: int | None = opt(
        "Bytes of host memory for blocks that the device has no room for. Default: none.", ge=0, le=INT64_MAX
    )
    event_buffer_max_size: int | None = opt(
        "Most cache events kept for LLM.get_kv_cache_events. Default 0: none.", ge=0, le=INT32_MAX
    )
    max_gpu_total_bytes: int | None = opt(
        "Most bytes of device memory for the cache; gpu_memory_utilization still holds. Default 0: no limit.",
        ge=0,
        le=INT64_MAX,
    )


class TensorRTSchedulerConfig(Section):
    """Which requests go into a step: TensorRT-LLM's ``SchedulerConfig``."""

    path_prefix: ClassVar[str] = "tensorrt.scheduler."

    capacity_scheduler_policy: Literal["MAX_UTILIZATION", "GUARANTEED_NO_EVICT", "STATIC_BATCH"] | None = opt(
        "Fill the cache and pause requests if need be, admit only what can finish, or take a batch at a time. "
        "Default GUARANTEED_NO_EVICT."
    )
    context_chunking_policy: Literal["FIRST_COME_FIRST_SERVED", "EQUAL_PROGRESS"] | None = opt(
        "Which prompts are split, with enable_chunked_context. Default: FIRST_COME_FIRST_SERVED."
    )


class TensorRTCudaGraphConfig(Section):
    """CUDA graphs: TensorRT-LLM's ``CudaGraphConfig``. PyTorch path."""

    path_prefix: ClassVar[str] = "tensorrt.cuda_graph."

    enabled: bool | None = opt(
        "Whether steps are captured at all; false hands over cuda_graph_config=None. On by default."
    )
    batch_sizes: _Counts | None = opt("Batch sizes captured. Default: by max_batch_size.")
    max_batch_size: int | None = opt(
        "Largest batch size captured, instead of batch_sizes. Default 128.", ge=1, le=INT32_MAX
    )
    enable_padding: bool | None = opt("Fill batches up to the next captured size. Default false.")


class TensorRTTorchCompileConfig(Section):
    """torch.compile: TensorRT-LLM's ``TorchCompileConfig``, a prototype. PyTorch path."""

    path_prefix: ClassVar[str] = "tensorrt.torch_compile."

    enabled: bool | None = opt(
        "Whether the model is compiled; false hands over torch_compile_config=None. Off by default."
    )
    enable_fullgraph: bool | None = opt("Refuse breaks in the graph. Default true.")
    enable_inductor: bool | None = opt("Compile with inductor. Default false.")
    enable_piecewise_cuda_graph: bool | None = opt("Capture the steps of prompts piece by piece. Default false.")
    capture_num_tokens: _Counts | None = opt("Numbers of tokens captured piecewise. Default: by upstream's rule.")


class TensorRTSpeculativeConfig(Section):
    """Speculative decoding: one config class of TensorRT-LLM's per decoding type. PyTorch path."""

    path_prefix: ClassVar[str] = "tensorrt.speculative."

    decoding_type: Literal["NGram", "Draft_Target", "Eagle3", "MTP", "AUTO"] | None = opt(
        "How tokens are drafted; AUTO leaves it to upstream, Eagle3 and MTP need heads trained for the model. "
        "No default."
    )
    max_draft_len: int | None = opt(
        "Most tokens drafted per step, for NGram, Draft_Target and Eagle3. No default.", ge=1, le=INT32_MAX
    )
    speculative_model: str | None = opt(
        "Draft model or heads, for Draft_Target and Eagle3; a relative path is looked for in the model's "
        "folder first. No default.",
        min_length=1,
    )
    max_concurrency: int | None = opt(
        "Draft only while at most so many requests run. Default: always.", ge=1, le=INT32_MAX
    )
    max_matching_ngram_size: int | None = opt("Longest n-gram matched, for NGram. Default 2.", ge=1, le=INT32_MAX)
    is_keep_all: bool | None = opt("Keep all continuations of an n-gram, for NGram. Default true.")
    is_use_oldest: bool | None = opt("Draft the oldest continuation, for NGram. Default true.")
    is_public_pool: bool | None = opt("Let requests share n-grams, for NGram. Default true.")


class TensorRTLoraConfig(Section):
    """Room for LoRA adapters: TensorRT-LLM's ``LoraConfig``."""

    path_prefix: ClassVar[str] = "tensorrt.lora."

    lora_dir: Annotated[list[NonEmpty], Field(min_length=1)] | None = opt(
        "Folders of adapters that tell which modules and ranks there are; a relative path is looked for in the "
        "model's folder first. Default: none."
    )
    lora_target_modules: Annotated[list[NonEmpty], Field(min_length=1)] | None = opt(
        "Modules that adapters may change: attn_q, attn_dense, mlp_h_to_4h, … Default: told from lora_dir."
    )
    max_lora_rank: int | None = opt("Highest rank of an adapter. Default 64.", ge=1, le=INT32_MAX)
    max_loras: int | None = opt("Most adapters on the device. Default: upstream's.", ge=1, le=INT32_MAX)


with warnings.catch_warnings():
    # pydantic 2 keeps BaseModel.json() for old callers; nothing here calls it, and upstream's name is "json"
    warnings.filterwarnings("ignore", message='Field name "json"', category=UserWarning)

    class TensorRTGuidedDecodingConfig(Section):
        """The form that the output must take: TensorRT-LLM's ``GuidedDecodingParams``. One kind at a time."""

        path_prefix: ClassVar[str] = "tensorrt.guided_decoding."

        regex: NonBlank | None = opt("Regular expression that the whole output matches. No default.")
        json: NonBlank | JSONSchema | None = opt(  # type: ignore[assignment]
            "JSON schema that the output obeys, as a mapping or as JSON text. No default."
        )
        json_object: bool | None = opt("Whether the output is any JSON object. Default false.")
        grammar: NonBlank | None = opt("Context-free grammar (EBNF) of the output. No default.")
