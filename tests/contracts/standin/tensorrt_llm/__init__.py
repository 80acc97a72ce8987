"""A stand-in for TensorRT-LLM, made of its interface: takes what it takes, and runs nothing.

It says so by its version. The harness measures no library of such a version.
"""

from __future__ import annotations

from importlib.metadata import version

from tensorrt_llm._llm import LLM, SamplingParams

__version__ = version("tensorrt_llm")
__all__ = ["LLM", "SamplingParams"]
