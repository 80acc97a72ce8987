"""Features of whole backends, the cells that show them, and what upstream says where none was measured."""

from __future__ import annotations

from harness.declare_limits import Capability, Stated

_TRANSFORMERS = "https://huggingface.co/docs/transformers"
_TENSORRT = "https://nvidia.github.io/TensorRT-LLM"


def _torch(argument: str) -> Stated:
    return Stated(able=True, source=f"{argument} of transformers")


def _vllm(argument: str, note: str = "") -> Stated:
    return Stated(able=True, source=f"{argument} of vLLM", note=note)


def _tensorrt(page: str, note: str = "") -> Stated:
    return Stated(able=True, source=f"{_TENSORRT}/{page}", note=note)


def _precision(name: str, tensorrt: Stated) -> Capability:
    stated = {"pytorch": _torch("from_pretrained(dtype=)"), "vllm": _vllm("LLM(dtype=)"), "tensorrt": tensorrt}
    return Capability(f"{name} precision", (f"fp_precision={name}",), stated)


_PARALLEL = _tensorrt("features/parallel-strategy.html")
_PRECISIONS = _tensorrt("0.18.2/reference/support-matrix.html")

CAPABILITIES = (
    Capability(
        "Tensor Parallel",
        ("parallelism.strategy=tensor_parallel",),
        {
            "pytorch": Stated(able=True, source=f"{_TRANSFORMERS}/v5.3.0/perf_infer_gpu_multi"),
            "vllm": _vllm("LLM(tensor_parallel_size=)"),
            "tensorrt": _PARALLEL,
        },
    ),
    Capability(
        "Pipeline Parallel",
        ("parallelism.strategy=pipeline_parallel",),
        {
            "pytorch": Stated(able=False, source="no argument of transformers' generate()"),
            "vllm": _vllm("LLM(pipeline_parallel_size=)"),
            "tensorrt": _PARALLEL,
        },
    ),
    Capability(
        "Data Parallel",
        ("parallelism.strategy=data_parallel",),
        {
            "pytorch": Stated(
                able=True,
                source="nothing in transformers is needed",
                note="whole copies of the model in processes of the harness, each with a share of the prompts",
            ),
            "vllm": _vllm(
                "AsyncLLM(data_parallel_size=)", "by its asynchronous engine; LLM refuses copies in one process"
            ),
            "tensorrt": _tensorrt(
                "features/parallel-strategy.html",
                "copies of the attention layers (enable_attention_dp); whole copies are servers of their own",
            ),
        },
        own_rows={"tensorrt": ("tensorrt.enable_attention_dp=True",)},
    ),
    Capability(
        "BitsAndBytes (4/8-bit)",
        ("quantization.load_in_4bit=True", "quantization.load_in_8bit=True"),
        {
            "pytorch": _torch("BitsAndBytesConfig"),
            "vllm": Stated(
                able=False,
                source="vllm-project/vllm#43529",
                note="4 bits by AWQ and GPTQ checkpoints, see Native Quantization. bitsandbytes left vLLM in 0.28.0, "
                "on CUDA as on CPU (vllm-project/vllm#43529); the package vllm-bnb-plugin is said to bring it back, "
                "and was not tried here",
            ),
            "tensorrt": Stated(
                able=False,
                source=f"not among the methods of {_TENSORRT}/1.0.0/features/quantization.html",
                note="4 and 8 bits by methods of its own, see Native Quantization",
            ),
        },
    ),
    Capability(
        "Native Quantization",
        (),
        {
            "pytorch": Stated(
                able=False,
                source=f"{_TRANSFORMERS}/quantization/selecting",
                note="transformers quantises by other libraries (bitsandbytes, torchao, GPTQModel, …)",
            ),
            "vllm": _vllm("LLM(quantization=)", "AWQ and GPTQ from checkpoints, FP8 also while loading"),
            "tensorrt": _tensorrt(
                "1.0.0/features/quantization.html",
                "the engine path quantises when it builds (FP8, INT8, INT4); the PyTorch path takes checkpoints that "
                "are quantised already",
            ),
        },
        own_rows={
            "vllm": tuple(f"vllm.quantization_method={method}" for method in ("awq", "gptq", "fp8")),
            "tensorrt": tuple(f"tensorrt.quantization.method={method}" for method in ("fp8", "int8_sq", "int4_awq")),
        },
    ),
    _precision(
        "float32",
        Stated(
            able=False,
            source="rule backends.tensorrt_float32",
            note=f"refused by validation here, though {_TENSORRT}/0.18.2/reference/support-matrix.html lists FP32",
        ),
    ),
    _precision("float16", _PRECISIONS),
    _precision("bfloat16", _PRECISIONS),
    Capability(
        "Streaming (TTFT/ITL)",
        ("streaming=True",),
        {
            "pytorch": _torch("generate(streamer=)"),
            "vllm": _vllm("AsyncLLM.generate()"),
            "tensorrt": _tensorrt("1.2.1/examples/llm_inference_async_streaming.html"),
        },
    ),
    Capability(
        "LoRA Adapters",
        (),
        {
            "pytorch": Stated(
                able=True,
                source=f"{_TRANSFORMERS}/peft",
                note="with the package peft; no field of the config names one",
            ),
            "vllm": _vllm("LLM(enable_lora=)"),
            "tensorrt": _tensorrt("features/lora.html"),
        },
        own_rows={
            "vllm": ("vllm.enable_lora=True", "vllm.lora_request=adapter"),
            "tensorrt": ("tensorrt.lora_request=adapter",),
        },
    ),
    Capability(
        "Speculative Decoding",
        (),
        {
            "pytorch": _torch("generate(prompt_lookup_num_tokens=)"),
            "vllm": _vllm("LLM(speculative_config=)"),
            "tensorrt": _tensorrt("features/speculative-decoding.html"),
        },
        own_rows={
            "pytorch": ("pytorch.prompt_lookup_num_tokens=2", "pytorch.prompt_lookup_num_tokens=5"),
            "vllm": ("vllm.speculative.method=ngram", "vllm.speculative.method=draft_model"),
            "tensorrt": ("tensorrt.speculative.decoding_type=NGram", "tensorrt.speculative.decoding_type=Draft_Target"),
        },
    ),
)
"""The rows of the page's capability matrix, in its order."""
