"""What the toy backend does where something is wrong with the machine or with the adapter: the real thing each time."""

from __future__ import annotations

import ctypes
import os
import resource
import socket
from collections.abc import Callable
from pathlib import Path

from harness.backends.base import Declared


def _refuse_twice() -> None:
    times = Path(os.environ["TOY_FOLDER"], "times")
    count = len(times.read_text(encoding="ascii")) if times.exists() else 0
    times.write_text("x" * (count + 1), encoding="ascii")
    if count < 2:
        exec("raise ValueError('no thanks')", {"__name__": "toylib"})  # noqa: S102 - a frame outside the harness


def _run_out_of_memory() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
    bytearray(1 << 34)


ACTIONS: dict[str, Callable[[str], object]] = {
    "refuse-twice": lambda _: _refuse_twice(),
    # an adapter that asks for what nobody declared: raises in a frame of the harness
    "bug": lambda _: Declared({})["absent"],
    "missing-library": lambda _: ctypes.CDLL("libnobodyhasthis.so.9"),
    "full-disk": lambda _: Path("/dev/full").write_text("x" * 9000, encoding="ascii"),
    "out-of-memory": lambda _: _run_out_of_memory(),
    # as transformers makes the folder of HF_MODULES_CACHE
    "make-folder": lambda path: os.makedirs(path, exist_ok=True),  # noqa: PTH103 - as it does
    "connect": lambda port: socket.create_connection(("127.0.0.1", int(port)), timeout=5),
}
"""By the name that settings give; what follows its colon is the argument."""
