"""What a vLLM worker says of itself: a worker extension, so that it also speaks from other processes.

`LLM(worker_extension_cls=)` is upstream's own way to give workers further methods, which
`collective_rpc` then calls by name in every process that does work, however it was started
(https://docs.vllm.ai/en/latest/training/rlhf/). Nothing is replaced by something that
computes differently: scheduled steps and logits are noted as they pass.

Importing this module notes which weight files the loader opens, and how much memory the worker finds.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from harness.backends.vllm import devicememory, loading
from harness.backends.vllm.readback import describe_worker
from harness.backends.vllm.watching import Record

if TYPE_CHECKING:
    from harness.jsontypes import JSON

QUALIFIED_NAME = f"{__name__}.Witness"

loading.watch()
devicememory.watch()


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
