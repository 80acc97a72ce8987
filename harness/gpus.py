"""The NVIDIA GPUs that this process may use: what `nvidia-smi` lists, as far as CUDA_VISIBLE_DEVICES allots it.

How CUDA reads the variable, from its programming guide (environment variables), the MIG user guide (device
enumeration) and `torch.cuda._parse_visible_devices` (2.13):

- An entry is an index, a UUID or the beginning of one ("GPU-…"), or a MIG instance ("MIG-…").
- The list ends at the first entry that names no device: nothing and -1 are such.
- A device that is named twice leaves none at all.
- A process uses one MIG instance, and no GPU besides.

Indices are those of `nvidia-smi`, in the order of the bus: hosts are told to count so (CUDA_DEVICE_ORDER).
NVIDIA_VISIBLE_DEVICES is for the container runtime, which gives a container no other GPUs: `nvidia-smi` lists no others
there, and outside of a container the variable does nothing.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from typing import Final, TypeAlias

from harness.jsontypes import JSON

VISIBLE: Final = "CUDA_VISIBLE_DEVICES"
ORDER: Final = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
"""Without it CUDA counts the fastest GPU first, where they differ, and `nvidia-smi` does not."""

Gpu: TypeAlias = dict[str, JSON]
"""A GPU or a MIG instance: index, name, uuid, memory_bytes, free_bytes, compute_capability, driver."""

_FIELDS: Final = ("index", "name", "uuid", "memory.total", "memory.free", "compute_cap", "driver_version")
_INDEX: Final = re.compile(r"\s*\+?(\d+)")
_LISTED: Final = re.compile(r"^(?:GPU \d+:|\s+MIG (?P<profile>\S+)\s+Device\s+\d+:).*\(UUID: (?P<uuid>[^)]+)\)")
_MIG: Final = "MIG-"


def gpus() -> list[JSON]:
    """What a process uses that is started as this one was."""
    there = allotted()
    first = next((gpu for gpu in there if _is_instance(gpu)), None)
    return [first] if first else [*there]


def allotted() -> list[Gpu]:
    """What processes started from this one may be given: every GPU, and of one in MIG mode every instance."""
    whole = _whole()
    instances = _instances(whole)
    variable = os.environ.get(VISIBLE)
    if variable is None:
        return [one for gpu in whole for one in (instances[str(gpu["uuid"])] or [gpu])]
    return _named(variable, whole, instances)


def _named(variable: str, whole: Sequence[Gpu], instances: dict[str, list[Gpu]]) -> list[Gpu]:
    found: list[Gpu] = []
    for entry in variable.split(","):
        gpu = _one(entry, whole, instances)
        if gpu is None:
            break
        if gpu in found:
            return []
        found.append(gpu)
    return found


def _one(entry: str, whole: Sequence[Gpu], instances: dict[str, list[Gpu]]) -> Gpu | None:
    """What an entry names; of a GPU in MIG mode its first instance."""
    if entry.startswith(_MIG):
        meant = [one for parts in instances.values() for one in parts if str(one["uuid"]).startswith(entry)]
    elif entry.startswith("GPU-"):
        meant = [gpu for gpu in whole if str(gpu["uuid"]).startswith(entry)]
    else:
        index = _INDEX.match(entry)
        meant = [gpu for gpu in whole if index and gpu["index"] == int(index[1])]
    if len(meant) != 1:
        return None
    return (instances.get(str(meant[0]["uuid"])) or meant)[0]


def _is_instance(gpu: Gpu) -> bool:
    return str(gpu["uuid"]).startswith(_MIG)


def _whole() -> list[Gpu]:
    """Every GPU, without a CUDA context being made. Memory in bytes; None where the driver does not tell."""
    found: list[Gpu] = []
    for line in _ask(f"--query-gpu={','.join(_FIELDS)}", "--format=csv,noheader,nounits"):
        cells = [cell.strip() for cell in line.split(",")]
        if len(cells) != len(_FIELDS):
            continue
        row = dict(zip(_FIELDS, cells, strict=True))
        found.append(
            {
                "index": int(row["index"]),
                "name": row["name"],
                "uuid": row["uuid"],
                "memory_bytes": _mebibytes(row["memory.total"]),
                "free_bytes": _mebibytes(row["memory.free"]),
                "compute_capability": row["compute_cap"],
                "driver": row["driver_version"],
            }
        )
    return found


def _instances(whole: Sequence[Gpu]) -> dict[str, list[Gpu]]:
    """UUID of a GPU to its MIG instances. How much memory one has is not told."""
    found: dict[str, list[Gpu]] = {str(gpu["uuid"]): [] for gpu in whole}
    of = {str(gpu["uuid"]): gpu for gpu in whole}
    parent: Gpu | None = None
    for line in _ask("-L") if whole else ():
        if not (listed := _LISTED.match(line)):
            continue
        if listed["profile"] is None:
            parent = of.get(listed["uuid"])
        elif parent is not None:
            name = f"{parent['name']} MIG {listed['profile']}"
            instance = {**parent, "name": name, "uuid": listed["uuid"], "memory_bytes": None, "free_bytes": None}
            found[str(parent["uuid"])].append(instance)
    return found


def _ask(*arguments: str) -> list[str]:
    """What `nvidia-smi` prints; nothing where there is none, or no driver."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    try:
        done = subprocess.run([tool, *arguments], capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    return done.stdout.splitlines()


def _mebibytes(text: str) -> int | None:
    return int(text) << 20 if text.isdigit() else None
