"""What a vLLM worker says of itself: a worker extension, so that it also speaks from other processes.

`LLM(worker_extension_cls=)` is upstream's own way to give workers further methods, which
`collective_rpc` then calls by name in every process that does work, however it was started
(https://docs.vllm.ai/en/latest/training/rlhf/). Nothing is replaced by something that
computes differently: scheduled steps and logits are noted as they pass.

Importing this module notes which weight files the loader opens.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

from harness.backends import torchside
from harness.backends.vllm import loading
from harness.backends.vllm.readback import describe_worker
from harness.backends.vllm.tape import Tape

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.jsontypes import JSON

QUALIFIED_NAME = f"{__name__}.Witness"

loading.watch()


class Witness:
    """Methods that every worker gets. Their names must not be any worker's own."""

    model_runner: Any
    rank: int

    def paramatrix_read_back(self) -> dict[str, JSON]:
        """What the live objects of this worker are using."""
        return describe_worker(self)

    def paramatrix_watch(self, instruments: list[str]) -> None:
        """Begin to note scheduled steps, and what else the instruments ask for."""
        self._paramatrix = Record(self.model_runner, frozenset(instruments))

    def paramatrix_seen(self) -> dict[str, JSON]:
        """Stop, and give what was noted."""
        return {"rank": int(self.rank), "pid": os.getpid(), **self._paramatrix.close()}


class Record:
    """What one worker sees while a job runs."""

    def __init__(self, runner: Any, instruments: frozenset[str]) -> None:
        self.runner = runner
        self.steps: list[dict[str, JSON]] = []
        torchside.reset_peak_memory()
        wants = instruments & {"scores", "logits"}
        self.tape = Tape(runner, scores="scores" in wants) if wants else None
        self.profiler = torchside.profiler() if "operators" in instruments else None
        self._execute: Callable[..., Any] = runner.execute_model
        runner.execute_model = self._noting
        if self.profiler is not None:
            self.profiler.__enter__()

    def _noting(self, scheduler_output: Any, *args: Any, **kwargs: Any) -> Any:
        tokens = scheduler_output.num_scheduled_tokens
        if tokens:
            drafts = scheduler_output.scheduled_spec_decode_tokens or {}
            self.steps.append(
                {
                    "at": time.perf_counter(),
                    "tokens": {str(request): int(count) for request, count in tokens.items()},
                    "drafts": {str(request): len(ids) for request, ids in drafts.items()},
                }
            )
        return self._execute(scheduler_output, *args, **kwargs)

    def close(self) -> dict[str, JSON]:
        """Put everything back as it was; what was noted."""
        seen: dict[str, JSON] = {"steps": list(self.steps), "memory": torchside.peak_memory()}
        if self.profiler is not None:
            self.profiler.__exit__(None, None, None)
            seen["operators"] = {event.key: int(event.count) for event in self.profiler.key_averages()}
        del self.runner.execute_model
        if self.tape is not None:
            seen |= self.tape.close()
        return seen
