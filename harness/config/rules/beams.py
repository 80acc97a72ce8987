"""Rules about beam search."""

from typing import Any

from harness.config._types import Backend
from harness.config.rules._rule import Rule, Values, disagree, has

__all__ = ["RULES", "beams_searched"]

_SHARED, _NATIVE = "decoder.beam_search", "pytorch"
_ENABLED, _WIDTH = f"{_SHARED}.enabled", f"{_SHARED}.num_beams"
_FIELDS: dict[str, tuple[Any, Any]] = {
    "num_beams": (2, 4),
    "early_stopping": (True, False),
    "length_penalty": (0.5, 1.5),
    "no_repeat_ngram_size": (2, 3),
}


def beams_searched(values: Values) -> int:
    """Return the number of beams that a config asks for, in either section."""
    widths: list[int] = [values.get(path, 1) for path in (_WIDTH, f"{_NATIVE}.num_beams")]
    return max(widths)


def _disagreement(name: str, first: Any, second: Any) -> Rule:
    shared, native = f"{_SHARED}.{name}", f"{_NATIVE}.{name}"
    return Rule(
        id=f"beams.{name}_disagrees",
        backends=("pytorch",),
        parameters=(shared, native),
        violated=disagree(shared, native),
        combination=f"{shared} differs from {native}",
        expected="equal values, or only one of the two",
        reason=f"Both set {name} of generate()",
        resolution=f"Set only one of {shared} and {native}, or set both to the same value",
        witness={shared: first, native: second},
        neighbour={shared: first, native: first},
    )


def _pair(section: str) -> tuple[Rule, ...]:
    native = section == _NATIVE
    prefix = "beams.native_" if native else "beams."
    only: tuple[Backend, ...] | None = ("pytorch",) if native else None
    width = f"{section}.num_beams"

    def inert(name: str, value: Any) -> Rule:
        path = f"{section}.{name}"
        return Rule(
            id=f"{prefix}{name}_inert",
            backends=only,
            severity="warning",
            parameters=(path, width),
            violated=lambda values: path in values and beams_searched(values) < 2,
            combination=f"{path} with one beam",
            expected="num_beams of at least 2",
            reason=f"{name} only acts on beams; transformers ignores it otherwise",
            resolution=f"Set {width} to 2 or more, or remove {path}",
            witness={path: value},
            neighbour={path: value, width: 2},
        )

    return (
        inert("early_stopping", value=True),
        inert("length_penalty", value=0.5),
        Rule(
            id=f"{prefix}sampling",
            backends=("pytorch",),
            severity="warning",
            parameters=(width, "decoder.do_sample"),
            violated=lambda values: values.get(width, 1) > 1 and values.get("decoder.do_sample") is True,
            combination=f"{width} > 1 with decoder.do_sample=True",
            expected="decoder.do_sample=False for a pure beam search",
            reason="Beams are then sampled: the result is random, and not the likeliest sequence",
            resolution="Set decoder.do_sample=False",
            witness={width: 2, "decoder.do_sample": True},
            neighbour={width: 2, "decoder.do_sample": False},
        ),
        Rule(
            id=f"{prefix}streaming",
            backends=only,
            parameters=(width, "streaming"),
            violated=lambda values: values.get(width, 1) > 1 and values.get("streaming") is True,
            combination=f"{width} > 1 with streaming=True",
            expected="one beam when streaming",
            reason="The best beam is only known at the end; transformers' generate() raises "
            "ValueError, and vLLM's beam_search() has no streaming form",
            resolution=f"Set streaming=False, or {width}=1",
            witness={width: 2, "streaming": True},
            neighbour={width: 2, "streaming": False},
        ),
    )


def _not_enabled(width: str, rule_id: str, backends: tuple[Backend, ...] | None) -> Rule:
    return Rule(
        id=rule_id,
        backends=backends,
        parameters=(_ENABLED, width),
        violated=lambda values: values.get(_ENABLED) is False and values.get(width, 1) > 1,
        combination=f"{_ENABLED}=False with {width} > 1",
        expected=f"{width}=1, or {_ENABLED} to be true or omitted",
        reason="The two contradict each other",
        resolution=f"Remove {_ENABLED}, or remove {width}",
        witness={_ENABLED: False, width: 2},
        neighbour={width: 2},
    )


