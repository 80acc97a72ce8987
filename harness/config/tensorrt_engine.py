"""Settings of the TensorRT-LLM section that take effect when the engine is made: arguments of ``LLM(...)``."""

from __future__ import annotations

from typing import Literal

from harness.config._section import Section
from harness.config._types import INT32_MAX, Passthrough, opt
from harness.config.tensorrt_build import TensorRTBuildConfig, TensorRTQuantizationConfig
from harness.config.tensorrt_sections import (
    TensorRTCudaGraphConfig,
    TensorRTKvCacheConfig,
    TensorRTLoraConfig,
    TensorRTSchedulerConfig,
    TensorRTSpeculativeConfig,
    TensorRTTorchCompileConfig,
)

__all__ = ["TensorRTEngineFields"]


class TensorRTEngineFields(Section, defer_build=True):
    """Arguments of ``tensorrt_llm.LLM``, which are the fields of its ``TorchLlmArgs`` or ``TrtLlmArgs``."""

    build: TensorRTBuildConfig | None = opt("Building of the engine (engine path).")
    cuda_graph: TensorRTCudaGraphConfig | None = opt("CUDA graphs (PyTorch path).")
    kv_cache: TensorRTKvCacheConfig | None = opt("The cache of keys and values, beyond the fields below.")
    lora: TensorRTLoraConfig | None = opt("Room for LoRA adapters.")
    quantization: TensorRTQuantizationConfig | None = opt("Quantisation of the engine (engine path).")
    scheduler: TensorRTSchedulerConfig | None = opt("Which requests go into a step.")
    speculative: TensorRTSpeculativeConfig | None = opt("Speculative decoding. Omitted: none.")
    torch_compile: TensorRTTorchCompileConfig | None = opt("torch.compile (PyTorch path). Omitted: none.")

    # What runs the model, and how
    backend: Literal["pytorch", "tensorrt", "_autodeploy"] | None = opt(
        "What runs the model: pytorch, tensorrt (the engine path, removed upstream after 1.2) or _autodeploy "
        "(a prototype). Default pytorch."
    )
    attn_backend: str | None = opt(
        "Attention kernels: TRTLLM, VANILLA, FLASHINFER, … Open, as versions add some. PyTorch path. Default TRTLLM.",
        pattern=r"^[A-Z0-9_]+$",
        max_length=100,
    )
    sampler_type: str | None = opt(
        "What draws tokens: TorchSampler, TRTLLMSampler or auto. Open, as versions change them. PyTorch path. "
        "Default auto: TorchSampler, in 1.2 TRTLLMSampler for beams.",
        pattern=r"^[A-Za-z]+$",
        max_length=100,
    )
    disable_flashinfer_sampling: bool | None = opt(
        "Sample without FlashInfer's kernels. PyTorch path. Default false.",
    )
    disable_overlap_scheduler: bool | None = opt(
        "Prepare a step only when the one before has ended. PyTorch path. Default false."
    )
    enable_autotuner: bool | None = opt("Choose kernels by trying them at the start. PyTorch path. Default true.")
    enable_attention_dp: bool | None = opt(
        "Copy attention to each process of tensor parallelism and split the requests. PyTorch path. Default false."
    )
    stream_interval: int | None = opt(
        "Tokens between two deliveries of a stream. PyTorch path. Default 1.", ge=1, le=INT32_MAX
    )
    guided_decoding_backend: Literal["xgrammar", "llguidance"] | None = opt(
        "What holds the output to the form that guided_decoding asks for. Default: none, which refuses such requests."
    )

    # The model and its weights
    load_format: str | None = opt(
        "Where weights come from: auto (the checkpoint), dummy (random numbers). Open, as versions add some. "
        "Default auto.",
        pattern=r"^[A-Za-z_]+$",
        max_length=100,
    )
    model_kwargs: Passthrough | None = opt(
        "Replaces fields of the checkpoint's config.json; upstream ignores unknown ones. Default: none."
    )
    revision: str | None = opt("Branch, tag or commit of the model on the hub. Default: main.", min_length=1)
    skip_tokenizer_init: bool | None = opt(
        "Load no tokenizer: prompts and outputs are token ids. Default false.",
    )
    trust_remote_code: bool | None = opt("Run code that the checkpoint brings along. Default false.")

    # The engine of the engine path
    fast_build: bool | None = opt("Build faster, for a slower engine. Engine path. Default false.")
    force_rebuild: bool | None = opt(
        "Build the engine anew; false takes one from the build cache. Upstream has no such argument: it stands for "
        "enable_build_cache. Engine path. Upstream's own default builds anew."
    )
    kv_cache_type: Literal["paged", "continuous", "disabled"] | None = opt(
        "Layout of the cache: BuildConfig.kv_cache_type. Engine path. Default paged."
    )
    multiple_profiles: bool | None = opt(
        "Build several optimisation profiles: PluginConfig.multiple_profiles. Engine path. Default false."
    )
    strongly_typed: bool | None = opt(
        "Build a strongly typed network: BuildConfig.strongly_typed. Engine path. Default true."
    )
    batching_type: Literal["STATIC", "INFLIGHT"] | None = opt(
        "Whether a batch takes new requests while it runs. Engine path. Default INFLIGHT."
    )

    # Sizes and scheduling
    max_batch_size: int | None = opt("Most requests in one step. Default 2048.", ge=1, le=INT32_MAX)
    max_num_tokens: int | None = opt("Most tokens processed in one step. Default 8192.", ge=1, le=INT32_MAX)
    max_seq_len: int | None = opt(
        "Longest sequence in tokens, prompt and output together. Default: the model's own limit.", ge=1, le=INT32_MAX
    )
    enable_chunked_context: bool | None = opt(
        "Split long prompts over several steps: LLM(enable_chunked_prefill=). Default false."
    )
    enable_kv_cache_reuse: bool | None = opt(
        "Reuse cache blocks of equal prompt prefixes: KvCacheConfig.enable_block_reuse. Default true."
    )
    gpu_memory_utilization: float | None = opt(
        "Share of the device memory that is free after loading which the cache may take: "
        "KvCacheConfig.free_gpu_memory_fraction. Default 0.9.",
        gt=0.0,
        le=1.0,
    )
