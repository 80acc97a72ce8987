"""What is noted while a job runs: the steps of the live executor, graph replays, upstream's own statistics.

Wrappers call the original with the same arguments and are taken away after the job. Where the
executor lives in another process, nothing is wrapped, and only what upstream reports is there.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any, Self

from harness.backends.tensorrt.readback import batch_size

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.backends.tensorrt.reads import Reads
    from harness.jsontypes import JSON

LATE_S = 0.3
"""Upstream delivers the statistics of a step a little after the step's output."""
KEPT = {
    "kvCacheStats": (
        "maxNumBlocks",
        "freeNumBlocks",
        "usedNumBlocks",
        "tokensPerBlock",
        "allocTotalBlocks",
        "allocNewBlocks",
        "reusedBlocks",
        "missedBlocks",
        "cacheHitRate",
    ),
    "inflightBatchingStats": (
        "numScheduledRequests",
        "numContextRequests",
        "numGenRequests",
        "numPausedRequests",
        "numCtxTokens",
        "microBatchId",
        "avgNumDecodedTokensPerIter",
    ),
    "staticBatchingStats": ("numScheduledRequests", "numContextRequests", "numCtxTokens", "numGenTokens"),
    "specDecodingStats": ("numDraftTokens", "numAcceptedTokens", "numRequestsWithDraftTokens", "acceptanceLength"),
}
PLAIN = ("iter", "iterLatencyMS", "numActiveRequests", "numQueuedRequests", "maxNumActiveRequests")
REQUEST = (
    "id",
    "stage",
    "contextPrefillPosition",
    "numGeneratedTokens",
    "scheduled",
    "paused",
    "allocNewBlocksPerRequest",
    "reusedBlocksPerRequest",
)
"""Of an iteration's statistics, what is kept."""


class Witness:
    """Notes one job; to be used as a context."""

    def __init__(self, llm: Any, reads: Reads) -> None:
        self.llm = llm
        self.reads = reads
        self.steps: list[list[list[int]]] = []
        """Of each step, see `scheduled`."""
        self.replays: Counter[int] | None = None
        self.iterations: list[dict[str, JSON]] = []
        self.events: int | None = None
        self._wrapped: list[tuple[Any, str]] = []

    def __enter__(self) -> Self:
        # of earlier jobs
        self._statistics(0.0)
        self._cache_events(0.0)
        executor: Any = getattr(getattr(self.llm, "_executor", None), "engine", None)
        if hasattr(executor, "model_engine"):
            self.reads("scheduled", lambda: self._wrap(executor.model_engine, "forward", self._forward))
            self.reads("cuda_graphs", lambda: self._watch_graphs(executor.model_engine.cuda_graph_runner))
        return self

    def __exit__(self, *_: object) -> None:
        for thing, name in self._wrapped:
            delattr(thing, name)
        self.iterations = [brief(item) for item in self._statistics(LATE_S)]
        self.events = self._cache_events(LATE_S)

    def resolved(self) -> dict[str, JSON]:
        """What was noted besides steps; what could not be is left out."""
        found: dict[str, JSON] = {}
        if self.iterations:
            found["iterations"] = list(self.iterations)
        if self.replays is not None:
            found["cuda_graphs"] = {"replays": {str(size): count for size, count in sorted(self.replays.items())}}
        if self.events is not None:
            found["cache_events"] = self.events
        return found

    def _watch_graphs(self, runner: Any) -> None:
        self._wrap(runner, "replay", self._replay)
        self.replays = Counter()

    def _wrap(self, thing: Any, name: str, noting: Callable[..., Any]) -> None:
        original = getattr(thing, name)

        def passed_through(*args: Any, **kwargs: Any) -> Any:
            noting(*args, **kwargs)
            return original(*args, **kwargs)

        setattr(thing, name, passed_through)
        self._wrapped.append((thing, name))

    def _forward(self, *args: Any, **kwargs: Any) -> None:
        batch = kwargs.get("scheduled_requests", args[0] if args else None)
        requests = self.reads("scheduled", lambda: scheduled(batch))
        if requests:
            self.steps.append(requests)

    def _replay(self, key: Any, *_: Any, **__: Any) -> None:
        if self.replays is not None:
            self.replays[self.reads("cuda_graphs", lambda: batch_size(key))] += 1

    def _statistics(self, wait_s: float) -> list[dict[str, Any]]:
        found = self.reads("iterations", lambda: list(self.llm.get_stats(timeout=wait_s)))
        return [json.loads(item) if isinstance(item, str) else dict(item) for item in found or ()]

    def _cache_events(self, wait_s: float) -> int | None:
        if not self.llm.args.kv_cache_config.event_buffer_max_size:
            return None
        found = self.reads("cache_events", lambda: len(list(self.llm.get_kv_cache_events(timeout=wait_s))))
        return None if found is None else int(found)


def scheduled(batch: Any) -> list[list[int]]:
    """[client's request id, tokens, drafted tokens of these] of each real request in a step."""
    prompts = [request for request in batch.context_requests if not _filler(request)]
    going_on = [request for request in batch.generation_requests if not _filler(request)]
    return [
        *([_client(request), int(request.context_chunk_size), 0] for request in prompts),
        *([_client(request), 1 + _drafts(request), _drafts(request)] for request in going_on),
    ]


def _drafts(request: Any) -> int:
    return len(getattr(request, "py_draft_tokens", None) or ())


def _filler(request: Any) -> bool:
    """Whether it only fills a captured batch, or the share of a rank without work."""
    return any(getattr(request, f"is_{kind}_dummy", False) for kind in ("attention_dp", "cuda_graph"))


def _client(request: Any) -> int:
    """The id by which `LLM.generate` knows the request."""
    known = getattr(request, "py_client_id", None)
    return int(request.client_id if known is None else known)


def brief(iteration: dict[str, Any]) -> dict[str, JSON]:
    """An iteration's statistics without what no probe asks for."""
    found: dict[str, JSON] = {name: iteration[name] for name in PLAIN if name in iteration}
    for group, names in KEPT.items():
        if isinstance(given := iteration.get(group), dict):
            found[group] = {name: given[name] for name in names if name in given}
    if requests := iteration.get("requestStats"):
        found["requestStats"] = [{name: item[name] for name in REQUEST if name in item} for item in requests]
    return found
