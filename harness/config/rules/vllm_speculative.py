"""Rules about speculative decoding in vLLM."""

from __future__ import annotations

from harness.config.rules._rule import Rule, Values
from harness.config.rules._vllm import greedy, inert, refused

__all__ = ["RULES"]

_SECTION = "vllm.speculative"
_METHOD, _MODEL, _TOKENS, _MIN, _MAX = (
    f"{_SECTION}.{name}"
    for name in (
        "method",
        "model",
        "num_speculative_tokens",
        "prompt_lookup_min",
        "prompt_lookup_max",
    )
)
_LOOKUP_METHODS = ("ngram", "ngram_gpu")
_MODEL_METHODS = ("draft_model", "eagle", "eagle3", "medusa", "mlp_speculator", "dflash", "custom_class")
_SYNCHRONOUS = ("ngram", "suffix", "medusa", "mlp_speculator", "custom_class")
_LORA, _BATCHED, _SEQS = "vllm.enable_lora", "vllm.max_num_batched_tokens", "vllm.max_num_seqs"
_BIAS, _MIN_P = "vllm.logit_bias", "decoder.min_p"
_NO_MIN_P = 1e-5  # vllm/sampling_params.py, _SAMPLING_EPS: up to here min_p counts as off


def _method(values: Values) -> str | None:
    """Return how tokens are drafted: vLLM takes the model "ngram" for the method."""
    named: str | None = values.get(_METHOD)
    return "ngram" if named is None and values.get(_MODEL) == "ngram" else named


def _speculates(values: Values) -> bool:
    return _METHOD in values or _MODEL in values


def _min_p_acts(values: Values) -> bool:
    return values.get(_MIN_P, 0) > _NO_MIN_P and not greedy(values)


def _inert(path: str) -> Rule:
    return inert(
        f"speculative.vllm_{path.rpartition('.')[2]}_inert",
        path,
        _METHOD,
        violated=lambda values: path in values and _speculates(values) and _method(values) not in _LOOKUP_METHODS,
        combination=f"{path} without {_METHOD}=ngram",
        expected=f"{_METHOD}=ngram",
        reason="Only n-gram drafting looks tokens up in the prompt",
        resolution=f"Set {_METHOD}='ngram', or remove {path}",
        witness={path: 2, _METHOD: "suffix"},
        neighbour={path: 2, _METHOD: "ngram", _TOKENS: 3},
    )


