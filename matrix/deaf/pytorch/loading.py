"""What loads a model, made deaf: types, quantisers, placement, revisions, remote code, sharding.

Each function stands for itself in an engine process of its own (see `harness.declare.Deaf`).
"""

from __future__ import annotations

from typing import Any


def _loads_as(name: str) -> None:
    """Have weights loaded as one type, while the config states the one that was asked for."""
    import torch
    from transformers import modeling_utils

    original = modeling_utils._get_dtype

    def get_dtype(*args: Any, **kwargs: Any) -> Any:
        config, _ = original(*args, **kwargs)
        return config, getattr(torch, name)

    modeling_utils._get_dtype = get_dtype


def loads_as_float32() -> None:
    """Weights stay in float32."""
    _loads_as("float32")


def loads_as_bfloat16() -> None:
    """Weights stay in bfloat16."""
    _loads_as("bfloat16")


def _computes_with_what_it_was(quantize: str, layer: str) -> None:
    """Have quantised layers keep the weight they were made from, and compute with it."""
    import bitsandbytes
    import torch
    from transformers.integrations import bitsandbytes as integration
    from transformers.quantizers.quantizers_utils import get_module_from_name

    operation, linear = getattr(integration, quantize), getattr(bitsandbytes.nn, layer)
    original = operation.convert

    def convert(self: Any, input_dict: Any, *args: Any, **kwargs: Any) -> Any:
        for name, value in input_dict.items():
            module, _ = get_module_from_name(kwargs["model"], name)
            weight = value[0] if isinstance(value, list) else value
            object.__setattr__(module, "was", weight.clone())
        return original(self, input_dict, *args, **kwargs)

    def forward(self: Any, x: Any) -> Any:
        weight = self.was
        bias = None if self.bias is None else self.bias.to(x.dtype)
        return torch.nn.functional.linear(x, weight.to(x.device, x.dtype), bias)

    operation.convert = convert
    linear.forward = forward


def four_bits() -> None:
    """Layers of four bits compute with the weights as they were."""
    _computes_with_what_it_was("Bnb4bitQuantize", "Linear4bit")


def eight_bits() -> None:
    """Layers of eight bits compute with the weights as they were."""
    _computes_with_what_it_was("Bnb8bitQuantize", "Linear8bitLt")


def _quantizes(**told: Any) -> None:
    """Have weights rounded by other details than those that were asked for."""
    from bitsandbytes import functional

    original = functional.quantize_4bit

    def quantize(*args: Any, **kwargs: Any) -> Any:
        return original(*args, **{**kwargs, **told})

    functional.quantize_4bit = quantize


def rounds_to_fp4() -> None:
    """Weights are rounded to fp4."""
    _quantizes(quant_type="fp4")


def rounds_to_nf4() -> None:
    """Weights are rounded to nf4."""
    _quantizes(quant_type="nf4")


def leaves_constants() -> None:
    """Quantisation constants are left as they are."""
    _quantizes(compress_statistics=False)


def rounds_constants() -> None:
    """Quantisation constants are quantised too."""
    _quantizes(compress_statistics=True)


def _computes_in(name: str) -> None:
    """Have layers of four bits compute in one type, while they state the one that was asked for."""
    import bitsandbytes
    import torch

    linear = bitsandbytes.nn.Linear4bit
    original = linear.forward

    def forward(self: Any, x: Any) -> Any:
        stated = self.compute_dtype
        self.compute_dtype = getattr(torch, name)
        try:
            return original(self, x)
        finally:
            self.compute_dtype = stated

    linear.forward = forward


def computes_in_float32() -> None:
    """Layers of four bits compute in float32."""
    _computes_in("float32")


def computes_in_bfloat16() -> None:
    """Layers of four bits compute in bfloat16."""
    _computes_in("bfloat16")


def placement() -> None:
    """Everything stays in memory, whatever the map or policy says."""
    from transformers import modeling_utils

    modeling_utils._get_device_map  # noqa: B018 - an AttributeError where it has gone

    def everywhere(*args: Any, **kwargs: Any) -> dict[str, str]:
        del args, kwargs
        return {"": "cpu"}

    modeling_utils._get_device_map = everywhere


def memory_limit() -> None:
    """The policy knows no limit but the machine's."""
    from transformers.integrations import accelerate

    for name in ("get_balanced_memory", "get_max_memory"):
        original = getattr(accelerate, name)

        def unlimited(*args: Any, _original: Any = original, **kwargs: Any) -> Any:
            if "max_memory" in kwargs:
                kwargs["max_memory"] = None
            return _original(*args, **kwargs)

        setattr(accelerate, name, unlimited)


def revision() -> None:
    """Files come from the main revision."""
    import functools
    import sys

    from transformers.utils import hub

    for name in ("cached_file", "cached_files", "resolve_revision"):
        original = getattr(hub, name)

        @functools.wraps(original)
        def main(*args: Any, _original: Any = original, **kwargs: Any) -> Any:
            if "revision" in kwargs:
                kwargs["revision"] = "main"
            return _original(*args, **kwargs)

        for module in list(sys.modules.values()):
            if vars(module).get(name) is original and module.__name__.startswith("transformers."):
                setattr(module, name, main)


def remote_code() -> None:
    """Code that comes with a checkpoint is not trusted, whoever says so."""
    from transformers.models.auto import auto_factory, configuration_auto

    for module in (auto_factory, configuration_auto):
        original = module.resolve_trust_remote_code

        def distrust(trust: Any, *args: Any, _original: Any = original, **kwargs: Any) -> Any:
            del trust
            return _original(False, *args, **kwargs)

        module.resolve_trust_remote_code = distrust


def tensor_parallel() -> None:
    """Each rank keeps the whole of every weight."""
    from transformers.distributed import mixin

    mixin.apply_tensor_parallelism  # noqa: B018 - an AttributeError where it has gone

    def whole(model: Any, *args: Any, **kwargs: Any) -> Any:
        del args, kwargs
        return model

    mixin.apply_tensor_parallelism = whole
