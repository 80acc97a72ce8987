"""The paged cache of keys and values: its blocks, types, size and reuse."""

from __future__ import annotations

from dataclasses import replace

from harness.declare import Bound, Parameter, Value
from harness.jsontypes import JSON
from matrix import workloads
from matrix.parameters.declaring import FREE, on_off
from matrix.parameters.tensorrt.declaring import REUSE, engine, request
from matrix.probes import inflight, trt_engine

MIB = 1 << 20
_OWN_SIZE: dict[str, JSON] = {"tensorrt.kv_cache.max_tokens": None}
"""The base's fixed size would decide alone."""
_WHOLE: dict[str, JSON] = {**REUSE, "tensorrt.kv_cache.enable_partial_reuse": False}
_WINDOW: dict[str, JSON] = {"tensorrt.kv_cache.max_attention_window": [32]}
_TWICE: dict[str, JSON] = {"tensorrt.enable_kv_cache_reuse": True}
"""Both at once: the second finds the first's last block in use."""
_ELSEWHERE: dict[str, JSON] = {"tensorrt.max_batch_size": 7}
"""An engine of its own, in whose cache no other cell left the same prompt."""

PARAMETERS: tuple[Parameter, ...] = (
    engine(
        "enable_kv_cache_reuse",
        inflight.block_reuse,
        *on_off(),
        companions={"batching.batch_size": 1},
        workload=workloads.REPEATED,
    ),
    engine(
        "gpu_memory_utilization",
        trt_engine.memory_share,
        Value(0.7, contrast=0.3),
        Value(0.9, contrast=0.3),
        companions=_OWN_SIZE,
        note="the share of what is free after loading, unlike vLLM's",
    ),
    engine("kv_cache.max_tokens", trt_engine.max_tokens, Value(4096), Value(16384)),
    engine(
        "kv_cache.max_gpu_total_bytes",
        trt_engine.max_bytes,
        Value(64 * MIB, contrast=128 * MIB),
        Value(256 * MIB, contrast=128 * MIB),
        companions=_OWN_SIZE,
    ),
    engine(
        "kv_cache.dtype",
        trt_engine.cache_dtype,
        Value("auto", contrast="fp8"),
        Value("fp8"),
        output=Bound(0.25),
    ),
    engine(
        "kv_cache.tokens_per_block",
        inflight.tokens_per_block,
        Value(32, contrast=64),
        Value(64),
        Value(128),
        companions=_WHOLE,
        workload=workloads.REPEATED,
    ),
    engine(
        "kv_cache.enable_partial_reuse",
        inflight.partial_reuse,
        *on_off(),
        companions=REUSE,
        workload=workloads.REPEATED,
    ),
    engine(
        "kv_cache.copy_on_partial_reuse",
        # two that start in the same step find nothing of each other
        replace(inflight.partial_reuse, decisive=False),
        Value(False, contrast=True),
        Value(True, contrast=False, companions=_ELSEWHERE),
        companions=_TWICE,
        workload=workloads.REPEATED,
    ),
    engine(
        "kv_cache.max_attention_window",
        trt_engine.windows,
        Value([32]),
        Value([32, 512]),
        output=FREE,
        workload=workloads.LONG,
    ),
    engine(
        "kv_cache.sink_token_length",
        trt_engine.sink_tokens,
        Value(4),
        output=FREE,
        companions=_WINDOW,
        workload=workloads.LONG,
        note="on the PyTorch path upstream drops it without a word",
    ),
    engine("kv_cache.host_cache_size", trt_engine.host_cache, Value(0, contrast=64 * MIB), Value(64 * MIB)),
    engine(
        "kv_cache.event_buffer_max_size",
        trt_engine.cache_events,
        Value(0, contrast=1024),
        Value(1024),
        companions={"tensorrt.enable_kv_cache_reuse": True},
    ),
    request(
        "cache_salt",
        inflight.cache_salt,
        # blocks of an earlier job under the same salt would be found
        Value(["a", "a"], contrast=["b", "c"]),
        Value(["a", "b"], companions=_ELSEWHERE),
        companions=REUSE,
        workload=workloads.REPEATED,
    ),
)
