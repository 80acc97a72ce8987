"""Rules about the key-value cache."""

from __future__ import annotations

from harness.config.rules._rule import Rule

__all__ = ["RULES"]

_KIND, _USE = "pytorch.cache_implementation", "pytorch.use_cache"
_FIXED_SHAPE = ("static", "offloaded_static")
_DEPRECATED = (
    "sliding_window",
    "hybrid",
    "hybrid_chunked",
    "offloaded_hybrid",
    "offloaded_hybrid_chunked",
)


def _static_batch(path: str, rule_id: str) -> Rule:
    return Rule(
        id=rule_id,
        backends=("pytorch",),
        severity="warning",
        parameters=(_KIND, path),
        violated=lambda values: values.get(_KIND) in _FIXED_SHAPE and values.get(path, 1) > 1,
        combination=f"{_KIND}=static with {path} > 1",
        expected=f"{path}=1, or prompts of one length",
        reason="A static cache has a fixed shape: all rows are padded to the same length, "
        "and each new shape is set up again",
        resolution=f"Pad prompts to one length, set {path}=1, or use {_KIND}='dynamic'",
        witness={_KIND: "static", path: 2},
        neighbour={_KIND: "static", path: 1},
    )


def _paged_drops(path: str, rule_id: str, value: float, neutral: float) -> Rule:
    return Rule(
        id=rule_id,
        backends=("pytorch",),
        severity="warning",
        parameters=(_KIND, path),
        violated=lambda values: values.get(_KIND) == "paged" and path in values and values[path] != neutral,
        combination=f"{_KIND}=paged with {path}",
        expected=f"{path} to be omitted",
        reason="A paged cache switches generate() to continuous batching, which drops it",
        resolution=f"Use {_KIND}='dynamic', or remove {path}",
        versions="transformers 5.23",
        witness={_KIND: "paged", path: value},
        neighbour={_KIND: "dynamic", path: value},
    )


RULES: tuple[Rule, ...] = (
    Rule(
        id="cache.implementation_without_cache",
        backends=("pytorch",),
        parameters=(_KIND, _USE),
        violated=lambda values: _KIND in values and values.get(_USE) is False,
        combination=f"{_KIND} with {_USE}=False",
        expected=f"{_USE} to be true or omitted",
        reason="There is no cache whose kind could be chosen; GenerationConfig.validate(strict=True) refuses it",
        resolution=f"Remove {_KIND}, or set {_USE}=True",
        witness={_KIND: "static", _USE: False},
        neighbour={_KIND: "static", _USE: True},
    ),
    _static_batch("batching.batch_size", "cache.static_batch"),
    _static_batch("pytorch.batch_size", "cache.static_native_batch"),
    Rule(
        id="cache.deprecated_implementation",
        backends=("pytorch",),
        severity="warning",
        parameters=(_KIND,),
        violated=lambda values: values.get(_KIND) in _DEPRECATED,
        combination=f"{_KIND} of a deprecated name",
        expected="dynamic, static, offloaded, offloaded_static, quantized or paged",
        reason="transformers only keeps the name for old code: hybrid silently gives a dynamic "
        "cache, the others a static one",
        resolution=f"Use {_KIND}='static' or 'offloaded_static'",
        versions="transformers 5.23",
        witness={_KIND: "sliding_window"},
        neighbour={_KIND: "static"},
    ),
    Rule(
        id="cache.paged_streaming",
        backends=("pytorch",),
        parameters=(_KIND, "streaming"),
        violated=lambda values: values.get(_KIND) == "paged" and values.get("streaming") is True,
        combination=f"{_KIND}=paged with streaming=True",
        expected="streaming to be omitted or false",
        reason="A paged cache switches generate() to continuous batching, "
        "which raises NotImplementedError for a streamer",
        resolution=f"Use {_KIND}='dynamic', or set streaming=False",
        versions="transformers 5.23",
        witness={_KIND: "paged", "streaming": True},
        neighbour={_KIND: "dynamic", "streaming": True},
    ),
    *(
        _paged_drops(path, rule_id, value, neutral)
        for path, rule_id, value, neutral in (
            ("decoder.beam_search.num_beams", "cache.paged_beams", 2, 1),
            ("pytorch.num_beams", "cache.paged_native_beams", 2, 1),
            ("decoder.repetition_penalty", "cache.paged_repetition_penalty", 1.2, 1.0),
        )
    ),
)
