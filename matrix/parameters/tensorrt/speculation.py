"""Speculative decoding: by n-grams, and by a draft model."""

from __future__ import annotations

from harness.declare import Parameter, Value
from harness.jsontypes import JSON
from matrix import workloads
from matrix.parameters.tensorrt.declaring import engine, on_off
from matrix.probes import inflight
from matrix.variants import DRAFT

_NGRAM: dict[str, JSON] = {
    "tensorrt.speculative.decoding_type": "NGram",
    "tensorrt.speculative.max_draft_len": 3,
    "tensorrt.speculative.max_matching_ngram_size": 2,
}
_MODEL: dict[str, JSON] = {
    "tensorrt.speculative.decoding_type": "Draft_Target",
    "tensorrt.speculative.max_draft_len": 3,
    "tensorrt.speculative.speculative_model": "draft",
}
_AUTO: dict[str, JSON] = {"tensorrt.speculative.decoding_type": "AUTO"}


def _others(settings: dict[str, JSON], name: str) -> dict[str, JSON]:
    return {path: value for path, value in settings.items() if path != f"tensorrt.speculative.{name}"}


PARAMETERS: tuple[Parameter, ...] = (
    engine(
        "speculative.decoding_type",
        inflight.decoding_type,
        Value("NGram", companions=_others(_NGRAM, "decoding_type"), control=dict.fromkeys(_NGRAM)),
        Value(
            "Draft_Target", companions=_others(_MODEL, "decoding_type"), control=dict.fromkeys(_MODEL), variant=DRAFT
        ),
        Value("AUTO", control=dict.fromkeys(_AUTO)),
        workload=workloads.LOOPING_ONE,
        note="Eagle3 and MTP have no cells: they need heads trained for the model",
    ),
    engine(
        "speculative.max_draft_len",
        inflight.max_draft_len,
        Value(2, contrast=4),
        Value(4, contrast=2),
        companions=_others(_NGRAM, "max_draft_len"),
        workload=workloads.LOOPING_ONE,
    ),
    engine(
        "speculative.speculative_model",
        inflight.drafts,
        Value("draft", contrast="."),
        Value(".", contrast="draft", label="itself"),
        companions=_others(_MODEL, "speculative_model"),
        workload=workloads.VARIED,
        variant=DRAFT,
    ),
    engine(
        "speculative.max_concurrency",
        inflight.max_concurrency,
        Value(1),
        companions=_NGRAM,
        workload=workloads.LOOPING,
    ),
    engine(
        "speculative.max_matching_ngram_size",
        inflight.drafts,
        Value(1, contrast=4),
        Value(4, contrast=1),
        companions=_others(_NGRAM, "max_matching_ngram_size"),
        workload=workloads.VARIED,
    ),
    *(
        engine(f"speculative.{name}", inflight.drafts, *on_off(), companions=_NGRAM, workload=workloads.VARIED)
        for name in ("is_keep_all", "is_use_oldest", "is_public_pool")
    ),
)
