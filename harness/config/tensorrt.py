"""The section of the TensorRT-LLM backend: ``tensorrt_llm.LLM(...)``, its engine build and ``SamplingParams(...)``."""

from __future__ import annotations

from typing import ClassVar

from harness.config._types import opt
from harness.config.tensorrt_engine import TensorRTEngineFields
from harness.config.tensorrt_request import TensorRTRequestFields

__all__ = ["TensorRTConfig"]


class TensorRTConfig(TensorRTRequestFields, TensorRTEngineFields, defer_build=False):
    """Settings that only TensorRT-LLM has. Defaults named are those read for its 1.2 line.

    The library has two ways to run a model. "Engine path" marks what the legacy one alone understands: it builds a
    TensorRT engine and was removed upstream after the 1.2 line (NVIDIA/TensorRT-LLM#15918). "PyTorch path" marks what
    the present one alone understands.
    """

    path_prefix: ClassVar[str] = "tensorrt."

    builder_opt_level: int | None = opt(
        "Optimisation level of the engine builder. No class of the LLM API of 1.2 has a field for it; kept to show so.",
        ge=0,
        le=5,
    )
