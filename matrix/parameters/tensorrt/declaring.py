"""TensorRT-LLM's own parameters, and the engines that they are tried on."""

from __future__ import annotations

from harness.declare import Bound, OutputRule, Parameter, Probe, Value, Variant, Workload
from harness.jsontypes import JSON
from matrix.parameters.columns import CUDA
from matrix.parameters.declaring import LOSSLESS, Own
from matrix.sections import TENSORRT

OWN = Own("tensorrt", TENSORRT, needs=CUDA)
engine, request = OWN.engine, OWN.request

SMALL_TENSORRT: dict[str, JSON] = {
    "fp_precision": "float16",
    "tensorrt.max_seq_len": 512,
    "tensorrt.max_batch_size": 8,
    "tensorrt.kv_cache.max_tokens": 8192,
    "tensorrt.enable_kv_cache_reuse": False,
    "tensorrt.cuda_graph.enabled": False,
}
"""An engine that is up soon, with nothing left in its cache by an earlier job; its kernels have no float32. What one
of these would hide withdraws it in its companions."""
WITH_GRAPHS: dict[str, JSON] = {"tensorrt.cuda_graph.enabled": None}
"""The base captures no CUDA graphs."""
ENGINE_PATH: dict[str, JSON] = {**WITH_GRAPHS, "tensorrt.backend": "tensorrt"}
"""What builds a TensorRT engine, and refuses to be told of CUDA graphs."""
_TENSORRT = (*CUDA, "package:tensorrt")
"""Versions that have lost the engine path (NVIDIA/TensorRT-LLM#15918) no longer depend on TensorRT itself."""
REUSE: dict[str, JSON] = {"tensorrt.enable_kv_cache_reuse": True, "batching.batch_size": 1}
"""The base reuses no blocks. One at a time, so that a repeated prompt comes when the cache already holds it."""


def built(
    name: str,
    probe: Probe,
    *values: Value,
    output: OutputRule | Bound = LOSSLESS,
    companions: dict[str, JSON] | None = None,
    workload: Workload | None = None,
    variant: Variant | None = None,
    note: str = "",
) -> Parameter:
    """A parameter of the engine path: cells of it build engines, and say where it ends."""
    told = "engine path (tensorrt.backend=tensorrt) of versions up to the 1.2 line"
    return engine(
        name,
        probe,
        *values,
        output=output,
        companions={**ENGINE_PATH, **(companions or {})},
        workload=workload,
        variant=variant,
        needs=_TENSORRT,
        note=f"{told}; {note}" if note else told,
    )
