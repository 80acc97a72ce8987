"""Rules about speculative decoding in transformers."""

from __future__ import annotations

from harness.config.rules._rule import Rule

__all__ = ["RULES"]

_LOOKUP = "pytorch.prompt_lookup_num_tokens"
_KIND, _USE = "pytorch.cache_implementation", "pytorch.use_cache"
# "hybrid" is left out: transformers 5.23 turns it into a dynamic cache, which works.
_STATIC = (
    "static",
    "offloaded_static",
    "sliding_window",
    "hybrid_chunked",
    "offloaded_hybrid",
    "offloaded_hybrid_chunked",
)


def _batch(path: str, rule_id: str) -> Rule:
    return Rule(
        id=rule_id,
        backends=("pytorch",),
        parameters=(_LOOKUP, path),
        violated=lambda values: _LOOKUP in values and values.get(path, 1) > 1,
        combination=f"{_LOOKUP} with {path} > 1",
        expected=f"{path}=1",
        reason="generate() raises ValueError: assisted generate is only supported for batch_size = 1",
        resolution=f"Set {path}=1, or remove {_LOOKUP}",
        versions="transformers 5.23",
        witness={_LOOKUP: 2, path: 2},
        neighbour={_LOOKUP: 2, path: 1},
    )


def _beams(path: str, rule_id: str) -> Rule:
    return Rule(
        id=rule_id,
        backends=("pytorch",),
        severity="warning",
        parameters=(_LOOKUP, path),
        violated=lambda values: _LOOKUP in values and values.get(path, 1) > 1,
        combination=f"{_LOOKUP} with {path} > 1",
        expected="one beam",
        reason="generate() keeps searching beams and ignores the prompt lookup",
        resolution=f"Set {path}=1, or remove {_LOOKUP}",
        versions="transformers 5.23",
        witness={_LOOKUP: 2, path: 2},
        neighbour={_LOOKUP: 2, path: 1},
    )


RULES: tuple[Rule, ...] = (
    _batch("batching.batch_size", "speculative.prompt_lookup_batch"),
    _batch("pytorch.batch_size", "speculative.prompt_lookup_native_batch"),
    Rule(
        id="speculative.prompt_lookup_without_cache",
        backends=("pytorch",),
        parameters=(_LOOKUP, _USE),
        violated=lambda values: _LOOKUP in values and values.get(_USE) is False,
        combination=f"{_LOOKUP} with {_USE}=False",
        expected=f"{_USE} to be true or omitted",
        reason="generate() raises ValueError: assisted generate requires `use_cache=True`",
        resolution=f"Set {_USE}=True, or remove {_LOOKUP}",
        versions="transformers 5.23",
        witness={_LOOKUP: 2, _USE: False},
        neighbour={_LOOKUP: 2, _USE: True},
    ),
    Rule(
        id="speculative.prompt_lookup_static_cache",
        backends=("pytorch",),
        parameters=(_LOOKUP, _KIND),
        violated=lambda values: _LOOKUP in values and values.get(_KIND) in _STATIC,
        combination=f"{_LOOKUP} with a static {_KIND}",
        expected="a dynamic cache",
        reason="generate() raises ValueError: assisted generate is not supported with static cache classes",
        resolution=f"Use {_KIND}='dynamic', or remove {_LOOKUP}",
        versions="transformers 5.23",
        witness={_LOOKUP: 2, _KIND: "static"},
        neighbour={_LOOKUP: 2, _KIND: "dynamic"},
    ),
    Rule(
        id="speculative.prompt_lookup_paged_cache",
        backends=("pytorch",),
        severity="warning",
        parameters=(_LOOKUP, _KIND),
        violated=lambda values: _LOOKUP in values and values.get(_KIND) == "paged",
        combination=f"{_LOOKUP} with {_KIND}=paged",
        expected="a dynamic cache",
        reason="A paged cache switches generate() to continuous batching, which drops it",
        resolution=f"Use {_KIND}='dynamic', or remove {_LOOKUP}",
        versions="transformers 5.23",
        witness={_LOOKUP: 2, _KIND: "paged"},
        neighbour={_LOOKUP: 2, _KIND: "dynamic"},
    ),
    _beams("decoder.beam_search.num_beams", "speculative.prompt_lookup_beams"),
    _beams("pytorch.num_beams", "speculative.prompt_lookup_native_beams"),
)
