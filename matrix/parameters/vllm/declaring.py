"""vLLM's own parameters, and the engine that they are tried on."""

from __future__ import annotations

from harness.jsontypes import JSON
from matrix.parameters.declaring import Own
from matrix.sections import VLLM

OWN = Own("vllm", VLLM)
engine, request = OWN.engine, OWN.request

SMALL_ENGINE: dict[str, JSON] = {
    "vllm.enforce_eager": True,
    "vllm.max_model_len": 512,
    "vllm.kv_cache_memory_bytes": 64 << 20,
}
"""An engine that is up in a second. What one of these would hide withdraws it in its companions."""
