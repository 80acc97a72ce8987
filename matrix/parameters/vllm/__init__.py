"""`vllm.*`: settings that only vLLM has."""

from __future__ import annotations

from matrix.parameters.vllm import cache, execution, loading, requests, scheduling, speculation

PARAMETERS = (
    *loading.PARAMETERS,
    *execution.PARAMETERS,
    *cache.PARAMETERS,
    *scheduling.PARAMETERS,
    *speculation.PARAMETERS,
    *requests.PARAMETERS,
)
