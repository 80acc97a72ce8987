"""What the rules about TensorRT-LLM share."""

from typing import Any

from harness.config.rules._rule import Rule, Values

__all__ = ["BACKEND", "greedy", "inert", "refused", "within"]

BACKEND = "tensorrt.backend"
_VERSION = "TensorRT-LLM 1.2 (read, not run)"


def refused(rule_id: str, *parameters: str, **rest: Any) -> Rule:
    """Make a rule about what TensorRT-LLM raises an error for, or cannot mean."""
    return Rule(id=rule_id, backends=("tensorrt",), parameters=parameters, **{"versions": _VERSION, **rest})


def inert(rule_id: str, *parameters: str, **rest: Any) -> Rule:
    """Make a rule about what TensorRT-LLM takes without effect."""
    return refused(rule_id, *parameters, severity="warning", **rest)


def within(values: Values, path: str) -> bool:
    """Whether ``path``, a leaf or a section, is set."""
    return path in values or any(name.startswith(f"{path}.") for name in values)


def greedy(values: Values) -> bool:
    """Whether the likeliest token is taken: TensorRT-LLM's default, and what some values stand for.

    A request that asks for sampling and states no more gets a temperature of 1.
    """
    told = [values.get(f"decoder.{name}") for name in ("temperature", "top_k", "top_p")]
    if values.get("decoder.do_sample") is False or told[0] == 0 or told[1] == 1 or told[2] == 0:
        return True
    return values.get("decoder.do_sample") is None and all(value is None for value in told)
