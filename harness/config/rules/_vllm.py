"""What the rules about vLLM share."""

from typing import Any

from harness.config.rules._rule import Rule, Values

__all__ = ["greedy", "inert", "refused"]

_VERSION = "vLLM 0.32"


def refused(rule_id: str, *parameters: str, **rest: Any) -> Rule:
    """Make a rule about what vLLM raises an error for, or cannot mean."""
    return Rule(id=rule_id, backends=("vllm",), parameters=parameters, versions=_VERSION, **rest)


def inert(rule_id: str, *parameters: str, **rest: Any) -> Rule:
    """Make a rule about what vLLM takes without effect."""
    return refused(rule_id, *parameters, severity="warning", **rest)


def greedy(values: Values) -> bool:
    """Whether the likeliest token is taken: vLLM's temperature 0."""
    return values.get("decoder.do_sample") is False or values.get("decoder.temperature") == 0
