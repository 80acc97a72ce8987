"""TensorRT-LLM: its PyTorch path, and the engine path that its versions up to the 1.2 line still have.

Importing this package does not import tensorrt_llm: only loading does.
"""

from __future__ import annotations

from harness.backends.tensorrt.backend import TensorRTBackend


def create() -> TensorRTBackend:
    """The backend. Cheap: nothing is imported yet."""
    return TensorRTBackend()


__all__ = ["TensorRTBackend", "create"]
