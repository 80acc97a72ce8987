"""Named shared memory that engines leave behind when they are killed: found by who maps it, never by its name."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

FOLDER: Final = Path("/dev/shm")  # noqa: S108 - where shm_open(3) keeps it


def names() -> frozenset[str]:
    """What there is."""
    try:
        return frozenset(path.name for path in FOLDER.iterdir())
    except OSError:
        return frozenset()


def held_by(pids: Iterable[int]) -> set[tuple[str, int]]:
    """Name and inode of what these processes map as shared memory.

    A private mapping does not count: it is a file that somebody keeps there, such as a model.
    """
    found: set[tuple[str, int]] = set()
    for pid in pids:
        try:
            lines = Path(f"/proc/{pid}/maps").read_bytes().splitlines()
        except OSError:
            continue  # gone meanwhile
        for line in lines:
            if os.fsencode(FOLDER) not in line:
                continue
            _, permissions, _, _, inode, *rest = line.split(None, 5)
            path = Path(os.fsdecode(rest[0])) if rest else Path()
            if permissions.endswith(b"s") and path.parent == FOLDER and not path.name.endswith(" (deleted)"):
                found.add((path.name, int(inode)))
    return found


def remove(held: Iterable[tuple[str, int]], before: frozenset[str]) -> list[str]:
    """Remove what an ended engine held, unless it is older than the engine or somebody still maps it; the names."""
    left = {(name, inode) for name, inode in held if name not in before and _inode(name) == inode}
    if not left:
        return []
    left -= held_by(int(folder.name) for folder in Path("/proc").iterdir() if folder.name.isdigit())
    for name, _ in left:
        with contextlib.suppress(OSError):
            (FOLDER / name).unlink()
    return sorted(name for name, _ in left)


def _inode(name: str) -> int | None:
    try:
        return (FOLDER / name).stat().st_ino
    except OSError:
        return None
