"""Rules about sampling and output length."""

from __future__ import annotations

from typing import Any

from harness.config.rules._rule import Rule, Values

__all__ = ["RULES"]

_SAMPLE, _TEMPERATURE = "decoder.do_sample", "decoder.temperature"
_COLDEST = 1e-36  # float32, in which transformers samples, overflows below
_FILTERS: dict[str, Any] = {"temperature": 0.7, "top_k": 10, "top_p": 0.9, "min_p": 0.1}


def _states_sampling(values: Values, path: str) -> bool:
    """Whether ``path`` asks for sampling; a temperature of 0 asks for none."""
    return path in values and not (path == _TEMPERATURE and values[path] == 0)


def _greedy(name: str, value: Any) -> Rule:
    path = f"decoder.{name}"
    return Rule(
        id=f"decoding.greedy_{name}",
        severity="warning",
        parameters=(path, _SAMPLE),
        violated=lambda values: _states_sampling(values, path) and values.get(_SAMPLE) is False,
        combination=f"{path} with {_SAMPLE}=False",
        expected=f"{_SAMPLE}=True, or no sampling parameter",
        reason="Greedy decoding takes the likeliest token: sampling parameters are inert",
        resolution=f"Set {_SAMPLE}=True, or remove {path}",
        witness={path: value, _SAMPLE: False},
        neighbour={path: value, _SAMPLE: True},
    )


def _not_sampled(name: str, value: Any) -> Rule:
    path = f"decoder.{name}"
    return Rule(
        id=f"decoding.unsampled_{name}",
        backends=("pytorch",),
        severity="warning",
        parameters=(path, _SAMPLE),
        violated=lambda values: _states_sampling(values, path) and _SAMPLE not in values,
        combination=f"{path} without {_SAMPLE}",
        expected=f"{_SAMPLE}=True",
        reason="transformers does not sample by default (unless the model's generation_config "
        "says so) and then ignores sampling parameters",
        resolution=f"Set {_SAMPLE}=True, or remove {path}",
        versions="transformers 5.23",
        witness={path: value},
        neighbour={path: value, _SAMPLE: True},
    )


def _cold(name: str, value: Any) -> Rule:
    path = f"decoder.{name}"
    return Rule(
        id=f"decoding.temperature_zero_{name}",
        backends=("vllm", "tensorrt"),
        severity="warning",
        parameters=(path, _TEMPERATURE),
        violated=lambda values: path in values and values.get(_TEMPERATURE) == 0 and values.get(_SAMPLE) is not False,
        combination=f"{path} with {_TEMPERATURE}=0",
        expected="a temperature above 0, or no sampling parameter",
        reason="A temperature of 0 is greedy decoding: sampling parameters are inert",
        resolution=f"Set {_TEMPERATURE} above 0, or remove {path}",
        witness={path: value, _TEMPERATURE: 0.0},
        neighbour={path: value, _TEMPERATURE: 0.7},
    )


RULES: tuple[Rule, ...] = (
    Rule(
        id="decoding.sampling_at_temperature_zero",
        parameters=(_SAMPLE, _TEMPERATURE),
        violated=lambda values: values.get(_SAMPLE) is True and values.get(_TEMPERATURE) == 0,
        combination=f"{_SAMPLE}=True with {_TEMPERATURE}=0",
        expected="a temperature above 0 when sampling",
        reason="The logits cannot be divided by 0; transformers' generate() raises ValueError",
        resolution=f"Set {_SAMPLE}=False for greedy decoding, or a temperature above 0",
        witness={_SAMPLE: True, _TEMPERATURE: 0.0},
        neighbour={_SAMPLE: False, _TEMPERATURE: 0.0},
    ),
    Rule(
        id="decoding.temperature_too_small",
        backends=("pytorch",),
        parameters=(_TEMPERATURE, _SAMPLE),
        violated=lambda values: values.get(_SAMPLE) is True and 0 < values.get(_TEMPERATURE, 0) < _COLDEST,
        combination=f"{_TEMPERATURE} above 0 but below {_COLDEST} with {_SAMPLE}=True",
        expected=f"a temperature of at least {_COLDEST} when sampling",
        reason="Logits divided by it overflow to infinity, and torch.multinomial raises RuntimeError",
        resolution=f"Set {_SAMPLE}=False for greedy decoding, or {_TEMPERATURE} to at least {_COLDEST}",
        versions="transformers 5.23",
        witness={_SAMPLE: True, _TEMPERATURE: 1e-38},
        neighbour={_SAMPLE: True, _TEMPERATURE: 0.01},
    ),
    *(_greedy(name, value) for name, value in _FILTERS.items()),
    *(_not_sampled(name, value) for name, value in _FILTERS.items()),
    *(_cold(name, value) for name, value in _FILTERS.items() if name != "temperature"),
    Rule(
        id="decoding.min_exceeds_max",
        parameters=("decoder.min_new_tokens", "max_output_tokens"),
        violated=lambda values: (
            "max_output_tokens" in values and values.get("decoder.min_new_tokens", 0) > values["max_output_tokens"]
        ),
        combination="decoder.min_new_tokens > max_output_tokens",
        expected="min_new_tokens to be at most max_output_tokens",
        reason="The two cannot both be met: vLLM raises ValueError, "
        "transformers warns of 'unfeasible length constraints' and drops the minimum",
        resolution="Lower decoder.min_new_tokens, or raise max_output_tokens",
        witness={"decoder.min_new_tokens": 2, "max_output_tokens": 1},
        neighbour={"decoder.min_new_tokens": 1, "max_output_tokens": 1},
    ),
    Rule(
        id="decoding.vllm_top_p_zero",
        backends=("vllm",),
        parameters=("backend", "decoder.top_p"),
        violated=lambda values: values.get("decoder.top_p") == 0,
        combination="decoder.top_p=0",
        expected="a value above 0, up to 1",
        reason="SamplingParams raises ValueError: top_p must be in (0, 1]",
        resolution="Use a small positive decoder.top_p, or decoder.top_k=1",
        versions="vLLM 0.32",
        witness={"decoder.top_p": 0.0},
        neighbour={"decoder.top_p": 0.01},
    ),
)