# What SamplingParams has, people use, and BeamSearchParams has not
_NOT_FOR_BEAMS: dict[str, Any] = {
    "decoder.top_k": 10,
    "decoder.top_p": 0.9,
    "decoder.min_p": 0.1,
    "decoder.repetition_penalty": 1.1,
    "decoder.min_new_tokens": 1,
    "vllm.n": 2,
    "vllm.stop": ["."],
    "vllm.logprobs": 1,
    "vllm.presence_penalty": 0.5,
    "vllm.frequency_penalty": 0.5,
    "vllm.logit_bias": {"5": 1.0},
    "vllm.allowed_token_ids": [5],
    "vllm.bad_words": ["red"],
}


def _vllm_drops(path: str, value: Any) -> Rule:
    name = path.rpartition(".")[2]
    return Rule(
        id=f"beams.vllm_drops_{name}",
        backends=("vllm",),
        severity="warning",
        parameters=(path, _WIDTH),
        violated=lambda values: path in values and values.get(_WIDTH, 1) > 1,
        combination=f"{path} with {_WIDTH} > 1",
        expected=f"{path} to be omitted when beams are searched",
        reason=f"BeamSearchParams has no {name}: it has no effect on beams",
        resolution=f"Remove {path}, or search no beams",
        versions="vLLM 0.32",
        witness={path: value, _WIDTH: 2},
        neighbour={_WIDTH: 2},
    )


def _vllm_lacks(name: str, value: Any) -> Rule:
    path = f"{_SHARED}.{name}"
    return Rule(
        id=f"beams.vllm_{name}",
        backends=("vllm",),
        severity="warning",
        parameters=("backend", path),
        violated=has(path),
        combination=path,
        expected=f"{path} to be omitted on vllm",
        reason=f"Neither BeamSearchParams nor SamplingParams has {name}",
        resolution=f"Remove {path}, or use backend='pytorch'",
        versions="vLLM 0.32",
        witness={path: value},
        neighbour={},
    )


RULES: tuple[Rule, ...] = (
    *(_disagreement(name, *values) for name, values in _FIELDS.items()),
    Rule(
        id="beams.enabled_without_width",
        parameters=(_ENABLED, _WIDTH),
        violated=lambda values: values.get(_ENABLED) is True and values.get(_WIDTH, 1) < 2,
        combination=f"{_ENABLED}=True without {_WIDTH} > 1",
        expected=f"{_WIDTH} of at least 2",
        reason="One beam, upstream's default, is no beam search",
        resolution=f"Set {_WIDTH} to 2 or more, or remove {_ENABLED}",
        witness={_ENABLED: True},
        neighbour={_ENABLED: True, _WIDTH: 2},
    ),
    _not_enabled(_WIDTH, "beams.width_not_enabled", None),
    _not_enabled(f"{_NATIVE}.num_beams", "beams.native_width_not_enabled", ("pytorch",)),
    *_pair(_SHARED),
    *_pair(_NATIVE),
    Rule(
        id="beams.vllm_sampling",
        backends=("vllm",),
        parameters=(_WIDTH, "decoder.do_sample"),
        violated=lambda values: values.get(_WIDTH, 1) > 1 and values.get("decoder.do_sample") is True,
        combination=f"{_WIDTH} > 1 with decoder.do_sample=True",
        expected="decoder.do_sample=False, or none",
        reason="vLLM's beam_search() ranks beams and draws nothing",
        resolution="Remove decoder.do_sample, or search no beams",
        versions="vLLM 0.32",
        witness={_WIDTH: 2, "decoder.do_sample": True},
        neighbour={_WIDTH: 2},
    ),
    Rule(
        id="beams.vllm_without_tokenizer",
        backends=("vllm",),
        parameters=(_WIDTH, "vllm.skip_tokenizer_init"),
        violated=lambda values: values.get(_WIDTH, 1) > 1 and values.get("vllm.skip_tokenizer_init") is True,
        combination=f"{_WIDTH} > 1 with vllm.skip_tokenizer_init=True",
        expected="a tokenizer",
        reason="beam_search() raises ValueError: tokenizer not available",
        resolution="Remove vllm.skip_tokenizer_init, or search no beams",
        versions="vLLM 0.32",
        witness={_WIDTH: 2, "vllm.skip_tokenizer_init": True},
        neighbour={_WIDTH: 2},
    ),
    *(_vllm_drops(path, value) for path, value in _NOT_FOR_BEAMS.items()),
    _vllm_lacks("early_stopping", value=True),
    _vllm_lacks("no_repeat_ngram_size", value=2),
)
