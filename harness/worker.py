"""The backend host: `python -m harness.worker serve BACKEND`, run by the backend's own interpreter.

It imports the library once and forks an engine process for each engine key. Requests and
answers are JSON lines on stdin and stdout, so that any launcher that passes these through
(`docker run -i`, `ssh`, `srun`) works; whatever the library itself prints to stdout is sent
to stderr instead. When its stdin closes, it ends its engines and leaves.

`describe BACKEND` prints what is installed and which devices there are, importing nothing.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections import OrderedDict

from harness import engine, processes
from harness.backends import MODULES, create
from harness.backends.base import Backend
from harness.engine import EngineProcess
from harness.snapshot import snapshot
from harness.wire import Message, PeerGone, Wire


class Host:
    """Keeps a few engines alive, starts and ends them, and forwards work to them."""

    def __init__(self, backend: Backend, wire: Wire, keep: int) -> None:
        self.backend = backend
        self.wire = wire
        self.keep = keep
        self.engines: OrderedDict[str, EngineProcess] = OrderedDict()

    def observe(self, request: Message) -> Message:
        """One run: an engine (shared unless `fresh`), then one job on it."""
        wanted, job, limits = _object(request["engine"]), _object(request["job"]), _object(request["limits"])
        key = str(wanted["key"])
        if request.get("fresh"):
            self._discard(key)
        load_s = 0.0
        if (process := self.engines.get(key)) and process.gone():
            # It ended while idle: whatever the reason, this run is not it.
            self._discard(key)
        process = self.engines.get(key)
        if process is None:
            began = time.perf_counter()
            process, loaded = self._start(wanted, float(str(limits["load_s"])))
            load_s = time.perf_counter() - began
            if "failure" in loaded:
                return {**loaded, "load_s": load_s, "new_engine": True, "pid": process.pid}
            process.loaded = loaded
        new = load_s > 0.0
        self.engines.move_to_end(key)
        answer = process.ask({**job}, float(str(limits["generate_s"])), "generate", client=self.wire.read_fd)
        if "failure" in answer:
            # Nobody knows what state it left behind: the next run gets a new engine.
            self._discard(key)
        loaded = process.loaded or {}
        load_calls, calls = loaded.get("calls", []), answer.get("calls", [])
        assert isinstance(load_calls, list)
        assert isinstance(calls, list)
        return {
            **answer,
            "calls": [*load_calls, *calls],
            "read_back": loaded.get("read_back", {}),
            "load_s": load_s,
            "upstream_load_s": loaded.get("upstream_s", 0.0) if new else 0.0,
            "generate_s": answer.get("seconds", 0.0),
            "new_engine": new,
            "pid": process.pid,
        }

    def _start(self, wanted: Message, limit_s: float) -> tuple[EngineProcess, Message]:
        while len(self.engines) >= self.keep:
            self._discard(next(iter(self.engines)))
        held = [self.wire.read_fd, self.wire.write_fd]
        held += [fd for e in self.engines.values() for fd in (e.wire.read_fd, e.wire.write_fd, e.pidfd)]
        process = engine.start(self.backend, wanted, held)
        self.engines[process.key] = process
        loaded = process.ask({}, limit_s, "load", client=self.wire.read_fd)
        if "failure" in loaded:
            self._discard(process.key)
        return process, loaded

    def _discard(self, key: str) -> None:
        if process := self.engines.pop(key, None):
            process.discard()
            processes.sweep(keep=[e.pid for e in self.engines.values()])

    def close(self) -> None:
        """End every engine and whatever they left behind."""
        for key in list(self.engines):
            self._discard(key)
        processes.sweep(keep=())


def _object(value: object) -> Message:
    if not isinstance(value, dict):
        raise TypeError(f"expected a JSON object, got {value!r}")
    return value


def serve(name: str, keep: int) -> int:
    """Answer requests until stdin closes."""
    protocol = os.dup(1)
    os.dup2(2, 1)
    wire = Wire(os.dup(0), protocol)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    processes.adopt_orphans()
    began = time.perf_counter()
    backend = create(name)
    try:
        backend.preload()
    except Exception as error:  # noqa: BLE001 - an import can raise anything
        wire.send({"event": "failed", "type": type(error).__name__, "message": str(error)})
        return 3
    host = Host(backend, wire, keep)
    try:
        wire.send({"event": "ready", "import_s": time.perf_counter() - began, "pid": os.getpid()})
        while True:
            wire.send(host.observe(wire.receive()))
    except PeerGone:
        return 0
    finally:
        host.close()


def main(arguments: list[str]) -> int:
    """Entry point; the exit code."""
    if len(arguments) < 2 or arguments[0] not in {"serve", "describe"} or arguments[1] not in MODULES:
        known = "|".join(sorted(MODULES))
        print(f"usage: python -m harness.worker serve|describe {known} [KEEP]", file=sys.stderr)
        return 2
    if arguments[0] == "describe":
        print(json.dumps(snapshot(create(arguments[1]).distributions)))
        return 0
    return serve(arguments[1], keep=int(arguments[2]) if len(arguments) > 2 else 2)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
