"""What is installed and which devices there are, as seen by one interpreter. Imports no library."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

from harness.jsontypes import JSON

_GPU_FIELDS = ("index", "name", "uuid", "memory.total", "memory.free", "compute_cap", "driver_version")


def snapshot(distributions: Iterable[str]) -> dict[str, JSON]:
    """Versions of `distributions` (None where absent), the interpreter, CPU, memory and GPUs.

    Memory is in bytes. GPUs come from `nvidia-smi`, so no CUDA context is made.
    """
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: version(name) for name in distributions},
        "installed": dict(sorted(_installed().items())),
        "cpu": _cpu_name(),
        "cpus": len(os.sched_getaffinity(0)),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "available_bytes": _available_bytes(),
        "gpus": gpus(),
        "executable": Path(sys.executable).name,
    }


def version(distribution: str) -> str | None:
    """Installed version of a distribution, or None."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


STAND_IN = "standin"
"""Local part of the version of a library that only plays the part of one: `1.2.1+standin`."""


def is_stand_in(version: str | None) -> bool:
    """Whether a version is that of a stand-in, with which nothing can be measured."""
    return version is not None and STAND_IN in version.partition("+")[2].split(".")


def _installed() -> dict[str, JSON]:
    return {
        name.lower().replace("_", "-"): item.version
        for item in metadata.distributions()
        if (name := item.metadata["Name"])
    }


def _cpu_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _available_bytes() -> int | None:
    """Memory that can be had without swapping: what is free, and what caches would give back."""
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) << 10
    except OSError:
        pass
    return None


def gpus() -> list[JSON]:
    """NVIDIA GPUs: name, uuid, memory (bytes), compute capability, driver. Empty without any."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    query = [tool, f"--query-gpu={','.join(_GPU_FIELDS)}", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    found: list[JSON] = []
    for line in done.stdout.splitlines():
        cells = [cell.strip() for cell in line.split(",")]
        if len(cells) != len(_GPU_FIELDS):
            continue
        row = dict(zip(_GPU_FIELDS, cells, strict=True))
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


def _mebibytes(text: str) -> int | None:
    return int(text) << 20 if text.isdigit() else None
