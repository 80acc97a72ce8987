"""`batching.*`: which prompts go to the model together."""

from __future__ import annotations

from harness.declare import Column, OutputRule, Parameter, Scope, Value
from matrix import workloads
from matrix.probes import batches
from matrix.sections import BATCHING, PYTORCH


def _size(path: str, section: str, *backends: str) -> Parameter:
    column = Column(
        Scope.REQUEST, batches.batch_size, OutputRule.LOSSLESS, workload=workloads.SHUFFLED, by_harness=True
    )
    values = (Value(1, contrast=8), Value(3), Value(8, contrast=1))
    return Parameter(path, section=section, values=values, columns=dict.fromkeys(backends, column))


_STATIC = {"batching.batch_size": batches.BATCH_SIZE}
_DYNAMIC = {"batching.max_tokens_per_batch": batches.TOKEN_BUDGET}

PARAMETERS = (
    _size("batching.batch_size", BATCHING, "pytorch", "vllm"),
    Parameter(
        "batching.strategy",
        section=BATCHING,
        values=(
            Value("static", contrast="sorted_static", companions=_STATIC),
            Value("sorted_static", contrast="static", companions=_STATIC),
            Value("dynamic", contrast="sorted_dynamic", companions=_DYNAMIC),
            Value("sorted_dynamic", contrast="dynamic", companions=_DYNAMIC),
        ),
        columns=dict.fromkeys(
            ("pytorch", "vllm"),
            Column(Scope.REQUEST, batches.strategy, OutputRule.LOSSLESS, workload=workloads.SHUFFLED, by_harness=True),
        ),
    ),
    Parameter(
        "batching.max_tokens_per_batch",
        section=BATCHING,
        values=(Value(64, contrast=400), Value(192, contrast=64)),
        columns=dict.fromkeys(
            ("pytorch", "vllm"),
            Column(
                Scope.REQUEST,
                batches.token_budget,
                OutputRule.LOSSLESS,
                companions={"batching.strategy": "dynamic"},
                workload=workloads.SHUFFLED,
                by_harness=True,
            ),
        ),
    ),
    _size("pytorch.batch_size", PYTORCH, "pytorch"),
)
