"""Short forms for columns of one backend."""

from __future__ import annotations

from harness.declare import Bound, Column, OutputRule, Parameter, Probe, Scope, Value, Variant, Workload
from harness.jsontypes import JSON
from matrix.sections import VLLM

LOSSLESS, FREE = OutputRule.LOSSLESS, OutputRule.FREE
CUDA = ("cuda",)

SMALL_ENGINE: dict[str, JSON] = {
    "vllm.enforce_eager": True,
    "vllm.max_model_len": 512,
    "vllm.kv_cache_memory_bytes": 64 << 20,
}
"""An engine that is up in a second. What one of these would hide withdraws it in its companions."""


def engine(
    name: str,
    probe: Probe,
    *values: Value,
    output: OutputRule | Bound = LOSSLESS,
    companions: dict[str, JSON] | None = None,
    workload: Workload | None = None,
    variant: Variant | None = None,
    needs: tuple[str, ...] = (),
    note: str = "",
) -> Parameter:
    """A parameter that takes effect when the engine is loaded."""
    column = Column(
        Scope.ENGINE, probe, output, companions=companions or {}, workload=workload, variant=variant, needs=needs
    )
    return Parameter(f"vllm.{name}", section=VLLM, values=values, columns={"vllm": column}, note=note)


def request(
    name: str,
    probe: Probe,
    *values: Value,
    output: OutputRule | Bound = FREE,
    companions: dict[str, JSON] | None = None,
    workload: Workload | None = None,
    variant: Variant | None = None,
    note: str = "",
) -> Parameter:
    """A parameter that every request can set anew."""
    column = Column(Scope.REQUEST, probe, output, companions=companions or {}, workload=workload, variant=variant)
    return Parameter(f"vllm.{name}", section=VLLM, values=values, columns={"vllm": column}, note=note)
