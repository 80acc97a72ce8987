"""What runs a model, made deaf: attention kernels, caches, compilation.

Each function stands for itself in an engine process of its own (see `harness.declare.Deaf`).
"""

from __future__ import annotations

from typing import Any


def eager_attention() -> None:
    """Eager attention calls the fused kernel."""
    from transformers.integrations.sdpa_attention import sdpa_attention_forward
    from transformers.models.qwen2 import modeling_qwen2

    def eager_attention_forward(*args: Any, **kwargs: Any) -> Any:
        return sdpa_attention_forward(*args, **kwargs)

    eager_attention_forward.__module__ = modeling_qwen2.eager_attention_forward.__module__
    modeling_qwen2.eager_attention_forward = eager_attention_forward


def fused_attention() -> None:
    """Scaled dot product attention is computed in steps, with a softmax of its own."""
    import math

    import torch

    functional = torch.nn.functional

    def attention(  # noqa: PLR0917 - torch's signature
        query: Any,
        key: Any,
        value: Any,
        attn_mask: Any = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> Any:
        del dropout_p
        if enable_gqa:
            times = query.shape[-3] // key.shape[-3]
            key, value = key.repeat_interleave(times, -3), value.repeat_interleave(times, -3)
        weights = query @ key.transpose(-2, -1) * (1 / math.sqrt(query.shape[-1]) if scale is None else scale)
        if is_causal:
            seen = torch.ones(weights.shape[-2:], dtype=torch.bool, device=query.device).tril()
            weights = weights.masked_fill(~seen, -math.inf)
        if attn_mask is not None:
            hidden = attn_mask.dtype == torch.bool
            weights = weights.masked_fill(~attn_mask, -math.inf) if hidden else weights + attn_mask
        return torch.softmax(weights, dim=-1) @ value

    functional.scaled_dot_product_attention  # noqa: B018 - an AttributeError where it has gone
    functional.scaled_dot_product_attention = attention


def flex_attention() -> None:
    """Flex attention calls the fused kernel."""
    import torch
    from transformers.integrations import flex_attention as module

    module.compile_friendly_flex_attention  # noqa: B018 - an AttributeError where it has gone

    def attend(query: Any, key: Any, value: Any, training: bool = False, **kwargs: Any) -> Any:
        del training
        out = torch.nn.functional.scaled_dot_product_attention(
            query,
            key,
            value,
            is_causal=query.shape[-2] > 1,
            scale=kwargs.get("scale"),
            enable_gqa=bool(kwargs.get("enable_gqa")),
        )
        if kwargs.get("return_lse"):
            return out, out[..., 0]
        aux = kwargs.get("return_aux")
        return (out, type("Aux", (), {"lse": out[..., 0], "max_scores": None})()) if aux is not None else out

    module.compile_friendly_flex_attention = attend


def _uses_cache(used: bool) -> None:
    from transformers.generation.utils import GenerationMixin

    original = GenerationMixin._sample

    def sample(self: Any, *args: Any, **kwargs: Any) -> Any:
        kwargs["use_cache"] = used
        if not used:
            kwargs.pop("past_key_values", None)
        return original(self, *args, **kwargs)

    GenerationMixin._sample = sample


def cache_is_used() -> None:
    """Generation fills a cache, whatever it was asked."""
    _uses_cache(True)


def cache_is_not_used() -> None:
    """Generation fills no cache, whatever it was asked."""
    _uses_cache(False)


def static_cache() -> None:
    """Layers of a static cache grow as those of a dynamic one."""
    from transformers.cache_utils import DynamicLayer, StaticLayer

    for name in ("lazy_initialization", "update", "get_mask_sizes", "get_seq_length"):
        setattr(StaticLayer, name, getattr(DynamicLayer, name))


def static_sliding_cache() -> None:
    """Sliding layers of a static cache take memory of their own for each step, as those of a dynamic one."""
    from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer, StaticSlidingWindowLayer

    original = StaticSlidingWindowLayer.__init__

    def init(self: Any, max_cache_len: int, sliding_window: int, **kwargs: Any) -> None:
        original(self, max_cache_len, sliding_window, **kwargs)
        for name, value in vars(DynamicSlidingWindowLayer(sliding_window)).items():
            vars(self).setdefault(name, value)
        # of its own kind the length is a tensor, which stays at zero here
        self.cumulative_length = 0

    StaticSlidingWindowLayer.__init__ = init
    StaticSlidingWindowLayer.lazy_initialization = DynamicLayer.lazy_initialization
    for name in ("update", "get_mask_sizes", "get_seq_length"):
        setattr(StaticSlidingWindowLayer, name, getattr(DynamicSlidingWindowLayer, name))


def paged_cache() -> None:
    """A paged cache is asked for, and generation goes on without one."""
    from transformers.generation.utils import GenerationMixin

    original = GenerationMixin.generate

    def generate(self: Any, *args: Any, **kwargs: Any) -> Any:
        if kwargs.get("cache_implementation") == "paged":
            kwargs.pop("cache_implementation")
            kwargs.pop("continuous_batching_config", None)
        return original(self, *args, **kwargs)

    GenerationMixin.generate = generate


def _compiles(change: Any) -> None:
    import torch

    original = torch.compile

    def compiled(model: Any = None, **kwargs: Any) -> Any:
        return original(model, **change(kwargs))

    torch.compile = compiled


def compiles_nothing() -> None:
    """What should be compiled is handed back as it is."""
    import torch

    torch.compile  # noqa: B018 - an AttributeError where it has gone

    def compiled(model: Any = None, **kwargs: Any) -> Any:
        del kwargs
        return model if model is not None else lambda function: function

    torch.compile = compiled


def compiles_with_inductor() -> None:
    """Another compiler than the default is not heard of."""
    _compiles(lambda kwargs: {**kwargs, "backend": "inductor"})


def compiles_with_eager() -> None:
    """The default compiler is replaced by one that compiles nothing."""
    _compiles(lambda kwargs: {**kwargs, "backend": "eager"})


def compiles_without_a_mode() -> None:
    """A mode is not heard of."""
    _compiles(lambda kwargs: {name: value for name, value in kwargs.items() if name != "mode"})
