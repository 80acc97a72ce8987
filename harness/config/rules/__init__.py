"""The rule registry: validators, pages, introspection and fuzzing all read this one tuple."""

from __future__ import annotations

from functools import lru_cache

from harness.config.rules import (
    backends,
    batching,
    beams,
    cache,
    compilation,
    decoding,
    parallelism,
    passthrough,
    quantization,
    quantized_backends,
    speculative,
    tensorrt_engine,
    tensorrt_path,
    tensorrt_request,
    tensorrt_speculative,
    vllm_engine,
    vllm_execution,
    vllm_output,
    vllm_sampling,
    vllm_speculative,
)
from harness.config.rules._rule import Rule, Values

__all__ = ["REGISTRY", "Rule", "Values", "rule", "violations"]

REGISTRY: tuple[Rule, ...] = (
    *backends.RULES,
    *quantization.RULES,
    *quantized_backends.RULES,
    *compilation.RULES,
    *cache.RULES,
    *decoding.RULES,
    *beams.RULES,
    *batching.RULES,
    *parallelism.RULES,
    *speculative.RULES,
    *vllm_sampling.RULES,
    *vllm_output.RULES,
    *vllm_engine.RULES,
    *vllm_execution.RULES,
    *vllm_speculative.RULES,
    *tensorrt_path.RULES,
    *tensorrt_engine.RULES,
    *tensorrt_request.RULES,
    *tensorrt_speculative.RULES,
    *passthrough.RULES,
)


def rule(rule_id: str) -> Rule:
    """Return the rule of that id; ``KeyError`` if there is none."""
    for candidate in REGISTRY:
        if candidate.id == rule_id:
            return candidate
    raise KeyError(f"no rule {rule_id!r}")


@lru_cache(maxsize=256)
def _within(registry: tuple[Rule, ...], prefix: str) -> tuple[Rule, ...]:
    return tuple(
        candidate for candidate in registry if all((path + ".").startswith(prefix) for path in candidate.parameters)
    )


@lru_cache(maxsize=256)
def _asked(registry: tuple[Rule, ...], prefix: str, backend: str | None) -> tuple[Rule, ...]:
    return tuple(candidate for candidate in _within(registry, prefix) if candidate.holds_for(backend))


def violations(values: Values, prefix: str = "") -> list[Rule]:
    """Return every rule, errors and warnings, that ``values`` violate.

    ``values["backend"]`` decides which rules hold; without it only those for every backend do.
    With a ``prefix`` only the rules that stay within that section are asked.
    """
    asked = _asked(REGISTRY, prefix, values.get("backend"))
    return [candidate for candidate in asked if candidate.violated(values)]
