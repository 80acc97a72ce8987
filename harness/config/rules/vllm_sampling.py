"""Rules about drawing tokens in vLLM, and about the scores it reports: ``SamplingParams``."""

from __future__ import annotations

from harness.config.rules._rule import Rule, Values, disagree
from harness.config.rules._vllm import greedy, inert, refused
from harness.config.rules.beams import beams_searched

__all__ = ["RULES"]

_SAMPLE, _TEMPERATURE, _MAX = "decoder.do_sample", "decoder.temperature", "max_output_tokens"
_CAP, _DEFAULT_CAP = "vllm.max_logprobs", 20
_LOWEST_ALL = _DEFAULT_CAP + 1  # -1 asks for the whole vocabulary, which is larger than the default cap
_COLDEST, _HOTTEST = 0.01, 2.0  # vllm/sampling_params.py: _MAX_TEMP, and _verify_args


def _exceeds_cap(wanted: int, values: Values) -> bool:
    cap = values.get(_CAP, _DEFAULT_CAP)
    return bool(cap != -1 and (_LOWEST_ALL if wanted == -1 else wanted) > cap)


def _logprobs(name: str) -> Rule:
    path = f"vllm.{name}"
    return refused(
        f"logprobs.vllm_{name}_above_max",
        path,
        _CAP,
        violated=lambda values: path in values and _exceeds_cap(values[path], values),
        combination=f"{path} above {_CAP}",
        expected=f"at most {_CAP}, which is {_DEFAULT_CAP} by default",
        reason="The request is rejected: 'greater than max allowed'",
        resolution=f"Raise {_CAP} (-1 allows all), or lower {path}",
        witness={path: _LOWEST_ALL},
        neighbour={path: _LOWEST_ALL, _CAP: _LOWEST_ALL},
    )


