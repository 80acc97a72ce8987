"""Which prompts are handed to a library together, and when, for libraries that batch whatever is in flight."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.backends.batching import batches
from harness.backends.pacing import schedule, traffic
from harness.backends.settings import take

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

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


async def concurrently(
    planned: Plan,
    one: Callable[[int], Awaitable[None]],
    *,
    start: float,
    paced: bool,
    arrived: Callable[[tuple[int, ...]], None],
) -> None:
    """Every prompt by itself: concurrently in a batch, one batch after the other unless paced.

    Args:
        planned: which prompts go together, and when.
        one: hands the prompt of an index over, and returns when all of its output is there.
        start: when the pass began, by `time.perf_counter`.
        paced: whether batches wait until they are due, and their arrivals are noted.
        arrived: notes that a batch is handed over now.
    """
    moments = planned.moments if paced else None
    running: list[asyncio.Future[None]] = []
    for place, batch in enumerate(planned.batches):
        if moments is not None:
            await asyncio.sleep(max(0.0, start + moments[place] - time.perf_counter()))
        if paced:
            arrived(batch)
        running += [asyncio.ensure_future(one(index)) for index in batch]
        if moments is None:
            await asyncio.gather(*running)
    await asyncio.gather(*running)


def token_ids(model: str, texts: Sequence[str]) -> tuple[list[Any], list[int]]:
    """What is handed to an engine that has no tokenizer, and its lengths in tokens."""
    from transformers import AutoTokenizer

    ids = AutoTokenizer.from_pretrained(model)(list(texts))["input_ids"]
    return [{"prompt_token_ids": own} for own in ids], [len(own) for own in ids]
