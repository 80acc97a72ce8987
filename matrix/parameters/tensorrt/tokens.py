"""Which token comes next: penalties, biases, what may not come, and a top_p that decays."""

from __future__ import annotations

from harness.declare import Parameter, Value
from harness.jsontypes import JSON
from matrix import workloads
from matrix.parameters.sampling import NEUTRAL
from matrix.parameters.tensorrt.declaring import request
from matrix.probes import choices, drawn, requests, trt_results
from matrix.variants import SHIPPED

_TOP_P: dict[str, JSON] = {**NEUTRAL, "decoder.top_p": drawn.TOP_P}
_DECAYING: dict[str, JSON] = {**_TOP_P, "tensorrt.top_p_decay": drawn.DECAY}
_DOT, _FIVE, _THE = 260, 21, 262
_SAMPLER = "TorchSampler, the default, has no decay in 1.2; sampler_type=TRTLLMSampler has"

PARAMETERS: tuple[Parameter, ...] = (
    request("min_tokens", choices.min_tokens, Value(8), Value(12), workload=workloads.SUMS),
    request(
        "presence_penalty",
        choices.presence_penalty,
        Value(0.0, contrast=1.5),
        Value(1.5),
        Value(-1.5),
        workload=workloads.REPEATS,
    ),
    request(
        "frequency_penalty",
        choices.frequency_penalty,
        Value(0.0, contrast=1.5),
        Value(1.5),
        Value(-1.5),
        workload=workloads.REPEATS,
    ),
    request(
        "embedding_bias",
        choices.embedding_bias,
        Value({str(_DOT): -100.0}),
        Value({str(_DOT): 12.0}),
        variant=SHIPPED,
    ),
    request("bad", requests.bad_words, Value(["5"]), variant=SHIPPED),
    request("bad_token_ids", trt_results.bad_token_ids, Value([_FIVE]), variant=SHIPPED),
    request(
        "top_p_decay",
        drawn.top_p_decay,
        Value(drawn.DECAY),
        companions=_TOP_P,
        workload=workloads.DRAWS,
        note=_SAMPLER,
    ),
    request(
        "top_p_min",
        drawn.top_p_min,
        Value(0.5),
        companions=_DECAYING,
        workload=workloads.DRAWS,
        note=_SAMPLER,
    ),
    request(
        "top_p_reset_ids",
        drawn.top_p_reset,
        Value(_THE),
        companions=_DECAYING,
        workload=workloads.DRAWS,
        variant=SHIPPED,
        note=_SAMPLER,
    ),
    request(
        "beam_search_diversity_rate",
        trt_results.diversity,
        Value(1.0),
        companions={"decoder.beam_search.num_beams": 4},
        workload=workloads.BEAMS,
    ),
)
