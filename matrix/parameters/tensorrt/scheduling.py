"""How requests share steps."""

from __future__ import annotations

from harness.declare import Parameter, Value
from harness.jsontypes import JSON
from matrix import workloads
from matrix.parameters.declaring import FREE, on_off
from matrix.parameters.tensorrt.declaring import engine
from matrix.probes import inflight

_FULL: dict[str, JSON] = {"tensorrt.kv_cache.max_tokens": 320, "tensorrt.ignore_eos": True}
"""Ten blocks of 32 tokens, of which each request needs four in the end."""
_TIGHT: dict[str, JSON] = {"tensorrt.max_num_tokens": 512}
_CHUNKED: dict[str, JSON] = {"tensorrt.enable_chunked_context": True}

PARAMETERS: tuple[Parameter, ...] = (
    engine(
        "max_batch_size",
        inflight.max_batch_size,
        Value(1),
        Value(4),
        Value(8, contrast=4),
        # none ends before others have come
        companions={"tensorrt.ignore_eos": True},
        workload=workloads.QUEUE,
    ),
    engine(
        "max_num_tokens",
        inflight.max_num_tokens,
        Value(128),
        Value(256),
        companions=_CHUNKED,
        workload=workloads.FLOOD,
    ),
    engine("enable_chunked_context", inflight.chunked_context, *on_off(), companions=_TIGHT, workload=workloads.FLOOD),
    engine(
        "scheduler.context_chunking_policy",
        inflight.chunking_policy,
        Value("FIRST_COME_FIRST_SERVED", contrast="EQUAL_PROGRESS"),
        Value("EQUAL_PROGRESS"),
        companions={**_TIGHT, **_CHUNKED},
        workload=workloads.FLOOD,
    ),
    engine(
        "scheduler.capacity_scheduler_policy",
        inflight.capacity_policy,
        Value("GUARANTEED_NO_EVICT", contrast="MAX_UTILIZATION"),
        Value("MAX_UTILIZATION"),
        # sums end beside a song that goes on, so that only this policy keeps others out until it ends
        Value("STATIC_BATCH", companions={"tensorrt.ignore_eos": None}, workload=workloads.UNEVEN),
        # past its end the model is sure of nothing
        output=FREE,
        companions=_FULL,
        workload=workloads.PRESSED,
    ),
)
