"""What settings require of the environment, as data: packages, devices, compute capability.

Minimum versions and capabilities are those that the upstream named in ``source`` checks itself.
"""

from collections.abc import Callable
from dataclasses import dataclass

from harness.config._types import Backend
from harness.config.rules import Values

__all__ = ["REQUIREMENTS", "Requirement"]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Requirement:
    """What a setting needs; empty fields need nothing.

    ``applies`` is a predicate over the flat settings; ``packages`` (distribution, minimum version);
    ``accelerator`` whether a CPU will not do; ``capability`` the lowest compute capability of the
    accelerators used, which a CPU meets unless ``accelerator`` is set.
    """

    id: str
    parameter: str
    applies: Callable[[Values], bool]
    what: str
    source: str
    fix: str
    backends: tuple[Backend, ...] = ("pytorch",)
    packages: tuple[tuple[str, str], ...] = ()
    accelerator: bool = False
    capability: tuple[int, int] | None = None


def _one_of(path: str, *accepted: object) -> Callable[[Values], bool]:
    return lambda values: values.get(path) in accepted


def _always(_values: Values) -> bool:
    return True


def _bnb(section: str) -> tuple[Requirement, ...]:
    packages = (("accelerate", "1.1.0"), ("bitsandbytes", "0.46.1"))
    return (
        Requirement(
            id=f"{section}.4bit",
            parameter=f"{section}.load_in_4bit",
            applies=_one_of(f"{section}.load_in_4bit", True),
            what="bitsandbytes 4-bit quantization",
            source="transformers 5.23 (packages); bitsandbytes documentation (capability)",
            fix="use a newer GPU, place the model on the CPU, or do not quantise",
            packages=packages,
            capability=(6, 0),
        ),
        Requirement(
            id=f"{section}.8bit",
            parameter=f"{section}.load_in_8bit",
            applies=_one_of(f"{section}.load_in_8bit", True),
            what="bitsandbytes 8-bit quantization",
            source="transformers 5.23 (packages); bitsandbytes 0.50 cuda_specs (capability)",
            fix="consider load_in_4bit or a GPTQ checkpoint instead, or upgrade the GPU",
            packages=packages,
            capability=(7, 5),
        ),
    )


def _flash(version: int, package: str, capability: tuple[int, int]) -> Requirement:
    name = f"flash_attention_{version}"
    return Requirement(
        id=f"pytorch.{name}",
        parameter="pytorch.attn_implementation",
        applies=_one_of("pytorch.attn_implementation", name),
        what=f"attn_implementation={name}",
        source="transformers 5.23, FLASH_ATTENTION_COMPATIBILITY_MATRIX",
        fix="use attn_implementation='sdpa', or a newer GPU",
        packages=((package, ""),),
        accelerator=True,
        capability=capability,
    )


def _compiler(backend: str, package: str) -> Requirement:
    return Requirement(
        id=f"pytorch.torch_compile_backend.{backend}",
        parameter="pytorch.torch_compile_backend",
        applies=_one_of("pytorch.torch_compile_backend", backend),
        what=f"torch_compile_backend={backend}",
        source="torch 2.13",
        fix="use torch_compile_backend='inductor'",
        packages=((package, ""),),
    )


def _inductor(values: Values) -> bool:
    compiled = values.get("pytorch.torch_compile") is True
    return compiled and values.get("pytorch.torch_compile_backend", "inductor") == "inductor"


