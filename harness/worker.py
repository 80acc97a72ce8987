"""The backend host: `python -m harness.worker serve BACKEND`, run by the backend's own interpreter.

It imports the library once and forks an engine process for each engine key. Requests and
answers are JSON lines on stdin and stdout, so that any launcher that passes these through
(`docker run -i`, `ssh`, `srun`) works; whatever the library itself prints to stdout is sent
to stderr instead. When its stdin closes, it ends its engines and leaves.

`audit BACKEND` does the same for the audit, whose engines may be sabotaged: nothing it sees is a result.
`describe BACKEND` prints what is installed and which devices there are, importing nothing.
`interface BACKEND` prints what the installed library offers, loading no model.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import time
from collections import OrderedDict

from harness import clock, deafening, engine, processes, scratch
from harness.backends import MODULES, create
from harness.backends.base import Backend
from harness.enginefailure import failure
from harness.engineprocess import EngineProcess
from harness.scratch import Scratch
from harness.snapshot import is_stand_in, snapshot, version
from harness.wire import Message, PeerGone, Wire


class Host:
    """Keeps a few engines alive, starts and ends them, and forwards work to them."""

    def __init__(self, backend: Backend, wire: Wire, keep: int, scratch: Scratch, *, audits: bool = False) -> None:
        self.backend = backend
        self.wire = wire
        self.keep = keep
        self.scratch = scratch
        self.audits = audits
        """Whether engines may be sabotaged: nothing that such a host sees is a result."""
        self.started = 0
        self.helpers = processes.children()
        """What the import of the library has started: no engine's, and left alone until the end."""
        self.engines: OrderedDict[str, EngineProcess] = OrderedDict()

    def observe(self, request: Message) -> Message:
        """One run: an engine (shared unless `fresh`, and the only one if `alone`), then one job on it."""
        wanted, job, limits = _object(request["engine"]), _object(request["job"]), _object(request["limits"])
        key = str(wanted["key"])
        if deafening.KEY in wanted and not self.audits:
            text = "a host that serves a matrix was asked for a deaf engine; only one started as `audit` has any"
            return failure("load", "refused", type="ValueError", message=text, where="harness")
        if request.get("alone"):
            for other in list(self.engines):
                self._discard(other)
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
        held = [self.wire.read_fd, self.wire.write_fd, self.scratch.lock]
        held += [fd for e in self.engines.values() for fd in (e.wire.read_fd, e.wire.write_fd, e.pidfd)]
        self.started += 1
        process = engine.start(self.backend, wanted, self.scratch.path / f"e{self.started}", held)
        self.engines[process.key] = process
        loaded = process.ask({}, limit_s, "load", client=self.wire.read_fd)
        if "failure" in loaded:
            self._discard(process.key)
        return process, loaded

    def _discard(self, key: str) -> None:
        if process := self.engines.pop(key, None):
            process.end()
            processes.sweep(keep={*self.helpers, *(e.pid for e in self.engines.values())})
            process.remove()

    def close(self) -> None:
        """End every engine and whatever they left behind."""
        for key in list(self.engines):
            self._discard(key)
        processes.sweep(keep=())
        self.scratch.remove()


def _object(value: object) -> Message:
    if not isinstance(value, dict):
        raise TypeError(f"expected a JSON object, got {value!r}")
    return value


def serve(name: str, keep: int, verb: str = "serve") -> int:
    """Answer requests until stdin closes."""
    protocol = os.dup(1)
    os.dup2(2, 1)
    wire = Wire(os.dup(0), protocol)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    processes.adopt_orphans()
    began = time.perf_counter()
    backend = create(name)
    folder = scratch.make(os.environ.get(scratch.MARK, ""))
    scratch.use_for_temporary_files(folder.path)
    try:
        with processes.ending_with(wire.read_fd):
            backend.preload()
    except Exception as error:  # noqa: BLE001 - an import can raise anything
        folder.remove()
        wire.send({"event": "failed", "type": type(error).__name__, "message": str(error)})
        return 3
    # What the import made is there for good. Collections in the forks pass it by, where each would walk all of it
    # and copy its pages: vLLM collects five times in a load, 0.24 s each (2-core AMD EPYC VM, 2026-11-21).
    gc.collect()
    gc.freeze()
    host = Host(backend, wire, keep, folder, audits=verb == deafening.VERB)
    try:
        ready: Message = {"event": "ready", "import_s": time.perf_counter() - began, "pid": os.getpid(), "verb": verb}
        wire.send({**ready, "clock": clock.identity()})
        while True:
            wire.send(host.observe(wire.receive()))
    except PeerGone:
        return 0
    finally:
        host.close()


def tell_interface(name: str) -> int:
    """Print what the library offers; whatever it prints itself while it is imported goes to stderr."""
    answer = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    try:
        found: object = create(name).interface()
    except Exception as error:  # noqa: BLE001 - an import can raise anything
        found = {"failed": f"{type(error).__name__}: {error}"}
    with answer:
        print(json.dumps(found), file=answer)
    return 0


def main(arguments: list[str]) -> int:
    """Entry point; the exit code."""
    verbs = ("serve", deafening.VERB, "describe", "interface")
    if len(arguments) < 2 or arguments[0] not in verbs or arguments[1] not in MODULES:
        known = "|".join(sorted(MODULES))
        print(f"usage: python -m harness.worker {'|'.join(verbs)} {known} [KEEP]", file=sys.stderr)
        return 2
    distributions = create(arguments[1]).distributions
    if fakes := [f"{name} {found}" for name in distributions if is_stand_in(found := version(name))]:
        print(f"{', '.join(fakes)} is a stand-in that computes nothing: there is nothing to measure", file=sys.stderr)
        return 4
    if arguments[0] == "interface":
        return tell_interface(arguments[1])
    if arguments[0] == "describe":
        print(json.dumps(snapshot(distributions)))
        return 0
    return serve(arguments[1], keep=int(arguments[2]) if len(arguments) > 2 else 2, verb=arguments[0])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
