"""Ending process trees for certain, with nothing but Linux and the standard library."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import select
import signal
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


def die_with_parent() -> None:
    """Have the kernel SIGKILL this process when its parent ends, however it ends."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def adopt_orphans() -> None:
    """Make orphaned descendants children of this process, so that none is out of reach.

    An engine may start processes of its own that leave its process group and outlive it. Both the
    engine and its host adopt: while an engine lives, all that descends from it is below it, and what
    becomes a child of the host has lost its engine. So no engine's processes are mistaken for another's.
    See prctl(2), PR_SET_CHILD_SUBREAPER.
    """
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


@contextlib.contextmanager
def ending_with(fd: int) -> Iterator[None]:
    """End this process at once when the other end of `fd`, on which nothing may come meanwhile, is closed.

    For code that cannot look at `fd` because it may never return, where no signal of the caller's arrives: in a
    container, on another machine. The kernel does it, by SIGIO, whose default is the end of the process.
    """
    fcntl.fcntl(fd, fcntl.F_SETOWN, os.getpid())
    flags = fcntl.fcntl(fd, fcntl.F_GETFL)
    fcntl.fcntl(fd, fcntl.F_SETFL, flags | os.O_ASYNC)
    try:
        yield
    finally:
        fcntl.fcntl(fd, fcntl.F_SETFL, flags)


def _prctl(option: int, value: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, value, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def children(pid: int | None = None) -> set[int]:
    """Process ids of a process's children (this one's by default), zombies included."""
    found: set[int] = set()
    try:
        for task in Path(f"/proc/{pid or 'self'}/task").iterdir():
            with contextlib.suppress(OSError):
                found.update(int(child) for child in (task / "children").read_text().split())
    except OSError:
        pass  # it ended meanwhile
    return found


def tree(pid: int) -> set[int]:
    """A process and all that descends from it."""
    found = {pid}
    left = [pid]
    while left:
        new = children(left.pop()) - found
        found |= new
        left += new
    return found


def running(pid: int) -> bool:
    """True while a process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] not in {b"Z", b"X"}
    except OSError:
        return False


def reap(pid: int, timeout_s: float) -> int | None:
    """Wait for a child; its wait status, or None when it still runs after `timeout_s` seconds."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return 0
    try:
        select.select([pidfd], [], [], timeout_s)
    finally:
        os.close(pidfd)
    try:
        done, status = os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return 0
    return status if done else None


def end(pid: int, *, patience_s: float = 2.0) -> int:
    """End the child `pid`: SIGTERM to the process group it leads, then SIGKILL to itself. Its wait status.

    What it leaves behind is for `sweep`: killing the whole group would take the resource tracker along.
    """
    _signal(os.killpg, pid, signal.SIGTERM)
    status = reap(pid, patience_s)
    if status is None:
        _signal(os.kill, pid, signal.SIGKILL)
        status = reap(pid, 30.0)
    return -1 if status is None else status


def sweep(keep: Iterable[int], *, patience_s: float = 5.0) -> list[int]:
    """Kill and reap every child of this process that is not in `keep`, until there is none; the ids it ended.

    Loops because an orphan's own children arrive here only once it is dead. The standard library's
    resource tracker goes last: it removes the shared memory and semaphores of those who died without
    doing so, and leaves by itself once nobody holds its pipe.

    Raises:
        TimeoutError: a process does not end although it was killed (a driver holds it).
    """
    wanted = set(keep)
    ended: list[int] = []
    while extra := children() - wanted:
        trackers = {pid for pid in extra if _is_resource_tracker(pid)}
        for pid in extra - trackers or trackers:
            status = reap(pid, patience_s) if pid in trackers else None
            if status is None:
                _signal(os.kill, pid, signal.SIGKILL)
                status = reap(pid, 10.0)
            if status is None:
                raise TimeoutError(f"process {pid} was killed and does not end")
            ended.append(pid)
    return ended


def _is_resource_tracker(pid: int) -> bool:
    try:
        return b"multiprocessing.resource_tracker" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


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


def _signal(send: Callable[[int, int], None], pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        send(pid, number)


def describe_status(status: int) -> str:
    """A wait status in words: "ended by SIGSEGV", "exited with code 3"."""
    if os.WIFSIGNALED(status):
        return f"ended by {signal.Signals(os.WTERMSIG(status)).name}"
    return f"exited with code {os.waitstatus_to_exitcode(status)}"
