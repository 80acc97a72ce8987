"""Rules about requests to TensorRT-LLM: ``SamplingParams``, and what it takes to serve them."""

from __future__ import annotations

from typing import Any

from harness.config.rules._rule import Rule, Values, disagree
from harness.config.rules._tensorrt import greedy, inert, refused
from harness.config.rules.beams import beams_searched

__all__ = ["RULES"]

_N, _BEST, _BEAMS = "tensorrt.n", "tensorrt.best_of", "decoder.beam_search.num_beams"
_SAMPLE, _TOP_K, _MAX = "decoder.do_sample", "decoder.top_k", "max_output_tokens"
_MIN, _SHARED_MIN = "tensorrt.min_tokens", "decoder.min_new_tokens"
_END, _SKIP, _STOP = "tensorrt.end_id", "tensorrt.skip_tokenizer_init", "tensorrt.stop"
_GUIDE, _GUIDED = "tensorrt.guided_decoding_backend", "tensorrt.guided_decoding"
_KINDS = tuple(f"{_GUIDED}.{name}" for name in ("regex", "json", "grammar", "json_object"))
_DECAY = "tensorrt.top_p_decay"
_DETOKENIZE, _SPECIAL = "tensorrt.detokenize", "tensorrt.skip_special_tokens"
_INTERVAL, _DIVERSITY = "tensorrt.stream_interval", "tensorrt.beam_search_diversity_rate"


def _generated(values: Values) -> int:
    """Return how many sequences a prompt gets generated: best_of, which follows n."""
    wanted: int = values.get(_BEST, values.get(_N, 1))
    return wanted


def _kinds(values: Values) -> int:
    return sum(bool(values.get(path)) for path in _KINDS)


def _unset_words(path: str, rule_id: str) -> Rule:
    return refused(
        rule_id,
        _END,
        path,
        violated=lambda values: _END in values and bool(values.get(path)),
        combination=f"{path} with {_END}",
        expected="one of the two",
        reason="With an end_id of its own a request is not prepared by the tokenizer, and upstream raises "
        "RuntimeError: not processed by tokenizer",
        resolution=f"Remove {_END}, or give the tokens of {path} as ids",
        witness={_END: 0, path: ["."]},
        neighbour={path: ["."]},
    )


def _without_decay(name: str, value: Any) -> Rule:
    path = f"tensorrt.{name}"
    return inert(
        f"decoding.tensorrt_{name}_inert",
        path,
        _DECAY,
        violated=lambda values: path in values and values.get(_DECAY, 1.0) == 1.0,
        combination=f"{path} without {_DECAY} below 1",
        expected=f"{_DECAY} below 1",
        reason="top_p stays as it is",
        resolution=f"Set {_DECAY}, or remove {path}",
        witness={path: value},
        neighbour={path: value, _DECAY: 0.5},
    )


