"""How requests share steps."""

from __future__ import annotations

from harness.declare import Parameter, Value
from harness.jsontypes import JSON
from matrix import workloads
from matrix.parameters.declaring import on_off
from matrix.parameters.vllm.declaring import engine, request
from matrix.probes import scheduling

ROOM: dict[str, JSON] = {"vllm.kv_cache_memory_bytes": 256 << 20}
"""Cache for all of a crowd at once: each request takes a block, and the base has 128 of them."""
_NARROW: dict[str, JSON] = {"vllm.max_num_seqs": 32}
"""A budget of tokens must not be less than that of requests."""
_TURNED: list[JSON] = [3, 2, 1, 0]
_ONE_AT_A_TIME: dict[str, JSON] = {"vllm.max_num_seqs": 1}

PARAMETERS: tuple[Parameter, ...] = (
    engine(
        "max_num_seqs",
        scheduling.max_num_seqs,
        Value(1),
        Value(32),
        Value(64),
        Value(128),
        Value(256, contrast=128),
        companions=ROOM,
        workload=workloads.CROWD,
    ),
    engine(
        "max_num_batched_tokens",
        scheduling.max_num_batched_tokens,
        Value(64),
        Value(256),
        companions=_NARROW,
        workload=workloads.PACKED,
    ),
    engine(
        "enable_chunked_prefill",
        scheduling.chunked_prefill,
        *on_off(),
        # two of the three prompts fit, the third has to wait or to be split
        companions={"vllm.max_num_batched_tokens": 512},
        workload=workloads.PACKED,
    ),
    engine(
        "long_prefill_token_threshold",
        scheduling.long_prefill,
        Value(16),
        Value(48),
        workload=workloads.PACKED,
    ),
    engine(
        "scheduling_policy",
        scheduling.scheduling_policy,
        Value("fcfs", contrast="priority"),
        Value("priority", contrast="fcfs"),
        companions={**_ONE_AT_A_TIME, "vllm.priority": _TURNED},
    ),
    request(
        "priority",
        scheduling.priority,
        Value([*_TURNED]),
        Value([1, 0, 3, 2]),
        companions={**_ONE_AT_A_TIME, "vllm.scheduling_policy": "priority"},
    ),
    engine(
        "async_scheduling",
        scheduling.async_scheduling,
        *on_off(),
        note="the CPU platform of vLLM 0.32 switches it off without a word",
    ),
    engine(
        "stream_interval",
        scheduling.stream_interval,
        Value(1, contrast=4),
        Value(4),
        companions={"streaming": True},
        workload=workloads.LOOPING,
    ),
)
