"""What torch and the system tell of a process, for the backends that run on torch."""

from __future__ import annotations

import resource
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.jsontypes import JSON


def profiler() -> Any:
    """The profiler of torch on every device there is, not started."""
    from torch.profiler import ProfilerActivity, profile, supported_activities

    wished = (ProfilerActivity.CPU, ProfilerActivity.CUDA)
    return profile(activities=[kind for kind in wished if kind in supported_activities()])


def synchronise() -> None:
    """Wait for the accelerator: its work is queued, and times without this are wrong."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()


def peak_memory() -> dict[str, JSON]:
    """Peak memory of this process so far, in bytes: on the host, and on each accelerator that it uses."""
    import torch

    seen: dict[str, JSON] = {"process_peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}
    if torch.cuda.is_initialized():
        for index in range(torch.cuda.device_count()):
            seen[f"cuda:{index}_peak"] = int(torch.cuda.max_memory_allocated(index))
    return seen


def hub_snapshot(files: Iterable[str]) -> str | None:
    """The snapshot (a commit) of a hub cache that weight files came from, None outside of one."""
    paths = (Path(name).parts for name in files)
    return next((parts[parts.index("snapshots") + 1] for parts in paths if "snapshots" in parts[:-2]), None)
