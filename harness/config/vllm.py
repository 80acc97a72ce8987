"""The section of the vLLM backend: ``LLM(...)`` and ``SamplingParams(...)``."""

from __future__ import annotations

from typing import ClassVar

from harness.config._types import INT32_MAX, opt
from harness.config.vllm_engine import VLLMEngineFields
from harness.config.vllm_request import VLLMRequestFields

__all__ = ["VLLMConfig"]


class VLLMConfig(VLLMRequestFields, VLLMEngineFields, defer_build=False):
    """Settings that only the vLLM backend has. Defaults named are those of vLLM 0.32."""

    path_prefix: ClassVar[str] = "vllm."

    # Gone from upstream, and declared so that the matrix shows it
    best_of: int | None = opt(
        "Candidates generated per returned sequence. Removed upstream (vllm-project/vllm#29090, November 2025: "
        "SamplingParams of 0.32 raises TypeError); kept to show so.",
        ge=1,
        le=INT32_MAX,
    )
    swap_space: float | None = opt(
        "GiB of host memory for swapped blocks. Removed upstream in 0.18.0 (vllm-project/vllm#36216); EngineArgs of "
        "0.32 raises TypeError. Kept to show so.",
        ge=0.0,
    )
