"""Streaming and traffic simulation: when output arrives and when requests come."""

from __future__ import annotations

from harness.declare import Column, OutputRule, Parameter, Probe, Scope, Value
from harness.jsontypes import JSON
from matrix import workloads
from matrix.parameters.columns import CUDA, everywhere
from matrix.probes import timing, trt_results
from matrix.sections import STREAMING

_ON: dict[str, JSON] = {
    "traffic_simulation.enabled": True,
    "traffic_simulation.mode": "constant",
    "traffic_simulation.target_qps": timing.RATE,
    "traffic_simulation.seed": 3,
}


def _traffic(name: str, probe: Probe, *values: Value) -> Parameter:
    column = Column(
        Scope.REQUEST, probe, OutputRule.LOSSLESS, companions=_ON, workload=workloads.ARRIVALS, by_harness=True
    )
    return Parameter(f"traffic_simulation.{name}", section=STREAMING, values=values, columns=everywhere(column))


PARAMETERS = (
    Parameter(
        "streaming",
        section=STREAMING,
        values=(Value(False, contrast=True), Value(True)),
        columns={
            "pytorch": Column(Scope.REQUEST, timing.streaming, OutputRule.LOSSLESS, workload=workloads.LOOPING),
            # its async engine streams, and is another one than that of LLM
            "vllm": Column(Scope.ENGINE, timing.delivered, OutputRule.LOSSLESS, workload=workloads.LOOPING),
            "tensorrt": Column(
                Scope.REQUEST, trt_results.streaming, OutputRule.LOSSLESS, workload=workloads.LOOPING, needs=CUDA
            ),
        },
    ),
    _traffic("enabled", timing.paced, Value(False, contrast=True), Value(True, contrast=False)),
    _traffic(
        "mode",
        timing.mode,
        Value("constant", contrast="poisson", workload=workloads.MANY_ARRIVALS),
        Value("poisson", contrast="constant", workload=workloads.MANY_ARRIVALS),
    ),
    _traffic("target_qps", timing.rate, Value(5.0, contrast=20.0), Value(20.0, contrast=5.0)),
    _traffic(
        "seed",
        timing.own_schedule,
        Value(0, contrast=1, companions={"traffic_simulation.mode": "poisson"}),
        Value(1, contrast=0, companions={"traffic_simulation.mode": "poisson"}),
    ),
)
