"""How the rules' examples are run: short, and in a way that leaves only the rule to object."""

from __future__ import annotations

from harness.declare import Workload
from harness.jsontypes import JSON, Settings
from matrix import grammar, workloads
from matrix.parameters.pytorch import FEW_PAGES
from matrix.parameters.tensorrt.declaring import SMALL_TENSORRT
from matrix.parameters.vllm.declaring import SMALL_ENGINE

_ONE = Workload("one-story", grammar.OPEN[:1], max_new_tokens=8, seeds=(0, 1))
"""One prompt, as upstream speculates with no more; its next words are open, so that sampling shows."""

_FILL_BATCHES = ("batching.", "pytorch.batch_size", "parallelism.", "pytorch.num_processes")

_SMALL = {"vllm": SMALL_ENGINE, "tensorrt": SMALL_TENSORRT}
_HIDDEN: dict[str, tuple[str, ...]] = {
    # an eager engine compiles nothing, and skips the warm-up that a pipeline on a CPU needs
    "vllm.enforce_eager": (
        "vllm.compilation.",
        "vllm.optimization_level",
        "vllm.pipeline_parallel_size",
        "parallelism.",
    ),
    "vllm.kv_cache_memory_bytes": ("vllm.gpu_memory_utilization",),
    "vllm.max_model_len": ("vllm.max_num_batched_tokens",),
    # the engine path has no such argument
    "tensorrt.cuda_graph.enabled": ("tensorrt.cuda_graph.", "tensorrt.torch_compile.", "tensorrt.backend"),
    "tensorrt.kv_cache.max_tokens": ("tensorrt.gpu_memory_utilization", "tensorrt.kv_cache.max_gpu_total_bytes"),
    "tensorrt.enable_kv_cache_reuse": (
        "tensorrt.kv_cache.enable_partial_reuse",
        "tensorrt.kv_cache.copy_on_partial_reuse",
        "tensorrt.cache_salt",
    ),
}
"""What each setting of a small engine would hide or contradict."""


def examples(backend: str, settings: Settings) -> tuple[Settings, Workload]:
    """Companions of an example, and what it generates."""
    companions: dict[str, JSON] = {
        path: value
        for path, value in _SMALL.get(backend, {}).items()
        if not any(named.startswith(_HIDDEN.get(path, ())) for named in settings)
    }
    if "parallelism.strategy" in settings and "parallelism.degree" not in settings:
        # left out it means all devices; here two processes stand for them, with padded batches for each
        companions["parallelism.degree"] = 2
        if not settings.keys() & {"batching.batch_size", "batching.strategy", "pytorch.batch_size"}:
            companions["batching.batch_size"] = 4
    if settings.get("pytorch.cache_implementation") == "paged":
        companions |= FEW_PAGES
    batched = any(path.startswith(_FILL_BATCHES) for path in settings)
    return companions, workloads.SHUFFLED if batched else _ONE
