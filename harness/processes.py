"""Ending process trees for certain, with nothing but Linux and the standard library."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import time
from collections.abc import Iterable
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


def die_with_parent() -> None:
    """Have the kernel SIGKILL this process when its parent ends, however it ends."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def adopt_orphans() -> None:
    """Make orphaned descendants children of this process, so that none is out of reach.

    An engine may start processes of its own that leave its process group and outlive it;
    as their new parent we still see and end them. See prctl(2), PR_SET_CHILD_SUBREAPER.
    """
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def _prctl(option: int, value: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, value, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def children() -> set[int]:
    """Process ids of this process's children, zombies included."""
    found: set[int] = set()
    for task in Path("/proc/self/task").iterdir():
        try:
            found.update(int(pid) for pid in (task / "children").read_text().split())
        except OSError:
            continue
    return found


def reap(pid: int, timeout_s: float) -> int | None:
    """Wait for a child; its wait status, or None when it still runs after `timeout_s` seconds."""
    deadline = time.monotonic() + timeout_s
    pause = 0.001
    while True:
        try:
            done, status = os.waitpid(pid, os.WNOHANG)
        except ChildProcessError:
            return 0
        if done:
            return status
        if time.monotonic() >= deadline:
            return None
        time.sleep(pause)
        pause = min(pause * 2, 0.05)


def end_group(pid: int, *, patience_s: float = 2.0) -> int:
    """End the process group led by child `pid`: SIGTERM, then SIGKILL. Its wait status."""
    _signal_group(pid, signal.SIGTERM)
    status = reap(pid, patience_s)
    _signal_group(pid, signal.SIGKILL)
    if status is None:
        status = reap(pid, 30.0)
    return -1 if status is None else status


def sweep(keep: Iterable[int]) -> list[int]:
    """Kill and reap every child of this process that is not in `keep`; the ids it ended.

    Loops because an orphan's own children arrive here only once it is dead.
    """
    wanted = set(keep)
    ended: list[int] = []
    while extra := children() - wanted:
        for pid in extra:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            reap(pid, 10.0)
            ended.append(pid)
    return ended


def end_marked(marker: str) -> list[int]:
    """Kill every process whose environment holds `marker` ("NAME=value"); the ids it ended.

    For what a host that died suddenly could not end itself: children of its engines.
    """
    wanted = marker.encode()
    ended: list[int] = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit() or int(folder.name) == os.getpid():
            continue
        try:
            if wanted in (folder / "environ").read_bytes().split(b"\0"):
                os.kill(int(folder.name), signal.SIGKILL)
                ended.append(int(folder.name))
        except OSError:
            continue  # gone meanwhile, or not ours
    return ended


def _signal_group(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


def describe_status(status: int) -> str:
    """A wait status in words: "ended by SIGSEGV", "exited with code 3"."""
    if os.WIFSIGNALED(status):
        return f"ended by {signal.Signals(os.WTERMSIG(status)).name}"
    return f"exited with code {os.waitstatus_to_exitcode(status)}"
