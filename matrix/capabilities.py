"""Features of whole backends, the cells that show them, and what is said where none was measured."""

from __future__ import annotations

from harness.declare_limits import Capability, Stated

_YES, _NO = Stated(able=True), Stated(able=False)


def _everywhere(name: str, *rows: str) -> Capability:
    return Capability(name, rows, {"pytorch": _YES, "vllm": _YES, "tensorrt": _YES})


CAPABILITIES = (
    _everywhere("Tensor Parallel", "parallelism.strategy=tensor_parallel"),
    Capability(
        "Pipeline Parallel",
        ("parallelism.strategy=pipeline_parallel",),
        {"pytorch": _NO, "vllm": _YES, "tensorrt": _YES},
    ),
    Capability(
        "Data Parallel",
        ("parallelism.strategy=data_parallel",),
        {"pytorch": _YES, "vllm": _NO, "tensorrt": _YES},
    ),
    Capability(
        "BitsAndBytes (4/8-bit)",
        ("quantization.load_in_4bit=True", "quantization.load_in_8bit=True"),
        {
            "pytorch": _YES,
            "vllm": Stated(able=False, note="4 bits through AWQ and GPTQ checkpoints instead"),
            "tensorrt": _NO,
        },
    ),
    Capability(
        "Native Quantization",
        (),
        {
            "pytorch": Stated(able=False, note="no field of the config chooses one"),
            "vllm": Stated(able=True, note="AWQ, GPTQ, FP8"),
            "tensorrt": Stated(able=True, note="FP8, INT8"),
        },
        own_rows={
            "vllm": tuple(f"vllm.quantization_method={method}" for method in ("awq", "gptq", "fp8")),
            "tensorrt": tuple(f"tensorrt.quantization.method={method}" for method in ("fp8", "int8_sq", "int4_awq")),
        },
    ),
    Capability("float32 precision", ("fp_precision=float32",), {"pytorch": _YES, "vllm": _YES, "tensorrt": _NO}),
    _everywhere("float16 precision", "fp_precision=float16"),
    _everywhere("bfloat16 precision", "fp_precision=bfloat16"),
    _everywhere("Streaming (TTFT/ITL)", "streaming=True"),
    Capability(
        "LoRA Adapters",
        (),
        {
            "pytorch": Stated(able=True, note="with PEFT; no field of the config"),
            "vllm": Stated(able=True),
            "tensorrt": Stated(able=True, note="no field of the config"),
        },
        own_rows={"vllm": ("vllm.enable_lora=True", "vllm.lora_request=adapter")},
    ),
    Capability(
        "Speculative Decoding",
        (),
        {"pytorch": _YES, "vllm": _YES, "tensorrt": Stated(able=True, note="no field of the config")},
        own_rows={
            "pytorch": ("pytorch.prompt_lookup_num_tokens=2", "pytorch.prompt_lookup_num_tokens=5"),
            "vllm": ("vllm.speculative.method=ngram", "vllm.speculative.method=draft_model"),
        },
    ),
)
"""The rows of the page's capability matrix, in its order."""