REQUIREMENTS: tuple[Requirement, ...] = (
    Requirement(
        id="pytorch",
        parameter="backend",
        applies=_always,
        what="the pytorch backend",
        source="this harness",
        fix="install the backend's pinned requirements",
        packages=(("torch", "2.4"), ("transformers", "5.0")),
    ),
    Requirement(
        id="vllm",
        parameter="backend",
        applies=_always,
        what="the vllm backend",
        source="this harness",
        fix="install the backend's pinned requirements",
        backends=("vllm",),
        packages=(("vllm", ""),),
    ),
    Requirement(
        id="tensorrt",
        parameter="backend",
        applies=_always,
        what="the tensorrt backend",
        source="TensorRT-LLM",
        fix="run on a machine with an NVIDIA GPU and install TensorRT-LLM",
        backends=("tensorrt",),
        packages=(("tensorrt-llm", ""),),
        accelerator=True,
    ),
    *_bnb("quantization"),
    *_bnb("pytorch"),
    _flash(2, "flash-attn", (8, 0)),
    _flash(3, "flash-attn-3", (8, 0)),
    _flash(4, "flash-attn-4", (9, 0)),
    Requirement(
        id="pytorch.device_map",
        parameter="pytorch.device_map",
        applies=lambda values: "pytorch.device_map" in values,
        what="device_map",
        source="transformers 5.23",
        fix="install accelerate, or omit device_map",
        packages=(("accelerate", "1.1.0"),),
    ),
    Requirement(
        id="pytorch.cache_implementation.offloaded",
        parameter="pytorch.cache_implementation",
        applies=_one_of(
            "pytorch.cache_implementation",
            "offloaded",
            "offloaded_static",
            "offloaded_hybrid",
            "offloaded_hybrid_chunked",
        ),
        what="an offloaded cache",
        source="transformers 5.23",
        fix="use cache_implementation='dynamic' or 'static'",
        accelerator=True,
    ),
    Requirement(
        id="pytorch.cache_implementation.quantized",
        parameter="pytorch.cache_implementation",
        applies=_one_of("pytorch.cache_implementation", "quantized"),
        what="cache_implementation=quantized",
        source="transformers 5.23",
        fix="use cache_implementation='dynamic'",
        packages=(("optimum-quanto", "0.2.5"),),
    ),
    Requirement(
        id="pytorch.torch_compile",
        parameter="pytorch.torch_compile",
        applies=_inductor,
        what="torch.compile with inductor",
        source="torch 2.13: GPUTooOldForTriton",
        fix="use torch_compile_backend='eager' or 'cudagraphs', or a newer GPU",
        capability=(7, 0),
    ),
    _compiler("openxla", "torch-xla"),
    _compiler("tvm", "apache-tvm"),
    _compiler("onnxrt", "onnxruntime"),
    Requirement(
        id="vllm.attention.backend",
        parameter="vllm.attention.backend",
        applies=_one_of("vllm.attention.backend", "FLASH_ATTN", "FLASHINFER"),
        what="attention.backend=FLASH_ATTN or FLASHINFER",
        source="vLLM 0.32",
        fix="omit attention.backend",
        backends=("vllm",),
        accelerator=True,
        capability=(8, 0),
    ),
    Requirement(
        id="vllm.distributed_backend",
        parameter="vllm.distributed_backend",
        applies=_one_of("vllm.distributed_backend", "ray"),
        what="distributed_backend=ray",
        source="vLLM 0.32",
        fix="use distributed_backend='mp'",
        backends=("vllm",),
        packages=(("ray", ""),),
    ),
    Requirement(
        id="vllm.prefix_caching_hash_algo",
        parameter="vllm.prefix_caching_hash_algo",
        applies=_one_of("vllm.prefix_caching_hash_algo", "xxhash", "xxhash_cbor"),
        what="prefix_caching_hash_algo=xxhash or xxhash_cbor",
        source="vLLM 0.32",
        fix="use prefix_caching_hash_algo='sha256'",
        backends=("vllm",),
        packages=(("xxhash", ""),),
    ),
    Requirement(
        id="vllm.kv_offloading_size",
        parameter="vllm.kv_offloading_size",
        applies=lambda values: "vllm.kv_offloading_size" in values,
        what="kv_offloading_size",
        source="vLLM 0.32",
        fix="omit kv_offloading_size",
        backends=("vllm",),
        accelerator=True,
    ),
    Requirement(
        id="vllm.kv_offloading_backend.lmcache",
        parameter="vllm.kv_offloading_backend",
        applies=lambda values: (
            values.get("vllm.kv_offloading_backend") == "lmcache" and "vllm.kv_offloading_size" in values
        ),
        what="kv_offloading_backend=lmcache",
        source="vLLM 0.32",
        fix="use kv_offloading_backend='native'",
        backends=("vllm",),
        packages=(("lmcache", ""),),
    ),
    Requirement(
        id="vllm.speculative.suffix",
        parameter="vllm.speculative.method",
        applies=_one_of("vllm.speculative.method", "suffix"),
        what="speculative.method=suffix",
        source="vLLM 0.32",
        fix="use speculative.method='ngram'",
        backends=("vllm",),
        packages=(("arctic-inference", "0.1.1"),),
    ),
    Requirement(
        id="fp_precision.bfloat16",
        parameter="fp_precision",
        applies=_one_of("fp_precision", "bfloat16"),
        what="fp_precision=bfloat16",
        source="vLLM 0.32, TensorRT-LLM 1.2",
        fix="use fp_precision='float16'",
        backends=("vllm", "tensorrt"),
        capability=(8, 0),
    ),
    Requirement(
        id="tensorrt.quantization.fp8",
        parameter="tensorrt.quantization.method",
        applies=_one_of("tensorrt.quantization.method", "fp8", "FP8_PER_CHANNEL_PER_TOKEN", "W4A8_AWQ"),
        what="quantization in FP8",
        source="TensorRT-LLM 1.2 (read, not run)",
        fix="use method='int8_weight_only' or 'int4_awq', or a newer GPU",
        backends=("tensorrt",),
        accelerator=True,
        capability=(8, 9),
    ),
    Requirement(
        id="tensorrt.quantization.int8_sq",
        parameter="tensorrt.quantization.method",
        applies=_one_of("tensorrt.quantization.method", "int8_sq"),
        what="quantization.method=int8_sq",
        source="TensorRT-LLM 1.2 (read, not run)",
        fix="use method='int8_weight_only', or a newer GPU",
        backends=("tensorrt",),
        accelerator=True,
        capability=(8, 0),
    ),
)
