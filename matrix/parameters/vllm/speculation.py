"""Speculative decoding: by n-grams of the prompt, and by a draft model."""

from __future__ import annotations

from harness.declare import Parameter, Value
from harness.jsontypes import JSON
from matrix import workloads
from matrix.parameters.vllm.declaring import engine
from matrix.probes import scheduling
from matrix.variants import DRAFT

_NGRAM: dict[str, JSON] = {
    "vllm.speculative.method": "ngram",
    "vllm.speculative.num_speculative_tokens": 3,
    "vllm.speculative.prompt_lookup_min": 2,
    "vllm.speculative.prompt_lookup_max": 3,
}
_MODEL: dict[str, JSON] = {
    "vllm.speculative.method": "draft_model",
    "vllm.speculative.model": "draft",
    "vllm.speculative.num_speculative_tokens": 3,
}
_NO_NGRAM: dict[str, JSON] = dict.fromkeys(_NGRAM)
_NO_MODEL: dict[str, JSON] = dict.fromkeys(_MODEL)


def _others(settings: dict[str, JSON], name: str) -> dict[str, JSON]:
    return {path: value for path, value in settings.items() if path != f"vllm.speculative.{name}"}


PARAMETERS: tuple[Parameter, ...] = (
    engine(
        "speculative.method",
        scheduling.method,
        Value("ngram", companions=_others(_NGRAM, "method"), control=_NO_NGRAM),
        Value("draft_model", companions=_others(_MODEL, "method"), control=_NO_MODEL, variant=DRAFT),
        workload=workloads.LOOPING_ONE,
    ),
    engine(
        "speculative.model",
        scheduling.speculates,
        Value("draft", contrast="."),
        Value(".", contrast="draft", label="itself"),
        companions=_others(_MODEL, "model"),
        workload=workloads.VARIED,
        variant=DRAFT,
    ),
    engine(
        "speculative.num_speculative_tokens",
        scheduling.drafted_tokens,
        Value(2, contrast=4),
        Value(4, contrast=2),
        companions=_others(_NGRAM, "num_speculative_tokens"),
        workload=workloads.LOOPING_ONE,
    ),
    engine(
        "speculative.prompt_lookup_min",
        scheduling.lookup_min,
        Value(1, contrast=5),
        Value(5, contrast=1),
        companions={**_NGRAM, "vllm.speculative.prompt_lookup_max": 5},
        workload=workloads.VARIED,
    ),
    engine(
        "speculative.prompt_lookup_max",
        scheduling.lookup_max,
        Value(2, contrast=6),
        Value(6, contrast=2),
        companions={**_NGRAM, "vllm.speculative.prompt_lookup_min": 2},
        workload=workloads.VARIED,
    ),
)
