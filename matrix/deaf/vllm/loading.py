"""What loads and builds a model in vLLM, made deaf: formats, how files are opened, adapters, compilation, processes.

Each function stands for itself in an engine process of its own (see `harness.declare.Deaf`).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any


def _format(name: str) -> None:
    from vllm.model_executor.model_loader.default_loader import DefaultModelLoader

    original = DefaultModelLoader.__init__

    def init(self: Any, load_config: Any) -> None:
        original(self, replace(load_config, load_format=name))

    DefaultModelLoader.__init__ = init


def loads_safetensors() -> None:
    """Weights come from the safetensors files."""
    _format("hf")


def loads_pt() -> None:
    """Weights come from the .pt file."""
    _format("pt")


def loads_consolidated() -> None:
    """Weights come from Mistral's own file."""
    _format("mistral")


def _opens(strategy: str) -> None:
    from vllm.model_executor.model_loader import default_loader

    original = default_loader.safetensors_weights_iterator

    def iterate(files: Any, progress: Any, _asked: Any = None, **kwargs: Any) -> Any:
        return original(files, progress, strategy, **kwargs)

    default_loader.safetensors_weights_iterator = iterate


def opens_lazily() -> None:
    """Weight files are mapped."""
    _opens("lazy")


def opens_eagerly() -> None:
    """Weight files are read whole."""
    _opens("eager")


def silent_adapter() -> None:
    """Products with adapters' weights are left out."""
    from vllm.lora.punica_wrapper.punica_cpu import PunicaWrapperCPU

    def add(*args: Any, **kwargs: Any) -> None:
        pass

    assert callable(PunicaWrapperCPU.add_lora_linear)
    PunicaWrapperCPU.add_lora_linear = add


def compiles_nothing() -> None:
    """The model's layers are called one by one."""
    from vllm.model_executor.models.qwen2 import Qwen2Model

    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        return self.forward(*args, **kwargs)

    assert callable(Qwen2Model.__call__)
    Qwen2Model.__call__ = call


def norm_epsilon() -> None:
    """Norm layers are built with the model's own epsilon."""
    from vllm.model_executor.models import qwen2

    norm: Any = qwen2.RMSNorm
    original = norm.__init__

    def init(self: Any, hidden_size: Any, eps: Any = None, *args: Any, **kwargs: Any) -> None:  # noqa: ARG001
        original(self, hidden_size, 1e-6, *args, **kwargs)

    norm.__init__ = init


def one_process() -> None:
    """The executor works in the engine's own process."""
    from vllm.v1.executor.abstract import Executor
    from vllm.v1.executor.uniproc_executor import UniProcExecutor

    assert callable(Executor.get_class)
    Executor.get_class = staticmethod(lambda _config: UniProcExecutor)
