"""Speculative decoding: by n-grams, and by a draft model."""

from __future__ import annotations

from harness.declare import Parameter, Value
from harness.jsontypes import JSON
from matrix import workloads
from matrix.parameters.declaring import on_off
from matrix.parameters.tensorrt.declaring import engine
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


_ALONE: dict[str, JSON] = {"batching.batch_size": 1}
"""Which requests share a step is the moment's, so drafts are compared of one at a time."""
_FORGETS: dict[str, JSON] = {**_NGRAM, **_ALONE, "tensorrt.speculative.is_public_pool": False}
"""A public pool keeps what earlier jobs on the same engine put there."""


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
        companions={**_others(_MODEL, "speculative_model"), **_ALONE},
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
        companions=_others(_FORGETS, "max_matching_ngram_size"),
        workload=workloads.VARIED,
    ),
    *(
        engine(f"speculative.{name}", inflight.drafts, *on_off(), companions=_FORGETS, workload=workloads.VARIED)
        for name in ("is_keep_all", "is_use_oldest")
    ),
    engine(
        "speculative.is_public_pool",
        inflight.drafts,
        Value(False, contrast=True),
        # an engine of its own: that of the control above has a pool already
        Value(True, contrast=False, companions={"tensorrt.speculative.max_draft_len": 4}),
        companions={**_NGRAM, **_ALONE},
        workload=workloads.VARIED,
    ),
)
