"""Columns of parameters that several backends share."""

from __future__ import annotations

from dataclasses import replace

from harness.declare import Column

CUDA = ("cuda",)
"""A GPU of NVIDIA: TensorRT-LLM runs on nothing else."""


def everywhere(column: Column, tensorrt: Column | None = None) -> dict[str, Column]:
    """The same column for every backend, or one of its own for TensorRT-LLM, which has to have a GPU."""
    return {"pytorch": column, "vllm": column, "tensorrt": replace(tensorrt or column, needs=CUDA)}