RULES: tuple[Rule, ...] = (
    refused(
        "decoding.vllm_temperature_too_high",
        "backend",
        _TEMPERATURE,
        violated=lambda values: values.get(_TEMPERATURE, 0) > _HOTTEST,
        combination=f"{_TEMPERATURE} above {_HOTTEST}",
        expected=f"a value from 0 to {_HOTTEST}",
        reason="SamplingParams raises: temperature must be in [0, 2]",
        resolution=f"Lower {_TEMPERATURE}",
        witness={_TEMPERATURE: 3.0},
        neighbour={_TEMPERATURE: 2.0},
    ),
    inert(
        "decoding.vllm_temperature_raised",
        "backend",
        _TEMPERATURE,
        violated=lambda values: 0 < values.get(_TEMPERATURE, 0) < _COLDEST,
        combination=f"{_TEMPERATURE} above 0 but below {_COLDEST}",
        expected=f"0, or at least {_COLDEST}",
        reason=f"SamplingParams raises such temperatures to {_COLDEST}",
        resolution=f"Set {_TEMPERATURE}=0 for greedy decoding, or {_COLDEST}",
        witness={_TEMPERATURE: 0.001},
        neighbour={_TEMPERATURE: 0.01},
    ),
    refused(
        "decoding.vllm_greedy_with_temperature",
        _SAMPLE,
        _TEMPERATURE,
        violated=lambda values: values.get(_SAMPLE) is False and values.get(_TEMPERATURE, 0) > 0,
        combination=f"{_SAMPLE}=False with {_TEMPERATURE} above 0",
        expected="greedy decoding or a temperature, not both",
        reason="vLLM has one argument for both: greedy is temperature 0",
        resolution=f"Remove {_SAMPLE}, or remove {_TEMPERATURE}",
        witness={_SAMPLE: False, _TEMPERATURE: 0.7},
        neighbour={_TEMPERATURE: 0.7},
    ),
    refused(
        "decoding.vllm_n_greedy",
        "vllm.n",
        _TEMPERATURE,
        _SAMPLE,
        violated=lambda values: values.get("vllm.n", 1) > 1 and greedy(values) and beams_searched(values) < 2,
        combination=f"vllm.n > 1 with {_TEMPERATURE}=0 or {_SAMPLE}=False",
        expected="one sequence when decoding greedily",
        reason="All would be equal; SamplingParams raises: n must be 1 when using greedy sampling",
        resolution=f"Set vllm.n=1, or {_TEMPERATURE} above 0",
        witness={"vllm.n": 2, _TEMPERATURE: 0.0},
        neighbour={"vllm.n": 2, _TEMPERATURE: 0.7},
    ),
    refused(
        "decoding.vllm_min_exceeds_max",
        "vllm.min_tokens",
        _MAX,
        violated=lambda values: _MAX in values and values.get("vllm.min_tokens", 0) > values[_MAX],
        combination=f"vllm.min_tokens > {_MAX}",
        expected=f"vllm.min_tokens to be at most {_MAX}",
        reason="SamplingParams raises: min_tokens must be less than or equal to max_tokens",
        resolution=f"Lower vllm.min_tokens, or raise {_MAX}",
        witness={"vllm.min_tokens": 2, _MAX: 1},
        neighbour={"vllm.min_tokens": 1, _MAX: 1},
    ),
    refused(
        "decoding.vllm_min_tokens_disagrees",
        "decoder.min_new_tokens",
        "vllm.min_tokens",
        violated=disagree("decoder.min_new_tokens", "vllm.min_tokens"),
        combination="decoder.min_new_tokens differs from vllm.min_tokens",
        expected="equal values, or only one of the two",
        reason="Both set min_tokens of SamplingParams",
        resolution="Set only one of the two, or set both to the same value",
        witness={"decoder.min_new_tokens": 1, "vllm.min_tokens": 2},
        neighbour={"decoder.min_new_tokens": 1, "vllm.min_tokens": 1},
    ),
    _logprobs("logprobs"),
    _logprobs("prompt_logprobs"),
    refused(
        "logprobs.vllm_beams_above_max",
        "decoder.beam_search.num_beams",
        _CAP,
        violated=lambda values: beams_searched(values) > 1 and _exceeds_cap(2 * beams_searched(values), values),
        combination=f"decoder.beam_search.num_beams above half of {_CAP}",
        expected=f"at most half of {_CAP}, which is {_DEFAULT_CAP} by default",
        reason="beam_search() asks for the log probabilities of twice as many tokens as it has beams",
        resolution=f"Raise {_CAP} to twice the number of beams, or search fewer",
        witness={"decoder.beam_search.num_beams": 11},
        neighbour={"decoder.beam_search.num_beams": 11, _CAP: 22},
    ),
    inert(
        "logprobs.vllm_flat_inert",
        "vllm.flat_logprobs",
        "vllm.logprobs",
        "vllm.prompt_logprobs",
        violated=lambda values: (
            values.get("vllm.flat_logprobs") is True
            and "vllm.logprobs" not in values
            and "vllm.prompt_logprobs" not in values
        ),
        combination="vllm.flat_logprobs=True without log probabilities",
        expected="vllm.logprobs or vllm.prompt_logprobs",
        reason="There is nothing to make flat",
        resolution="Set vllm.logprobs, or remove vllm.flat_logprobs",
        witness={"vllm.flat_logprobs": True},
        neighbour={"vllm.flat_logprobs": True, "vllm.logprobs": 1},
    ),
    inert(
        "logprobs.vllm_mode_inert",
        "vllm.logprobs_mode",
        "vllm.logprobs",
        "vllm.prompt_logprobs",
        violated=lambda values: (
            "vllm.logprobs_mode" in values
            and "vllm.logprobs" not in values
            and "vllm.prompt_logprobs" not in values
            and beams_searched(values) < 2
        ),
        combination="vllm.logprobs_mode without log probabilities",
        expected="vllm.logprobs or vllm.prompt_logprobs",
        reason="It says how to report what is not asked for",
        resolution="Set vllm.logprobs, or remove vllm.logprobs_mode",
        witness={"vllm.logprobs_mode": "processed_logprobs"},
        neighbour={"vllm.logprobs_mode": "processed_logprobs", "vllm.logprobs": 1},
    ),
)
