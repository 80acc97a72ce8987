"""The section of the TensorRT-LLM backend: ``tensorrt_llm.LLM(...)`` and its engine build."""

from __future__ import annotations

from typing import ClassVar, Literal

from harness.config._section import Section
from harness.config._types import INT32_MAX, opt

__all__ = ["TensorRTCalibrationConfig", "TensorRTConfig", "TensorRTQuantizationConfig"]


class TensorRTCalibrationConfig(Section):
    """Data that post-training quantisation is calibrated on: TensorRT-LLM's ``CalibConfig``."""

    path_prefix: ClassVar[str] = "tensorrt.quantization.calibration."

    dataset: str | None = opt(
        "Hub id or local path of the data. Default cnn_dailymail, which is downloaded.",
        min_length=1,
    )
    num_batches: int | None = opt("Batches used. Default 512.", ge=1, le=INT32_MAX)
    batch_size: int | None = opt("Samples per batch. Default 1.", ge=1, le=INT32_MAX)
    max_seq_length: int | None = opt("Longest sample in tokens. Default 512.", ge=1, le=INT32_MAX)


class TensorRTQuantizationConfig(Section):
    """Quantisation of the engine."""

    path_prefix: ClassVar[str] = "tensorrt.quantization."

    method: Literal["none", "fp8", "int8_sq", "int8_weight_only", "int4_awq"] | None = opt(
        "Quantisation algorithm. Default: what the checkpoint says, else none."
    )
    calibration: TensorRTCalibrationConfig | None = opt("Calibration data. Default: upstream's.")


class TensorRTConfig(Section):
    """Settings that only TensorRT-LLM has. Defaults named are those read for its 1.2 line."""

    path_prefix: ClassVar[str] = "tensorrt."

    builder_opt_level: int | None = opt(
        "Optimisation level of the engine builder. No field for it was found in the LLM API.",
        ge=0,
        le=5,
    )
    enable_chunked_context: bool | None = opt(
        "Split long prompts over several steps (enable_chunked_prefill). Default false."
    )
    enable_kv_cache_reuse: bool | None = opt(
        "Reuse cache blocks of equal prompt prefixes (KvCacheConfig.enable_block_reuse). Default true."
    )
    force_rebuild: bool | None = opt("Build the engine anew instead of taking one from the build cache. Default false.")
    gpu_memory_utilization: float | None = opt(
        "Share of the memory left after loading that the cache may take "
        "(KvCacheConfig.free_gpu_memory_fraction). Default 0.9.",
        gt=0.0,
        le=1.0,
    )
    kv_cache_type: Literal["paged", "continuous", "disabled"] | None = opt(
        "Layout of the cache (BuildConfig.kv_cache_type; engine path only). Default paged."
    )
    max_batch_size: int | None = opt("Most requests in one step. Default 2048.", ge=1, le=INT32_MAX)
    multiple_profiles: bool | None = opt(
        "Build several optimisation profiles (PluginConfig; engine path only). Default false."
    )
    strongly_typed: bool | None = opt("Build a strongly typed network (BuildConfig; engine path only). Default true.")
    quantization: TensorRTQuantizationConfig | None = opt("Quantisation of the engine.")
