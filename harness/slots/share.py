"""What of a machine one host may use."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass

from harness.gpus import VISIBLE


@dataclass(frozen=True, slots=True)
class Share:
    """What of a machine one host and its engines may use."""

    gpus: tuple[str, ...]
    """As CUDA_VISIBLE_DEVICES names them; none on a machine without."""
    cpus: tuple[int, ...]
    """Ids of logical CPUs."""

    def environment(self) -> dict[str, str]:
        """The variables by which a host is told."""
        return {VISIBLE: ",".join(self.gpus)} if self.gpus else {}

    @contextlib.contextmanager
    def affinity(self) -> Iterator[None]:
        """What this thread starts meanwhile runs on these CPUs only."""
        before = os.sched_getaffinity(0)
        os.sched_setaffinity(0, self.cpus)
        try:
            yield
        finally:
            os.sched_setaffinity(0, before)
