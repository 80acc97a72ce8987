"""Rules about speculative decoding."""

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
_METHOD, _MODEL, _TOKENS, _MIN, _MAX = (
    f"vllm.speculative.{name}"
    for name in (
        "method",
        "model",
        "num_speculative_tokens",
        "prompt_lookup_min",
        "prompt_lookup_max",
    )
)
_LOOKUP_METHODS = ("ngram", "ngram_gpu")
_MODEL_METHODS = ("draft_model", "eagle", "eagle3", "medusa", "mlp_speculator")


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
    Rule(
        id="speculative.vllm_method_without_tokens",
        backends=("vllm",),
        parameters=(_METHOD, _TOKENS),
        violated=lambda values: values.get(_METHOD) in (*_LOOKUP_METHODS, "draft_model") and _TOKENS not in values,
        combination=f"{_METHOD} without {_TOKENS}",
        expected=f"{_TOKENS} beside the method",
        reason="These methods have no default number of tokens to draft",
        resolution=f"Set {_TOKENS}, or remove {_METHOD}",
        versions="vLLM 0.32",
        witness={_METHOD: "ngram"},
        neighbour={_METHOD: "ngram", _TOKENS: 3},
    ),
    Rule(
        id="speculative.vllm_tokens_without_method",
        backends=("vllm",),
        parameters=(_TOKENS, _METHOD, _MODEL),
        violated=lambda values: _TOKENS in values and _METHOD not in values and _MODEL not in values,
        combination=f"{_TOKENS} without {_METHOD} or {_MODEL}",
        expected="a method or a draft model",
        reason="Nothing says how the tokens are to be drafted",
        resolution=f"Set {_METHOD} (for example 'ngram'), or remove {_TOKENS}",
        versions="vLLM 0.32",
        witness={_TOKENS: 3},
        neighbour={_TOKENS: 3, _METHOD: "ngram"},
    ),
    Rule(
        id="speculative.vllm_method_without_model",
        backends=("vllm",),
        parameters=(_METHOD, _MODEL),
        violated=lambda values: values.get(_METHOD) in _MODEL_METHODS and _MODEL not in values,
        combination=f"{_METHOD} of a drafting model without {_MODEL}",
        expected=f"{_MODEL} beside the method",
        reason="The method drafts with a model of its own",
        resolution=f"Set {_MODEL}, or use {_METHOD}='ngram'",
        versions="vLLM 0.32",
        witness={_METHOD: "draft_model", _TOKENS: 3},
        neighbour={_METHOD: "draft_model", _TOKENS: 3, _MODEL: "draft"},
    ),
    Rule(
        id="speculative.vllm_lookup_order",
        backends=("vllm",),
        parameters=(_MIN, _MAX),
        violated=lambda values: _MAX in values and values.get(_MIN, 0) > values[_MAX],
        combination=f"{_MIN} > {_MAX}",
        expected="the minimum to be at most the maximum",
        reason="No n-gram is both that long and that short; vLLM raises ValueError",
        resolution=f"Lower {_MIN}, or raise {_MAX}",
        versions="vLLM 0.32",
        witness={_METHOD: "ngram", _TOKENS: 3, _MIN: 3, _MAX: 2},
        neighbour={_METHOD: "ngram", _TOKENS: 3, _MIN: 2, _MAX: 2},
    ),
    *(
        Rule(
            id=f"speculative.vllm_{path.rpartition('.')[2]}_inert",
            backends=("vllm",),
            severity="warning",
            parameters=(path, _METHOD),
            violated=lambda values, path=path: (  # type: ignore[misc]
                path in values and values.get(_METHOD) not in _LOOKUP_METHODS
            ),
            combination=f"{path} without {_METHOD}=ngram",
            expected=f"{_METHOD}=ngram",
            reason="Only n-gram drafting looks tokens up in the prompt",
            resolution=f"Set {_METHOD}='ngram', or remove {path}",
            versions="vLLM 0.32",
            witness={path: 2},
            neighbour={path: 2, _METHOD: "ngram", _TOKENS: 3},
        )
        for path in (_MIN, _MAX)
    ),
)