RULES: tuple[Rule, ...] = (
    refused(
        "decoding.tensorrt_n_above_best_of",
        _N,
        _BEST,
        violated=lambda values: _BEST in values and values.get(_N, 1) > values[_BEST],
        combination=f"{_N} > {_BEST}",
        expected=f"{_BEST} to be at least {_N}",
        reason="SamplingParams raises: best_of cannot be less than n",
        resolution=f"Raise {_BEST}, or lower {_N}",
        witness={_N: 3, _BEST: 2, _SAMPLE: True},
        neighbour={_N: 2, _BEST: 2, _SAMPLE: True},
    ),
    refused(
        "decoding.tensorrt_n_greedy",
        _N,
        _BEST,
        _SAMPLE,
        violated=lambda values: _generated(values) > 1 and greedy(values) and beams_searched(values) < 2,
        combination=f"{_N} or {_BEST} above 1 when decoding greedily",
        expected=f"{_SAMPLE}=True, or beams",
        reason="SamplingParams raises: greedy decoding in the LLM API does not allow multiple returns",
        resolution=f"Set {_SAMPLE}=True, or remove {_N} and {_BEST}",
        witness={_N: 2},
        neighbour={_N: 2, _SAMPLE: True},
    ),
    refused(
        "decoding.tensorrt_greedy_with_top_k",
        _SAMPLE,
        _TOP_K,
        violated=lambda values: values.get(_SAMPLE) is False and values.get(_TOP_K, 1) != 1,
        combination=f"{_SAMPLE}=False with {_TOP_K} other than 1",
        expected="greedy decoding or a number of ids to draw from, not both",
        reason="TensorRT-LLM has one argument for both: greedy is top_k=1",
        resolution=f"Remove {_SAMPLE}, or remove {_TOP_K}",
        witness={_SAMPLE: False, _TOP_K: 10},
        neighbour={_TOP_K: 10},
    ),
    refused(
        "beams.tensorrt_sampling",
        _BEAMS,
        _SAMPLE,
        violated=lambda values: values.get(_BEAMS, 1) > 1 and values.get(_SAMPLE) is True,
        combination=f"{_BEAMS} > 1 with {_SAMPLE}=True",
        expected=f"{_SAMPLE}=False, or none",
        reason="TensorRT-LLM's beam search ranks beams and draws nothing",
        resolution=f"Remove {_SAMPLE}, or search no beams",
        witness={_BEAMS: 2, _SAMPLE: True},
        neighbour={_BEAMS: 2},
    ),
    refused(
        "beams.tensorrt_best_of",
        _BEAMS,
        _BEST,
        violated=lambda values: values.get(_BEAMS, 1) > 1 and values.get(_BEST, values[_BEAMS]) != values[_BEAMS],
        combination=f"{_BEAMS} differs from {_BEST}",
        expected="equal values, or only one of the two",
        reason="Both set best_of of SamplingParams, which LLM(max_beam_width=) must equal",
        resolution=f"Remove {_BEST}, or set both to the same value",
        witness={_BEAMS: 2, _BEST: 4},
        neighbour={_BEAMS: 2, _BEST: 2},
    ),
    refused(
        "beams.tensorrt_n",
        _BEAMS,
        _N,
        violated=lambda values: values.get(_BEAMS, 1) > 1 and values.get(_N, 1) > values[_BEAMS],
        combination=f"{_N} > {_BEAMS}",
        expected=f"at most {_BEAMS}",
        reason="SamplingParams raises: best_of, the number of beams, cannot be less than n",
        resolution=f"Raise {_BEAMS}, or lower {_N}",
        witness={_BEAMS: 2, _N: 3},
        neighbour={_BEAMS: 2, _N: 2},
    ),
    inert(
        "beams.tensorrt_diversity_inert",
        _DIVERSITY,
        _BEAMS,
        violated=lambda values: _DIVERSITY in values and beams_searched(values) < 2,
        combination=f"{_DIVERSITY} with one beam",
        expected=f"{_BEAMS} of at least 2",
        reason="It acts between beams",
        resolution=f"Set {_BEAMS} to 2 or more, or remove {_DIVERSITY}",
        witness={_DIVERSITY: 0.5},
        neighbour={_DIVERSITY: 0.5, _BEAMS: 2},
    ),
    refused(
        "decoding.tensorrt_min_tokens_disagrees",
        _SHARED_MIN,
        _MIN,
        violated=disagree(_SHARED_MIN, _MIN),
        combination=f"{_SHARED_MIN} differs from {_MIN}",
        expected="equal values, or only one of the two",
        reason="Both set min_tokens of SamplingParams",
        resolution="Set only one of the two, or set both to the same value",
        witness={_SHARED_MIN: 1, _MIN: 2},
        neighbour={_SHARED_MIN: 1, _MIN: 1},
    ),
    refused(
        "decoding.tensorrt_min_exceeds_max",
        _MIN,
        _MAX,
        violated=lambda values: _MAX in values and values.get(_MIN, 0) > values[_MAX],
        combination=f"{_MIN} > {_MAX}",
        expected=f"{_MIN} to be at most {_MAX}",
        reason="The two cannot both be met",
        resolution=f"Lower {_MIN}, or raise {_MAX}",
        witness={_MIN: 2, _MAX: 1},
        neighbour={_MIN: 1, _MAX: 1},
    ),
    _without_decay("top_p_min", 0.1),
    _without_decay("top_p_reset_ids", 5),
    _unset_words(_STOP, "output.tensorrt_end_id_with_stop"),
    _unset_words("tensorrt.bad", "output.tensorrt_end_id_with_bad"),
    refused(
        "output.tensorrt_no_tokenizer_no_end",
        _SKIP,
        _END,
        violated=lambda values: values.get(_SKIP) is True and _END not in values,
        combination=f"{_SKIP}=True without {_END}",
        expected=f"{_END} beside it",
        reason="The request is rejected: tokenizer is required to reset end_id if it is None",
        resolution=f"Set {_END}, or remove {_SKIP}",
        witness={_SKIP: True},
        neighbour={_SKIP: True, _END: 0},
    ),
    inert(
        "output.tensorrt_include_stop_inert",
        "tensorrt.include_stop_str_in_output",
        _STOP,
        "tensorrt.stop_token_ids",
        violated=lambda values: (
            values.get("tensorrt.include_stop_str_in_output") is True
            and not values.get(_STOP)
            and not values.get("tensorrt.stop_token_ids")
        ),
        combination="tensorrt.include_stop_str_in_output=True without stops",
        expected=f"{_STOP} or tensorrt.stop_token_ids",
        reason="There is no stop to keep in the output",
        resolution=f"Set {_STOP}, or remove tensorrt.include_stop_str_in_output",
        witness={"tensorrt.include_stop_str_in_output": True},
        neighbour={"tensorrt.include_stop_str_in_output": True, _STOP: ["."]},
    ),
    inert(
        "output.tensorrt_special_without_text",
        _SPECIAL,
        _DETOKENIZE,
        violated=lambda values: _SPECIAL in values and values.get(_DETOKENIZE) is False,
        combination=f"{_SPECIAL} with {_DETOKENIZE}=False",
        expected=f"{_DETOKENIZE}=True",
        reason="No text is made: nothing says how to make it",
        resolution=f"Remove {_SPECIAL}, or set {_DETOKENIZE}=True",
        witness={_SPECIAL: False, _DETOKENIZE: False},
        neighbour={_SPECIAL: False, _DETOKENIZE: True},
    ),
    inert(
        "output.tensorrt_interval_inert",
        _INTERVAL,
        "streaming",
        violated=lambda values: _INTERVAL in values and values.get("streaming") is not True,
        combination=f"{_INTERVAL} without streaming=True",
        expected="streaming=True",
        reason="Only streams are delivered in pieces",
        resolution=f"Set streaming=True, or remove {_INTERVAL}",
        witness={_INTERVAL: 4},
        neighbour={_INTERVAL: 4, "streaming": True},
    ),
    refused(
        "guided.tensorrt_two_kinds",
        *_KINDS,
        violated=lambda values: _kinds(values) > 1,
        combination=f"two kinds of {_GUIDED}",
        expected="one of regex, json, grammar and json_object",
        reason="GuidedDecodingParams raises: only one guide can be used for a request",
        resolution="Keep the one that is meant",
        witness={f"{_GUIDED}.regex": "[0-9]+", f"{_GUIDED}.json_object": True},
        neighbour={f"{_GUIDED}.regex": "[0-9]+"},
    ),
    inert(
        "guided.tensorrt_without_backend",
        _GUIDED,
        _GUIDE,
        violated=lambda values: _kinds(values) > 0 and _GUIDE not in values,
        combination=f"{_GUIDED} without {_GUIDE}",
        expected=f"{_GUIDE}=xgrammar or llguidance",
        reason="Without a backend the engine has nothing that holds the output to a form",
        resolution=f"Set {_GUIDE}='xgrammar', or remove {_GUIDED}",
        witness={f"{_GUIDED}.regex": "[0-9]+"},
        neighbour={f"{_GUIDED}.regex": "[0-9]+", _GUIDE: "xgrammar"},
    ),
)
