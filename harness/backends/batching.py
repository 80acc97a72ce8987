"""Which prompts go to the library together.

Libraries that take a padded batch leave its making to the caller, so it is done here, the
same way for every backend that needs it. Nothing in this module knows a library.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

STRATEGIES = ("static", "dynamic", "sorted_static", "sorted_dynamic")


@dataclass(frozen=True, slots=True)
class Batching:
    """How to group prompts. `None` for `size` means one prompt a batch, or no limit if dynamic."""

    strategy: str = "static"
    size: int | None = None
    token_budget: int | None = None
    """Most padded prompt tokens in a batch (rows times the longest), dynamic only."""

    def __post_init__(self) -> None:
        if self.strategy not in STRATEGIES:
            raise ValueError(f"batching strategy {self.strategy!r}: expected one of {', '.join(STRATEGIES)}")
        if self.size is not None and self.size < 1:
            raise ValueError(f"batch size {self.size}: expected at least 1")
        if self.dynamic and self.token_budget is None:
            raise ValueError(f"batching strategy {self.strategy!r} needs max_tokens_per_batch, which is not set")
        if not self.dynamic and self.token_budget is not None:
            raise ValueError(
                f"max_tokens_per_batch={self.token_budget} has no meaning for strategy {self.strategy!r}: "
                "use dynamic or sorted_dynamic"
            )

    @property
    def dynamic(self) -> bool:
        """Whether a token budget, rather than a row count, closes a batch."""
        return self.strategy.endswith("dynamic")

    @property
    def sorts(self) -> bool:
        """Whether prompts are ordered by length first."""
        return self.strategy.startswith("sorted_")


def batches(lengths: Sequence[int], **given: Any) -> list[list[int]]:
    """`form_batches` as the settings ask for it: fields of `Batching`."""
    return form_batches(lengths, Batching(**given))


def form_batches(lengths: Sequence[int], batching: Batching) -> list[list[int]]:
    """Indexes of `lengths` (prompt lengths in tokens) grouped into batches, each index once.

    A prompt that alone exceeds the token budget still goes, as a batch of its own.
    """
    order = list(range(len(lengths)))
    if batching.sorts:
        order.sort(key=lambda index: lengths[index])
    if not batching.dynamic:
        size = batching.size or 1
        return [order[start : start + size] for start in range(0, len(order), size)]
    budget = batching.token_budget or 0
    batches: list[list[int]] = []
    width = 0
    for index in order:
        wider = max(width, lengths[index])
        rows = len(batches[-1]) + 1 if batches else 0
        full = batching.size is not None and rows > batching.size
        if not batches or full or rows * wider > budget:
            batches.append([index])
            width = lengths[index]
        else:
            batches[-1].append(index)
            width = wider
    return batches
