"""Limitations known before anything is measured: what a machine, a model or a package may lack."""

from __future__ import annotations

from harness.declare_limits import Limitation

LIMITATIONS = (
    *(
        Limitation(
            "pytorch",
            (f"pytorch.attn_implementation=flash_attention_{version}",),
            f"needs the {package} package and a GPU of compute capability {capability} or newer",
            f"Install {package} on such a machine, or use attn_implementation='sdpa'",
        )
        for version, package, capability in (
            (2, "flash-attn", "8.0"),
            (3, "flash-attn-3", "8.0"),
            (4, "flash-attn-4", "9.0"),
        )
    ),
    Limitation(
        "pytorch",
        ("pytorch.cache_implementation=offloaded", "pytorch.cache_implementation=offloaded_static"),
        "The cache is moved to the host from an accelerator, so there has to be one",
        "Run on a machine with a GPU, or use cache_implementation='dynamic'",
    ),
    Limitation(
        "pytorch",
        ("pytorch.cache_implementation=quantized",),
        "needs the optimum-quanto package",
        "Install optimum-quanto, or use cache_implementation='dynamic'",
    ),
    Limitation(
        "vllm",
        ("vllm.kv_cache_dtype=fp8",),
        "FLASH_ATTN keeps an FP8 cache only where FlashAttention 3 or 4 runs: on a Hopper GPU (H100) or newer; "
        "other attention backends have limits of their own",
        "Use kv_cache_dtype='auto' for automatic selection",
    ),
    Limitation(
        "vllm",
        ("vllm.attention.backend=FLASHINFER",),
        "FlashInfer needs a GPU, and compiles kernels on first use (ninja, a CUDA compiler)",
        "Use attention.backend='auto', or 'FLASH_ATTN' on a GPU",
    ),
    Limitation(
        "vllm",
        ("vllm.attention.backend=TORCH_SDPA",),
        "TORCH_SDPA is not registered in vLLM's attention backends; on a CPU, vLLM takes its own whatever is named",
        "Use attention.backend='auto', or 'FLASH_ATTN' on a GPU",
    ),
    Limitation(
        "vllm",
        ("vllm.best_of=1", "vllm.best_of=2"),
        "SamplingParams has no such argument any more (vllm-project/vllm#29090)",
        "Remove vllm.best_of; the nearest today is vllm.n with vllm.logprobs",
    ),
    Limitation(
        "vllm",
        ("vllm.swap_space=0.0", "vllm.swap_space=4.0"),
        "EngineArgs has no such argument any more (vllm-project/vllm#36216)",
        "Remove vllm.swap_space; the nearest today is vllm.kv_offloading_size",
    ),
    Limitation(
        "vllm",
        ("vllm.quantization_method=awq", "vllm.quantization_method=gptq"),
        "Requires a pre-quantized model checkpoint",
        "Use a quantized model (e.g., TheBloke/*-AWQ) or omit",
        given="the cells were given one",
    ),
    Limitation(
        "vllm",
        ("vllm.load_format=pt",),
        "Model checkpoint must have .bin or .pt files (not just safetensors)",
        "Use load_format='auto' or 'safetensors'",
        given="the cell was given one with both",
    ),
    Limitation(
        "tensorrt",
        ("tensorrt.quantization.method=int8_sq",),
        "INT8 SmoothQuant is calibrated on a data set when the engine is built; the default one is downloaded",
        "Provide tensorrt.quantization.calibration.dataset (a local path), or use fp8",
    ),
)
