"""How the toy is made deaf: it keeps what it is told, and answers as if it were not."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from tests import toy_backend

if TYPE_CHECKING:
    from harness.backends.base import Calls, LoadJob


def to_requests() -> None:
    """What a request asks for is stored and not done."""

    class Told:
        dumps = staticmethod(lambda told: json.dumps({}) if told else json.dumps(told))
        loads = staticmethod(json.loads)

    setattr(toy_backend, "json", Told)  # noqa: B010 - a module by the name of another


def to_nothing() -> None:
    """A component that moved: nothing is neutralised."""
    raise AttributeError("no such component")


def to_requests_when_alone() -> None:
    """As `to_requests`, with an engine for which there is no memory while the host keeps another one."""
    to_requests()
    load = toy_backend.ToyBackend.load

    def large(self: toy_backend.ToyBackend, job: LoadJob, calls: Calls) -> toy_backend.ToyEngine:
        host = os.getppid()
        engines = Path(f"/proc/{host}/task/{host}/children").read_text(encoding="ascii").split()
        if len(engines) > 1:
            raise ValueError("Free memory on device (1.0/8.0 GiB) on startup is less than desired (0.5, 4.0 GiB)")
        return load(self, job, calls)

    setattr(toy_backend.ToyBackend, "load", large)  # noqa: B010 - a method in the place of another
