"""The backend itself: import once, then load."""

from __future__ import annotations

import contextlib
import os
from types import MappingProxyType
from typing import TYPE_CHECKING

from harness.backends.pytorch.arguments import UPSTREAM
from harness.backends.pytorch.engine import PyTorchEngine

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from harness.backends.base import Calls, LoadJob
    from harness.backends.upstream import Interface


class PyTorchBackend:
    """`AutoModelForCausalLM.from_pretrained` and `model.generate`."""

    name = "pytorch"
    distributions = ("torch", "transformers", "accelerate", "bitsandbytes", "tokenizers", "safetensors")
    libraries: Mapping[str, Sequence[str]] = MappingProxyType({"torch": ("torch",), "transformers": ("transformers",)})
    upstream = UPSTREAM

    def interface(self) -> Interface:
        """Signatures, dataclasses and registries of transformers and torch."""
        from harness.backends.pytorch.interface import interface

        return interface(self.libraries)

    def preload(self) -> None:
        """Import what loading and generating will need, without waking the accelerator."""
        # torch.cuda.is_available() then asks NVML: no CUDA context, so forking stays possible
        os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
        # nobody is there to answer a prompt, and progress bars are noise
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
        # fast tokenizers start threads, which a forked engine would not have
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

        import torch
        import torch._dynamo
        import torch.profiler
        import transformers
        import transformers.generation.utils
        import transformers.models.qwen2.modeling_qwen2
        from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig, TextStreamer

        if not torch.cuda.is_available():
            # with CUDA its import asks the device for its capability, which initialises CUDA
            with contextlib.suppress(ImportError):  # only the cells that quantise need it
                import bitsandbytes

                del bitsandbytes
        del AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig, TextStreamer
        transformers.utils.logging.disable_progress_bar()

    def load(self, job: LoadJob, calls: Calls) -> PyTorchEngine:
        """Load in this process and in those that parallelism asks for."""
        # imported late: these modules are cheap, the names they use are not
        from harness.backends.pytorch.parallel import load_group

        replica, group = load_group(job, calls)
        return PyTorchEngine(replica, group)
