"""Which backend is recommended for what, and which measured figure would decide it."""

from __future__ import annotations

from harness.declare_limits import UseCase

_BATCH = dict.fromkeys(("pytorch", "vllm", "tensorrt"), "batching.batch_size=8")
"""Whose figures are compared: each backend has the cell, with the same prompts."""
_FOUR_BITS = {
    "pytorch": "quantization.load_in_4bit=True",
    "vllm": "vllm.quantization_method=awq",
    "tensorrt": "tensorrt.quantization.method=int4_awq",
}

USE_CASES = (
    UseCase(
        "Memory-constrained",
        "pytorch",
        "bitsandbytes packs weights into 4 or 8 bits while they are loaded",
        rests_on=("BitsAndBytes (4/8-bit)",),
        figure="peak_device_bytes",
        better="lower",
        rows=_FOUR_BITS,
    ),
    UseCase(
        "High throughput",
        "vllm",
        "Continuous batching, PagedAttention, prefix caching",
        figure="tokens_per_s",
        rows=_BATCH,
    ),
    UseCase(
        "Maximum performance",
        "tensorrt",
        "FP8 and kernels of the GPU's vendor",
        rests_on=("Native Quantization",),
    ),
    UseCase(
        "Least energy per token",
        None,
        "Only a measurement can tell",
        figure="j_per_output_token",
        better="lower",
        rows=_BATCH,
    ),
    UseCase(
        "Multi-GPU inference",
        "vllm",
        "Tensor, pipeline and data parallel, from one set of arguments",
        rests_on=("Tensor Parallel", "Pipeline Parallel", "Data Parallel"),
    ),
    UseCase(
        "Development/debugging",
        "pytorch",
        "Plain Python modules in one process, and the API that most people know",
    ),
)
