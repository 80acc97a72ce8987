"""The paged cache of keys and values: its blocks, types, size and reuse."""

from __future__ import annotations

from harness.declare import Bound, Parameter, Value
from harness.jsontypes import JSON
from matrix import workloads
from matrix.parameters.columns import CUDA
from matrix.parameters.declaring import FREE, LOSSLESS, on_off
from matrix.parameters.vllm.declaring import engine, request
from matrix.probes import caches, kernels, scheduling
from matrix.variants import SLIDING

_ONE_BY_ONE: dict[str, JSON] = {"batching.batch_size": 1}
"""So that a repeated prompt comes when the cache already holds it."""
_SMALL_BLOCKS: dict[str, JSON] = {**_ONE_BY_ONE, "vllm.block_size": 32}
_OWN_SIZE: dict[str, JSON] = {"vllm.kv_cache_memory_bytes": None}
"""The base's fixed size would decide alone."""
_SMALL_SHARE: dict[str, JSON] = {"vllm.gpu_memory_utilization": 0.1}
"""What decides where the size is not handed over: upstream's own share is more than a busy machine has."""
MIB = 1 << 20
_SIXTEEN_BITS = ("bfloat16", "float16")

PARAMETERS: tuple[Parameter, ...] = (
    engine(
        "block_size",
        scheduling.block_size,
        Value(8),
        Value(16),
        Value(32, contrast=64),
        Value(64, contrast=32),
        Value(128, contrast=32),
        companions=_ONE_BY_ONE,
        workload=workloads.BLOCKWISE,
        note="which sizes are legal depends on the attention backend; that of the CPU takes multiples of 32",
    ),
    engine(
        "enable_prefix_caching",
        scheduling.prefix_caching,
        *on_off(),
        companions=_SMALL_BLOCKS,
        workload=workloads.REPEATED,
    ),
    engine(
        "prefix_caching_hash_algo",
        scheduling.prefix_hash,
        Value("sha256", contrast="sha256_cbor"),
        Value("sha256_cbor", contrast="sha256"),
        Value("xxhash", needs=("package:xxhash",)),
        companions=_SMALL_BLOCKS,
        workload=workloads.REPEATED,
    ),
    request(
        "skip_reading_prefix_cache",
        scheduling.skip_reading,
        *on_off(),
        output=LOSSLESS,
        companions=_SMALL_BLOCKS,
        workload=workloads.REPEATED,
    ),
    engine(
        "gpu_memory_utilization",
        caches.memory_share,
        Value(0.5, contrast=0.1),
        Value(0.6, contrast=0.1),
        Value(0.7, contrast=0.1),
        companions=_OWN_SIZE,
        note="on a CPU: the share of the machine's memory",
    ),
    engine(
        "kv_cache_memory_bytes",
        caches.cache_bytes,
        Value(32 * MIB, contrast=64 * MIB),
        Value(128 * MIB, contrast=64 * MIB),
        companions=_SMALL_SHARE,
        workload=workloads.CROWD,
    ),
    engine("num_gpu_blocks_override", caches.blocks, Value(16), Value(64), workload=workloads.CROWD),
    engine(
        "kv_cache_dtype",
        caches.cache_dtype,
        Value("auto", contrast="fp8"),
        *(Value(name, contrast="fp8", companions={"fp_precision": name}) for name in _SIXTEEN_BITS),
        *(Value(name, label=f"{name}[model in float32]") for name in _SIXTEEN_BITS),
        Value("fp8"),
        Value("fp8_e4m3", contrast="fp8_e5m2"),
        Value("fp8_e5m2", contrast="fp8_e4m3"),
        Value("int8_per_token_head"),
        output=Bound(0.25),
        note="the CPU kernels of vLLM 0.32 take a cache of either 16-bit type for one of the model's own type, "
        "whatever that is",
    ),
    engine(
        "kv_offloading_size",
        caches.kv_offloading,
        Value(0.1),
        note="GiB of host memory for cache blocks; takes the place of swap_space",
    ),
    engine(
        "kv_offloading_backend",
        caches.kv_offloading,
        Value("native", control={"vllm.kv_offloading_size": None}),
        companions={"vllm.kv_offloading_size": 0.1},
        needs=CUDA,
    ),
    engine("swap_space", caches.blocks, Value(0.0), Value(4.0), note="removed from vLLM in 0.18.0"),
    engine(
        "disable_sliding_window",
        caches.sliding_window,
        *on_off(),
        output=FREE,
        workload=workloads.LOOPING,
        # without its window the model takes no more tokens than the window has: see max_model_len
        companions={"vllm.max_model_len": None},
        variant=SLIDING,
    ),
    engine(
        "disable_cascade_attn",
        kernels.cascade,
        *on_off(),
        needs=CUDA,
    ),
)
