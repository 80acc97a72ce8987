"""The most memory that a tree of processes takes together, seen from beside it."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Final, Self

EVERY_S: Final = 0.5


class Peak:
    """Samples the processes below `pid` while its block runs.

    Proportional set sizes (`smaps_rollup`) are added up, so pages that forked processes share count once. What
    comes and goes between two samples, `EVERY_S` apart, is not seen.
    """

    def __init__(self, pid: int, without: str | None = None) -> None:
        """`without`: a word in the command line of processes that are left out, with all that they started."""
        self.pid = pid
        self.without = without
        self.bytes = 0
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    @property
    def mib(self) -> float:
        """The peak, in MiB."""
        return self.bytes / 2**20

    def _watch(self) -> None:
        while not self._end.wait(EVERY_S):
            self.bytes = max(self.bytes, sum(_pss(pid) for pid in below(self.pid, self.without)))


def below(pid: int, without: str | None = None) -> list[int]:
    """A process, its children and theirs, but for those with the word `without` in their command line."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and (parent := _parent(folder)) is not None:
            children.setdefault(parent, []).append(int(folder.name))
    found = [pid]
    for parent in found:
        found += [child for child in children.get(parent, []) if not (without and without in _command(child))]
    return found


def _parent(folder: Path) -> int | None:
    try:
        return int((folder / "stat").read_text().rpartition(")")[2].split()[1])
    except (OSError, ValueError, IndexError):
        return None


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text(errors="replace")
    except OSError:
        return ""  # it has ended


def _pss(pid: int) -> int:
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError):
        pass  # it has ended
    return 0
