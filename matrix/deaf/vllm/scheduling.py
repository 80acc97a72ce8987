"""What schedules requests and keeps their cache in vLLM, made deaf; and what drafts.

Each function stands for itself in an engine process of its own (see `harness.declare.Deaf`).
"""

from __future__ import annotations

import copy
from typing import Any


def _after(made: Any) -> None:
    """Change each scheduler once it is made; what it was given stays as it is."""
    from vllm.v1.core.sched.scheduler import Scheduler

    original = Scheduler.__init__

    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        made(self)

    Scheduler.__init__ = init


def max_num_seqs() -> None:
    """Half as many requests run together as may."""

    def halve(scheduler: Any) -> None:
        scheduler.max_num_running_reqs //= 2
        if hasattr(scheduler, "max_num_active_reqs"):  # 0.32 admits by this one
            scheduler.max_num_active_reqs //= 2

    _after(halve)


def max_num_batched_tokens() -> None:
    """Steps take in half as many tokens as they may."""

    def halve(scheduler: Any) -> None:
        scheduler.max_num_scheduled_tokens //= 2

    _after(halve)


def _config(name: str, change: Any) -> None:
    def other(scheduler: Any) -> None:
        own = copy.copy(scheduler.scheduler_config)
        object.__setattr__(own, name, change(getattr(own, name)))
        scheduler.scheduler_config = own

    _after(other)


def chunked_prefill() -> None:
    """Prompts are split where they should not be, and not where they may."""
    _config("enable_chunked_prefill", lambda enabled: not enabled)


def long_prefill() -> None:
    """However long a prompt is, a step takes in all of it that it has room for."""
    _config("long_prefill_token_threshold", lambda _: 0)


def _queue(policy: str) -> None:
    from vllm.v1.core.sched import scheduler

    original = scheduler.create_request_queue

    def create(_asked: Any) -> Any:
        return original(scheduler.SchedulingPolicy(policy))

    scheduler.create_request_queue = create


def comes_first_served() -> None:
    """Requests wait in the order in which they came."""
    _queue("fcfs")


def by_priority() -> None:
    """Requests wait in the order of their priorities, whatever the policy."""
    _queue("priority")


def finds_nothing() -> None:
    """Nothing is looked for in the prefix cache."""
    _looks(False)


def finds_all() -> None:
    """The prefix cache is looked into for every request."""
    _looks(True)


def _looks(looks: bool) -> None:
    from vllm.v1.request import Request

    assert callable(Request.get_skip_reading_prefix_cache)
    Request.get_skip_reading_prefix_cache = lambda _self: not looks


def hashes_by_sha256() -> None:
    """Blocks are hashed by sha256, whatever function was named."""
    _hash("sha256")


def hashes_by_sha256_cbor() -> None:
    """Blocks are hashed by sha256_cbor, whatever function was named."""
    _hash("sha256_cbor")


def _hash(name: str) -> None:
    from vllm.v1.engine import core

    original = core.get_hash_fn_by_name
    core.get_hash_fn_by_name = lambda _asked: original(name)


def half_the_blocks() -> None:
    """Half of the cache's blocks are handed out."""
    from vllm.v1.core.block_pool import BlockPool

    original = BlockPool.__init__

    def init(self: Any, num_gpu_blocks: int, *args: Any, **kwargs: Any) -> None:
        original(self, num_gpu_blocks // 2, *args, **kwargs)

    BlockPool.__init__ = init


def memory_share() -> None:
    """The cache takes 1 GiB, whatever share of the memory is given."""
    from vllm.v1.worker.cpu_worker import CPUWorker

    original = CPUWorker.determine_available_memory

    def available(self: Any) -> int:
        original(self)
        return 1 << 30

    CPUWorker.determine_available_memory = available


def one_adapter() -> None:
    """Requests of one adapter share a step, however many may."""

    def narrow(scheduler: Any) -> None:
        own = copy.copy(scheduler.lora_config)
        object.__setattr__(own, "max_loras", 1)
        scheduler.lora_config = own

    _after(narrow)


def drafts_nothing() -> None:
    """Nothing is drafted from the prompt."""
    # where upstream's own proposer is imported this early, it cannot start its worker (0.32)
    from vllm.v1.worker.gpu_model_runner import GPUModelRunner

    def propose(self: Any, scheduled: Any, sampled: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: ARG001
        return [[] for _ in sampled]

    assert callable(GPUModelRunner.propose_draft_token_ids)
    GPUModelRunner.propose_draft_token_ids = propose
