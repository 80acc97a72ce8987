"""Rules about what belongs to which backend."""

from __future__ import annotations

from harness.config._types import BACKENDS, Backend
from harness.config.rules._rule import Rule, has

__all__ = ["RULES"]

_EXAMPLES = {
    "pytorch": ("pytorch.use_cache", True),
    "vllm": ("vllm.enforce_eager", True),
    "tensorrt": ("tensorrt.max_batch_size", 8),
}


def _section(owner: Backend) -> Rule:
    path, value = _EXAMPLES[owner]
    return Rule(
        id=f"backends.{owner}_section",
        backends=tuple(backend for backend in BACKENDS if backend != owner),
        parameters=("backend", owner),
        violated=lambda values: any(name.startswith(owner + ".") for name in values),
        combination=f"a {owner} section with another backend",
        expected=f"backend='{owner}' beside a {owner} section",
        reason="Another backend would never read these settings",
        resolution=f"Set backend='{owner}', or remove the {owner} section",
        witness={path: value},
        neighbour={"backend": owner, path: value},
    )


def _removed(backend: Backend, name: str, value: float, reason: str, instead: str = "") -> Rule:
    path = f"{backend}.{name}"
    return Rule(
        id=f"backends.{backend}_{name}",
        backends=(backend,),
        severity="warning",
        parameters=(path,),
        violated=has(path),
        combination=path,
        expected=f"{path} to be omitted",
        reason=reason,
        resolution=f"Remove {path}{instead}",
        versions="vLLM 0.32" if backend == "vllm" else "TensorRT-LLM 1.2 (read, not run)",
        witness={path: value},
        neighbour={},
    )


def _half_precision(path: str, rule_id: str, backend: Backend, kinds: tuple[str, ...]) -> Rule:
    return Rule(
        id=rule_id,
        backends=(backend,),
        parameters=(path, "fp_precision"),
        violated=lambda values: values.get(path) in kinds and values.get("fp_precision") == "float32",
        combination=f"{path}={'/'.join(kinds)} with fp_precision=float32",
        expected="fp_precision=float16 or bfloat16",
        reason="These attention kernels only exist for 16-bit types",
        resolution="Use fp_precision='float16' or 'bfloat16', or another attention backend",
        devices="CUDA",
        witness={path: kinds[0], "fp_precision": "float32"},
        neighbour={path: kinds[0], "fp_precision": "bfloat16"},
    )


RULES: tuple[Rule, ...] = (
    *(_section(owner) for owner in BACKENDS),
    Rule(
        id="backends.tensorrt_float32",
        backends=("tensorrt",),
        parameters=("backend", "fp_precision"),
        violated=lambda values: values.get("fp_precision") == "float32",
        combination="fp_precision=float32",
        expected="float16 or bfloat16 on tensorrt",
        reason="TensorRT-LLM is optimised for lower precision inference",
        resolution="Use fp_precision='float16' or 'bfloat16'",
        witness={"fp_precision": "float32"},
        neighbour={"fp_precision": "float16"},
    ),
    _removed(
        "vllm",
        "best_of",
        2,
        "Removed upstream (vllm-project/vllm#29090, November 2025): SamplingParams raises TypeError",
        "; the nearest today is vllm.n with vllm.logprobs",
    ),
    _removed(
        "vllm",
        "swap_space",
        4.0,
        "Removed upstream in vLLM 0.18.0 (vllm-project/vllm#36216): EngineArgs raises TypeError",
        "; the nearest today is vllm.kv_offloading_size",
    ),
    _removed("tensorrt", "builder_opt_level", 3, "Upstream has no such argument (any more)"),
    _half_precision(
        "pytorch.attn_implementation",
        "backends.flash_attention_float32",
        "pytorch",
        ("flash_attention_2", "flash_attention_3", "flash_attention_4"),
    ),
    _half_precision(
        "vllm.attention.backend",
        "backends.vllm_attention_float32",
        "vllm",
        ("FLASH_ATTN", "FLASHINFER"),
    ),
)
