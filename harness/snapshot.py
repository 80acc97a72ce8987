"""What is installed and which devices there are, as seen by one interpreter. Imports no library."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import sys
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from harness.gpus import gpus
from harness.jsontypes import JSON


def snapshot(distributions: Iterable[str]) -> dict[str, JSON]:
    """Versions of `distributions` (None where absent), the interpreter, CPU, memory and GPUs.

    Memory is in bytes. GPUs are those that the interpreter may use, and no CUDA context is made to find them.
    """
    there = list(metadata.distributions())
    contents, unknown = installed_contents(there)
    return {
        "python": platform.python_version(),
        "build": sys.version,
        "platform": platform.platform(),
        "packages": {name: version(name) for name in distributions},
        "installed": dict(sorted(_installed(there).items())),
        "contents": contents,
        "unknown": list(unknown),
        "cpu": _cpu_name(),
        "cpus": len(os.sched_getaffinity(0)),
        "memory_bytes": memory_bytes(),
        "available_bytes": available_bytes(),
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


def _installed(there: Iterable[metadata.Distribution]) -> dict[str, JSON]:
    # the first of a name is the one that is imported
    found: dict[str, JSON] = {}
    for item in there:
        if name := item.metadata["Name"]:
            found.setdefault(_normal(name), item.version)
    return found


def _normal(name: str) -> str:
    return name.lower().replace("_", "-")


_LOCAL: Final = re.compile(r"^(?:\.\./)+bin/|,,$")

OWN = "paramatrix"
"""Our own distribution: what of its files matters is told by their imports."""


def installed_contents(there: Iterable[metadata.Distribution]) -> tuple[str, tuple[str, ...]]:
    """A digest of all that is installed; and the names of what cannot be told from another state of it.

    A distribution is told by its RECORD, which has hashes of the files that were installed, wherever the environment
    lies. One that is installed as a link to a folder of sources is told by the names, sizes and times of the files
    there. A file that somebody edits in an installed package is not seen.
    """
    lines, unknown = [], []
    for item in there:
        name = _normal(item.metadata["Name"] or "")
        if name == OWN:
            continue
        folder = _linked(item)
        told = _states(folder) if folder else _recorded(item)
        if told is None:
            unknown.append(name)
        lines.append(f"{name} {item.version} {hashlib.sha256((told or '').encode()).hexdigest()}")
    return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest(), tuple(sorted(unknown))


def _recorded(item: metadata.Distribution) -> str | None:
    """The lines of RECORD that are the same in every environment; None where it has none.

    Scripts name the interpreter by its path, and nothing here runs them; what was compiled afterwards has no hash.
    """
    if (told := item.read_text("RECORD")) is None:
        return None
    return "\n".join(line for line in sorted(told.splitlines()) if not _LOCAL.search(line))


def _linked(item: metadata.Distribution) -> Path | None:
    """The folder of sources that an editable installation points at.

    Source: https://packaging.python.org/en/latest/specifications/direct-url/
    """
    try:
        told = json.loads(item.read_text("direct_url.json") or "{}")
        if told["dir_info"]["editable"]:
            return Path(unquote(urlsplit(told["url"]).path))
    except (ValueError, KeyError, TypeError):
        pass
    return None


def _states(folder: Path) -> str | None:
    """Name, size and time of every file in a folder of sources; None where there are none."""
    lines = []
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".") and name != "__pycache__"]
        for name in files:
            path = Path(place, name)
            try:
                state = path.lstat()
            except OSError:  # it has just gone
                continue
            lines.append(f"{path.relative_to(folder)} {state.st_size} {state.st_mtime_ns}")
    return "\n".join(sorted(lines)) or None


def _cpu_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


_BLOCKS: Final = Path("/sys/devices/system/memory")
"""Linux's blocks of memory: Documentation/ABI/testing/sysfs-devices-memory of the kernel."""


def memory_bytes(blocks: Path = _BLOCKS) -> int:
    """The machine's memory as it is built in; where that is not told, what the kernel has of it at the moment.

    The latter varies in a virtual machine whose host takes memory back and returns it, which is no other machine.
    """
    try:
        size = int((blocks / "block_size_bytes").read_text(), 16)
        online = sum(path.read_text().strip() == "online" for path in blocks.glob("memory[0-9]*/state"))
    except (OSError, ValueError):
        online = size = 0
    return online * size or os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def available_bytes() -> int | None:
    """Memory that can be had without swapping: what is free, and what caches would give back."""
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) << 10
    except OSError:
        pass
    return None
