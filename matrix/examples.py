"""How the rules' examples are run: short, and in a way that leaves only the rule to object."""

from __future__ import annotations

from harness.declare import Workload
from harness.jsontypes import JSON, Settings
from matrix import grammar, workloads
from matrix.parameters.pytorch import FEW_PAGES

_ONE = Workload("one-story", grammar.OPEN[:1], max_new_tokens=8, seeds=(0, 1))
"""One prompt, as upstream speculates with no more; its next words are open, so that sampling shows."""

_FILL_BATCHES = ("batching.", "pytorch.batch_size", "parallelism.", "pytorch.num_processes")


def examples(settings: Settings) -> tuple[Settings, Workload]:
    """Companions of an example, and what it generates."""
    companions: dict[str, JSON] = {}
    if "parallelism.strategy" in settings and "parallelism.degree" not in settings:
        # left out it means all devices; here two processes stand for them, with padded batches for each
        companions["parallelism.degree"] = 2
        if not settings.keys() & {"batching.batch_size", "batching.strategy", "pytorch.batch_size"}:
            companions["batching.batch_size"] = 4
    if settings.get("pytorch.cache_implementation") == "paged":
        companions |= FEW_PAGES
    batched = any(path.startswith(_FILL_BATCHES) for path in settings)
    return companions, workloads.SHUFFLED if batched else _ONE
