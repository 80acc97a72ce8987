"""Sub-sections of the TensorRT-LLM section that only its engine path has: quantisation, calibration and build."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from harness.config._section import Section
from harness.config._types import INT32_MAX, NonEmpty, opt

__all__ = ["TensorRTBuildConfig", "TensorRTCalibrationConfig", "TensorRTQuantizationConfig"]


class TensorRTCalibrationConfig(Section):
    """Data that post-training quantisation is calibrated on: TensorRT-LLM's ``CalibConfig``. Engine path."""

    path_prefix: ClassVar[str] = "tensorrt.quantization.calibration."

    dataset: str | None = opt(
        "Hub id or local path of the data: calib_dataset. Default cnn_dailymail, which is downloaded.",
        min_length=1,
    )
    num_batches: int | None = opt("Batches used: calib_batches. Default 512.", ge=1, le=INT32_MAX)
    batch_size: int | None = opt("Samples per batch: calib_batch_size. Default 1.", ge=1, le=INT32_MAX)
    max_seq_length: int | None = opt("Longest sample in tokens: calib_max_seq_length. Default 512.", ge=1, le=INT32_MAX)
    device: Literal["cuda", "cpu"] | None = opt("Where calibration runs. Default cuda.")


class TensorRTQuantizationConfig(Section):
    """Quantisation of the engine: TensorRT-LLM's ``QuantConfig``. Engine path; the other one asks the checkpoint."""

    path_prefix: ClassVar[str] = "tensorrt.quantization."

    method: (
        Literal[
            "none",
            "fp8",
            "int8_sq",
            "int8_weight_only",
            "int4_weight_only",
            "int4_awq",
            "W4A8_AWQ",
            "FP8_PER_CHANNEL_PER_TOKEN",
        ]
        | None
    ) = opt(
        "Quantisation algorithm, quant_algo: none (None), fp8 (FP8), int8_sq (W8A8_SQ_PER_CHANNEL), "
        "int8_weight_only (W8A16), int4_weight_only (W4A16), int4_awq (W4A16_AWQ), or one by upstream's own name. "
        "Default: what the checkpoint says, else none."
    )
    kv_cache_quant_algo: Literal["FP8", "INT8"] | None = opt(
        "Quantisation of the cache. Default: what the checkpoint says, else none."
    )
    group_size: int | None = opt("Weights that share a scale, for the AWQ methods. Default 128.", ge=1, le=INT32_MAX)
    smoothquant_val: float | None = opt(
        "How much of the activations' range moves into the weights, for the SQ methods. Default 0.5.", ge=0.0, le=1.0
    )
    exclude_modules: Annotated[list[NonEmpty], Field(min_length=1)] | None = opt(
        "Modules left as they are, by name with wildcards. Default: lm_head and the like, by method."
    )
    calibration: TensorRTCalibrationConfig | None = opt("Calibration data. Default: upstream's.")


class TensorRTBuildConfig(Section):
    """What the engine is built for: TensorRT-LLM's ``BuildConfig`` and its ``PluginConfig``. Engine path."""

    path_prefix: ClassVar[str] = "tensorrt.build."

    opt_batch_size: int | None = opt("Batch size that kernels are tuned for. Default 8.", ge=1, le=INT32_MAX)
    opt_num_tokens: int | None = opt(
        "Tokens of a step that kernels are tuned for. Default: batch size times beams.", ge=1, le=INT32_MAX
    )
    force_num_profiles: int | None = opt("Number of optimisation profiles. Default: upstream's.", ge=1, le=INT32_MAX)
    profiling_verbosity: Literal["layer_names_only", "detailed", "none"] | None = opt(
        "What the engine says of its layers. Default layer_names_only."
    )
    use_refit: bool | None = opt("Let the weights be replaced later. Default false.")
    weight_streaming: bool | None = opt("Keep weights in host memory and stream them. Default false.")
    use_paged_context_fmha: bool | None = opt(
        "Read paged caches in the kernel of the prompt's attention, which block reuse and chunks need. Default true."
    )
