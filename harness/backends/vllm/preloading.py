"""What a forked engine would import for itself otherwise, each time."""

from __future__ import annotations

import contextlib
from importlib import import_module

COMMON = (
    "vllm.entrypoints.llm",
    "vllm.model_executor.models.qwen2",
    "vllm.v1.worker.gpu_model_runner",
    "vllm.v1.worker.worker_base",
    "vllm.v1.core.sched.scheduler",
    "vllm.compilation.counter",
    "vllm.model_executor.layers.quantization.compressed_tensors.compressed_tensors",
    "vllm.model_executor.layers.quantization.online.base",
    "vllm.model_executor.model_loader.default_loader",
    "harness.backends.vllm.engine",
    "harness.backends.vllm.witness",
)
CPU = ("vllm.v1.worker.cpu_worker", "vllm.v1.worker.cpu_model_runner", "vllm.v1.attention.backends.cpu_attn")


def models_and_workers() -> None:
    """Import them. One that a version lacks is left to whoever needs it."""
    import torch

    for name in (*COMMON, *(() if torch.cuda.is_available() else CPU)):
        with contextlib.suppress(ImportError):
            import_module(name)
