"""`decoder.*`: how the next token is chosen."""

from __future__ import annotations

from harness.declare import Column, OutputRule, Parameter, Scope, Value
from matrix import workloads
from matrix.probes import scores, seeds
from matrix.sections import DECODER

SAMPLING = {"decoder.do_sample": True}

PARAMETERS = (
    Parameter(
        "decoder.do_sample",
        section=DECODER,
        values=(Value(True), Value(False, contrast=True)),
        columns={
            "pytorch": Column(Scope.REQUEST, seeds.varies_with_seed, OutputRule.FREE, workload=workloads.OPEN_SEEDS)
        },
    ),
    Parameter(
        "decoder.top_k",
        section=DECODER,
        values=(Value(0), Value(1), Value(5), Value(50, contrast=5)),
        columns={
            "pytorch": Column(
                Scope.REQUEST, scores.top_k, OutputRule.FREE, companions=SAMPLING, workload=workloads.OPEN
            )
        },
    ),
)
