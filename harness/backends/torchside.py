"""What torch and the system tell of a process, for the backends that run on torch."""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from harness.jsontypes import JSON


def profiler() -> Any:
    """The profiler of torch on every device there is, not started."""
    from torch.profiler import ProfilerActivity, profile, supported_activities

    wished = (ProfilerActivity.CPU, ProfilerActivity.CUDA)
    return profile(activities=[kind for kind in wished if kind in supported_activities()])


def synchronise() -> None:
    """Wait for the accelerators: their work is queued, and times without this are wrong.

    A process that has not woken CUDA has queued nothing, and must not wake it for this.
    """
    import torch

    for index in _used():
        torch.cuda.synchronize(index)


def gpu_uuids() -> list[JSON]:
    """UUIDs, as NVML has them, of the GPUs that this process has memory on."""
    import torch

    return [f"GPU-{torch.cuda.get_device_properties(index).uuid}" for index in _used()]


def all_gpu_uuids(described: Iterable[Mapping[str, JSON]]) -> list[JSON]:
    """What several processes say they use, each once."""
    return list(dict.fromkeys(uuid for own in described for uuid in cast("Sequence[JSON]", own["gpu_uuids"])))


def _used() -> list[int]:
    import torch

    if not torch.cuda.is_initialized():
        return []
    return [index for index in range(torch.cuda.device_count()) if torch.cuda.memory_reserved(index)]


def reset_peak_memory() -> None:
    """Count the peaks of this process's memory from here."""
    import torch

    with contextlib.suppress(OSError):  # where this is not allowed, the peak is that since the process began
        Path("/proc/self/clear_refs").write_text("5")  # proc(5): resets VmHWM
    for index in _used():
        torch.cuda.reset_peak_memory_stats(index)


def peak_memory() -> dict[str, JSON]:
    """This process's entry of `Observation.memory`, since the peaks were reset."""
    import torch

    seen: dict[str, JSON] = {"pid": os.getpid()}
    status = Path("/proc/self/status").read_text()
    for name, field in (("host_peak", "VmHWM"), ("host_mapped", "VmSize")):
        if found := re.search(rf"{field}:\s+(\d+) kB", status):
            seen[name] = int(found[1]) * 1024
    if used := _used():
        seen["device_peak"] = sum(int(torch.cuda.max_memory_allocated(index)) for index in used)
    return seen


def hub_snapshot(files: Iterable[str]) -> str | None:
    """The snapshot (a commit) of a hub cache that weight files came from, None outside of one."""
    paths = (Path(name).parts for name in files)
    return next((parts[parts.index("snapshots") + 1] for parts in paths if "snapshots" in parts[:-2]), None)


def of_each_kind(shown: Iterable[tuple[str, JSON]]) -> dict[str, JSON]:
    """What modules or weights show, of all layers together: a kind is a path without numbers."""
    kinds: dict[str, list[JSON]] = {}
    for path, value in shown:
        kinds.setdefault(_parts(path, numbers=False), []).append(value)
    return {kind: in_common(values) for kind, values in kinds.items()}


DIFFERING = "differing"
"""The key under which the values are that several parts do not have in common."""


def in_common(values: Iterable[JSON]) -> JSON:
    """The one value that all show; where they differ, each once under `DIFFERING`, which is no part's own value."""
    found: list[JSON] = []
    for value in values:
        if value not in found:
            found.append(value)
    return found[0] if len(found) == 1 else {DIFFERING: found}


def decoder_layers(model: Any) -> dict[str, JSON]:
    """The layers of the model that are in this process: the numbers in their paths, by what is left of these."""
    found: dict[str, list[JSON]] = {}
    for path, module in model.named_modules():
        if type(module).__name__.endswith("DecoderLayer"):
            found.setdefault(_parts(path, numbers=False), []).append(_parts(path, numbers=True))
    return {**found}


def _parts(path: str, *, numbers: bool) -> str:
    return ".".join(part for part in path.split(".") if part.isdigit() is numbers)
