"""Hugging Face transformers on PyTorch.

Importing this package imports neither: only `preload()` and what it leads to do.
"""

from __future__ import annotations

from harness.backends.pytorch.backend import PyTorchBackend


def create() -> PyTorchBackend:
    """The backend. Cheap: nothing is imported yet."""
    return PyTorchBackend()


__all__ = ["PyTorchBackend", "create"]