RULES: tuple[Rule, ...] = (
    refused(
        "speculative.vllm_method_without_tokens",
        _METHOD,
        _TOKENS,
        violated=lambda values: _method(values) in (*_LOOKUP_METHODS, "draft_model") and _TOKENS not in values,
        combination=f"{_METHOD} without {_TOKENS}",
        expected=f"{_TOKENS} beside the method",
        reason="These methods have no default number of tokens to draft; vLLM raises ValueError",
        resolution=f"Set {_TOKENS}, or remove {_METHOD}",
        witness={_METHOD: "ngram"},
        neighbour={_METHOD: "ngram", _TOKENS: 3},
    ),
    refused(
        "speculative.vllm_tokens_without_method",
        _TOKENS,
        _MIN,
        _MAX,
        _METHOD,
        _MODEL,
        violated=lambda values: not _speculates(values) and any(path in values for path in (_TOKENS, _MIN, _MAX)),
        combination=f"{_SECTION} without {_METHOD} or {_MODEL}",
        expected="a method or a draft model",
        reason="Nothing says how the tokens are to be drafted; vLLM raises ValueError",
        resolution=f"Set {_METHOD} (for example 'ngram'), or remove the rest of {_SECTION}",
        witness={_TOKENS: 3},
        neighbour={_TOKENS: 3, _METHOD: "ngram"},
    ),
    refused(
        "speculative.vllm_method_without_model",
        _METHOD,
        _MODEL,
        violated=lambda values: values.get(_METHOD) in _MODEL_METHODS and _MODEL not in values,
        combination=f"{_METHOD} of a drafting model without {_MODEL}",
        expected=f"{_MODEL} beside the method",
        reason="The method drafts with a model of its own; vLLM raises ValueError",
        resolution=f"Set {_MODEL}, or use {_METHOD}='ngram'",
        witness={_METHOD: "draft_model", _TOKENS: 3},
        neighbour={_METHOD: "ngram", _TOKENS: 3},
    ),
    refused(
        "speculative.vllm_lookup_order",
        _MIN,
        _MAX,
        violated=lambda values: (
            _method(values) in _LOOKUP_METHODS and _MAX in values and values.get(_MIN, 0) > values[_MAX]
        ),
        combination=f"{_MIN} > {_MAX}",
        expected="the minimum to be at most the maximum",
        reason="No n-gram is both that long and that short; vLLM raises ValueError",
        resolution=f"Lower {_MIN}, or raise {_MAX}",
        witness={_METHOD: "ngram", _TOKENS: 3, _MIN: 3, _MAX: 2},
        neighbour={_METHOD: "ngram", _TOKENS: 3, _MIN: 2, _MAX: 2},
    ),
    _inert(_MIN),
    _inert(_MAX),
    refused(
        "speculative.vllm_logit_bias",
        _BIAS,
        _SECTION,
        violated=lambda values: _speculates(values) and bool(values.get(_BIAS)),
        combination=f"{_BIAS} with {_SECTION}",
        expected=f"{_BIAS} to be omitted",
        reason="The request is rejected: logit_bias is not yet supported with speculative decoding",
        resolution=f"Remove {_BIAS}, or remove {_SECTION}",
        witness={_BIAS: {"5": 1.0}, _METHOD: "ngram", _TOKENS: 3},
        neighbour={_METHOD: "ngram", _TOKENS: 3},
    ),
    refused(
        "speculative.vllm_min_p",
        _MIN_P,
        _SECTION,
        violated=lambda values: _speculates(values) and _min_p_acts(values),
        combination=f"{_MIN_P} with {_SECTION}, when sampling",
        expected=f"{_MIN_P} to be omitted",
        reason="The request is rejected: min_p is not yet supported with speculative decoding",
        resolution=f"Remove {_MIN_P}, or remove {_SECTION}",
        witness={_MIN_P: 0.1, _METHOD: "ngram", _TOKENS: 3},
        neighbour={_METHOD: "ngram", _TOKENS: 3},
    ),
    refused(
        "speculative.vllm_async_scheduling",
        "vllm.async_scheduling",
        _METHOD,
        violated=lambda values: values.get("vllm.async_scheduling") is True and _method(values) in _SYNCHRONOUS,
        combination=f"vllm.async_scheduling=True with {_METHOD}={', '.join(_SYNCHRONOUS)}",
        expected="vllm.async_scheduling to be false or omitted",
        reason="vLLM raises ValueError: it schedules ahead only for methods that draft on the device",
        resolution="Remove vllm.async_scheduling, or draft with a model or ngram_gpu",
        witness={"vllm.async_scheduling": True, _METHOD: "ngram", _TOKENS: 3},
        neighbour={"vllm.async_scheduling": False, _METHOD: "ngram", _TOKENS: 3},
    ),
    refused(
        "speculative.vllm_lora_budget",
        _BATCHED,
        _SEQS,
        _TOKENS,
        _LORA,
        violated=lambda values: (
            values.get(_LORA) is True
            and _speculates(values)
            and all(path in values for path in (_BATCHED, _SEQS, _TOKENS))
            and values[_BATCHED] < values[_SEQS] * (values[_TOKENS] + 1)
        ),
        combination=f"{_BATCHED} < {_SEQS} x ({_TOKENS} + 1) with {_LORA}=True",
        expected="room for every request's token and its drafts in one step",
        reason="vLLM raises ValueError: consider increasing max_num_batched_tokens",
        resolution=f"Raise {_BATCHED}, or lower {_SEQS} or {_TOKENS}",
        witness={_BATCHED: 64, _SEQS: 32, _METHOD: "ngram", _TOKENS: 3, _LORA: True},
        neighbour={_BATCHED: 128, _SEQS: 32, _METHOD: "ngram", _TOKENS: 3, _LORA: True},
    ),
)
