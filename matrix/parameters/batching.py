"""`batching.*`: which prompts go to the model together."""

from __future__ import annotations

from harness.declare import Column, OutputRule, Parameter, Probe, Scope, Value
from harness.jsontypes import JSON
from matrix import workloads
from matrix.parameters.columns import everywhere
from matrix.probes import batches, inflight
from matrix.sections import BATCHING, PYTORCH


def _column(probe: Probe, companions: dict[str, JSON] | None = None) -> Column:
    return Column(
        Scope.REQUEST,
        probe,
        OutputRule.LOSSLESS,
        companions=companions or {},
        workload=workloads.SHUFFLED,
        by_harness=True,
    )


_SIZES = (Value(1, contrast=8), Value(3), Value(8, contrast=1))
_SIZE = _column(batches.batch_size)
_STATIC = {"batching.batch_size": batches.BATCH_SIZE}
_DYNAMIC = {"batching.max_tokens_per_batch": batches.TOKEN_BUDGET}
_BUDGETED: dict[str, JSON] = {"batching.strategy": "dynamic"}

PARAMETERS = (
    Parameter(
        "batching.batch_size",
        section=BATCHING,
        values=_SIZES,
        columns=everywhere(_SIZE, _column(inflight.batch_size)),
    ),
    Parameter(
        "batching.strategy",
        section=BATCHING,
        values=(
            Value("static", contrast="sorted_static", companions=_STATIC),
            Value("sorted_static", contrast="static", companions=_STATIC),
            Value("dynamic", contrast="sorted_dynamic", companions=_DYNAMIC),
            Value("sorted_dynamic", contrast="dynamic", companions=_DYNAMIC),
        ),
        columns=everywhere(_column(batches.strategy), _column(inflight.strategy)),
    ),
    Parameter(
        "batching.max_tokens_per_batch",
        section=BATCHING,
        values=(Value(64, contrast=400), Value(192, contrast=64)),
        columns=everywhere(_column(batches.token_budget, _BUDGETED), _column(inflight.token_budget, _BUDGETED)),
    ),
    Parameter("pytorch.batch_size", section=PYTORCH, values=_SIZES, columns={"pytorch": _SIZE}),
)
