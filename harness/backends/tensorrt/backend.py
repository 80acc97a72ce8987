"""The backend itself: nothing is imported before an engine loads."""

from __future__ import annotations

import importlib.util
import os
from types import MappingProxyType
from typing import TYPE_CHECKING

from harness.backends.tensorrt.arguments import UPSTREAM

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from harness.backends.base import Calls, LoadJob
    from harness.backends.tensorrt.engine import TensorRTEngine
    from harness.backends.upstream import Interface

ENVIRONMENT = {
    # with one GPU the executor in this process, which is one that can be killed and asked
    "TLLM_WORKER_USE_SINGLE_PROCESS": "1",
    # nobody is there to answer a prompt, and progress bars are noise
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TOKENIZERS_PARALLELISM": "false",
}
"""Set unless the user has set it: this is about running in a harness, none of it is under test."""


class TensorRTBackend:
    """`tensorrt_llm.LLM`, and `tensorrt_llm._tensorrt_engine.LLM` where a TensorRT engine is asked for."""

    name = "tensorrt"
    distributions = (
        "tensorrt_llm",
        "torch",
        "tensorrt",
        "transformers",
        "nvidia-modelopt",
        "flashinfer-python",
        "xgrammar",
        "llguidance",
        "mpi4py",
    )
    libraries: Mapping[str, Sequence[str]] = MappingProxyType({"tensorrt_llm": ("tensorrt_llm",)})
    upstream = UPSTREAM

    def interface(self) -> Interface:
        """Pydantic models, dataclasses and signatures of TensorRT-LLM."""
        from harness.backends.tensorrt.interface import interface

        return interface(self.libraries)

    def preload(self) -> None:
        """See that the library is there. It is imported by each engine: its import initialises MPI, which no fork may.

        Raises:
            ModuleNotFoundError: it is not.
        """
        for name, value in ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        if importlib.util.find_spec("tensorrt_llm") is None:
            raise ModuleNotFoundError("No module named 'tensorrt_llm'", name="tensorrt_llm")

    def load(self, job: LoadJob, calls: Calls) -> TensorRTEngine:
        """Load in this process, and in those that upstream starts for more than one GPU."""
        from harness.backends.tensorrt.engine import TensorRTEngine

        return TensorRTEngine.load(job, calls)
