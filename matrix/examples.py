"""How the rules' examples are run: short, and in a way that leaves only the rule to object."""

from __future__ import annotations

from harness.declare import Workload
from harness.jsontypes import JSON, Settings
from matrix import grammar
from matrix.parameters.pytorch import FEW_PAGES

_ONE = Workload("one-story", grammar.OPEN[:1], max_new_tokens=8, seeds=(0, 1))
"""One prompt, as upstream speculates with no more; its next words are open, so that sampling shows."""

_SEVERAL = Workload("sums-of-two-lengths", grammar.VARIED[:4], max_new_tokens=4)
"""Prompts that fill batches, and need padding in them."""

_FILL_BATCHES = ("batching.", "pytorch.batch_size", "parallelism.", "pytorch.num_processes")


def examples(settings: Settings) -> tuple[Settings, Workload]:
    """Companions of an example, and what it generates."""
    companions: dict[str, JSON] = {}
    if "parallelism.strategy" in settings and "parallelism.degree" not in settings:
        # left out it means all devices; here two processes stand for them
        companions["parallelism.degree"] = 2
    if settings.get("pytorch.cache_implementation") == "paged":
        companions |= FEW_PAGES
    batched = any(path.startswith(_FILL_BATCHES) for path in settings)
    return companions, _SEVERAL if batched else _ONE
