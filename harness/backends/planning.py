"""Which prompts are handed to a library together, and when, for libraries that batch whatever is in flight."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.backends.batching import batches
from harness.backends.pacing import schedule, traffic
from harness.backends.settings import take

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.backends.base import Calls, Declared

BATCHING = {
    "batching.batch_size": "size",
    "batching.strategy": "strategy",
    "batching.max_tokens_per_batch": "token_budget",
}
"""Request scope: `harness.backends.batching.Batching`."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Which prompts are handed over together, and when."""

    batches: tuple[tuple[int, ...], ...]
    moments: tuple[float, ...] | None
    """Seconds after the start at which each batch is due; then they share the engine in flight."""


def plan(settings: Declared, lengths: Sequence[int], calls: Calls, *, together: int) -> Plan:
    """Group prompts by their lengths in tokens; so many `together` where no setting says otherwise."""
    given = take(settings, BATCHING)
    paced = traffic(settings, calls)
    if given:
        formed = calls.own("batches", batches, lengths, **given)
    else:
        formed = batches(lengths, size=together if paced is None else 1)
    moments = None if paced is None else tuple(schedule(len(formed), paced))
    return Plan(tuple(tuple(batch) for batch in formed), moments)
