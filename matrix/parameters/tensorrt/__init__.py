"""`tensorrt.*`: settings that only TensorRT-LLM has."""

from __future__ import annotations

from matrix.parameters.tensorrt import (
    adapters,
    building,
    cache,
    execution,
    graphs,
    loading,
    quantization,
    requests,
    scheduling,
    speculation,
    tokens,
)

PARAMETERS = (
    *loading.PARAMETERS,
    *adapters.PARAMETERS,
    *execution.PARAMETERS,
    *graphs.PARAMETERS,
    *cache.PARAMETERS,
    *scheduling.PARAMETERS,
    *speculation.PARAMETERS,
    *requests.PARAMETERS,
    *tokens.PARAMETERS,
    *quantization.PARAMETERS,
    *building.PARAMETERS,
)
