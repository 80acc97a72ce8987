"""What toy engines leave behind, and how toy libraries fail that have several processes or little memory."""

from __future__ import annotations

import ctypes
import json
import mmap
import os
import signal
import socket
import sys
import tempfile
import time
import traceback
import uuid
from collections.abc import Callable
from multiprocessing import resource_tracker, shared_memory
from pathlib import Path

from harness import processes, sharedmemory

KEPT: list[object] = []
"""What lives as long as the process."""


def stray(*, new_session: bool) -> None:
    """A child that outlives its parent: it holds the pipes open and tells its id in a file."""
    place = Path(os.environ["TOY_FOLDER"]) / "stray"
    if os.fork() == 0:
        if new_session:
            os.setsid()
        place.with_suffix(".part").write_text(str(os.getpid()), encoding="ascii")
        place.with_suffix(".part").rename(place)
        time.sleep(600)
        os._exit(0)
    while not place.exists():
        time.sleep(0.005)


def _orphan() -> None:
    """A helper whose parent has left already, in a session of its own."""
    if (child := os.fork()) == 0:
        os.setsid()
        stray(new_session=False)
        os._exit(0)
    os.waitpid(child, 0)


def until_tracked() -> None:
    """Wait until the resource tracker is itself: it is still a copy of its parent when its start returns."""
    pid = resource_tracker._resource_tracker._pid  # type: ignore[attr-defined]
    while b"resource_tracker" not in Path(f"/proc/{pid}/cmdline").read_bytes():
        time.sleep(0.005)


def _share(*, tracked: bool) -> None:
    """Named shared memory that is never removed here; its name is told in a file."""
    if tracked:
        tracked_memory = shared_memory.SharedMemory(create=True, size=4096)
        KEPT.append(tracked_memory)
        until_tracked()
        name = tracked_memory.name
    else:  # as C++ does it: nobody else knows
        name = f"toy-{os.getpid()}-{os.urandom(4).hex()}"
        fd = os.open(sharedmemory.FOLDER / name, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        os.ftruncate(fd, 4096)
        KEPT.append(mmap.mmap(fd, 4096))
    Path(os.environ["TOY_FOLDER"], "shared").write_text(name, encoding="ascii")


def _leave_files() -> None:
    """A socket and a file where temporary files go; the socket is told in a file."""
    place = tempfile.gettempdir()
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(f"{place}/{uuid.uuid4()}")
    KEPT.append(listener)
    Path(os.environ["TOY_FOLDER"], "socket").write_text(str(listener.getsockname()), encoding="ascii")
    tempfile.mkstemp(prefix="toy")


def _listen(port: int) -> None:
    listener = socket.socket()
    listener.bind(("127.0.0.1", port))
    listener.listen()
    KEPT.append(listener)


def _child_raises(kind: str, text: str) -> None:
    """As libraries of several processes do it: a child prints its traceback, the parent points at it."""
    if (child := os.fork()) == 0:
        try:
            exec(f"raise {kind}({text!r})", {"__name__": "toylib"})  # noqa: S102 - a frame outside the harness
        except Exception:  # noqa: BLE001 - whatever was asked for
            print("Triton is not installed", file=sys.stderr)
            traceback.print_exc()
        finally:
            os._exit(1)
    os.waitpid(child, 0)
    raise RuntimeError("Engine core initialization failed. See root cause above.")


def _lose_the_stray() -> None:
    """The helper that was started at the load dies; what is raised says nothing of it."""
    stray_pid = int(Path(os.environ["TOY_FOLDER"], "stray").read_text(encoding="ascii"))
    os.kill(stray_pid, signal.SIGKILL)
    os.waitpid(stray_pid, 0)
    print("(Main pid=1) ERROR 11-21 06:34:56 [x.py:315] Worker proc W-1 died unexpectedly (exit code: -9)")
    raise AssertionError("collective_rpc should not be called on follower node")


def _crowded() -> None:
    """Refuses to load while the host keeps another engine, in vLLM's own words."""
    host = os.getppid()
    if processes.tree(host) - {host, os.getpid()}:
        raise ValueError(
            "Available memory on node 0 (13.71/15.09 GiB) on startup is less than desired CPU memory utilization "
            "(0.97, 14.64 GiB)."
        )


def _share_and_crash(_: str) -> None:
    _share(tracked=True)
    ctypes.string_at(0)


def _note(name: str) -> None:
    """Write down what this engine may use, and whose it is."""
    host = os.getppid()
    noted = {
        "name": name,
        "host": host,
        "worker": _parent(host),
        "cpus": sorted(os.sched_getaffinity(0)),
        "gpus": os.environ.get("CUDA_VISIBLE_DEVICES"),
    }
    with Path(os.environ["TOY_FOLDER"], "noted").open("a", encoding="utf-8") as file:
        file.write(json.dumps(noted) + "\n")


def _kill_worker(name: str, *, once: bool) -> None:
    """Kill the pytest process that judges, in the middle of a cell."""
    _note(name)
    flag = Path(os.environ["TOY_FOLDER"], f"killed-{name}")
    if once and flag.exists():
        return
    flag.touch()
    os.kill(_parent(os.getppid()), signal.SIGKILL)
    time.sleep(600)


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[1])


ACTIONS: dict[str, Callable[[str], None]] = {
    "orphan": lambda _: _orphan(),
    "share": lambda _: _share(tracked=False),
    "share-tracked": lambda _: _share(tracked=True),
    "share-segfault": _share_and_crash,
    "lose-stray": lambda _: _lose_the_stray(),
    "leave-files": lambda _: _leave_files(),
    "listen": lambda port: _listen(int(port)),
    "note": _note,
    "kill-worker": lambda name: _kill_worker(name, once=False),
    "kill-worker-once": lambda name: _kill_worker(name, once=True),
    "crowded": lambda _: _crowded(),
    "child-raises": lambda what: _child_raises(*what.split(":", 1)),
}
"""By the name that settings give; what follows its colon is the argument."""
