"""The engine process: one loaded engine, forked from the host that has imported the library.

`start` forks; the child loads and then answers generate messages until it is killed. The
child leads a session of its own, dies with its host, and writes what the library
prints into a log file whose tail becomes evidence when it ends badly.
"""

from __future__ import annotations

import faulthandler
import os
import sys
import time
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NoReturn

from harness import processes, scratch
from harness.backends.base import Backend, Calls, Declared, Engine, GenerateJob, LoadJob
from harness.deafening import KEY, deafen
from harness.energy.filling import Filling
from harness.enginefailure import failure, type_name, where
from harness.engineprocess import JOURNAL, TAIL, EngineProcess
from harness.jsontypes import JSON
from harness.wire import Message, PeerGone, Wire


def start(backend: Backend, engine: Message, folder: Path, close_fds: list[int]) -> EngineProcess:
    """Fork an engine process that begins to load `engine` at once.

    Args:
        backend: preloaded in this process.
        engine: {"key", "model", "cache_dir", "settings"}, and of an audit's perhaps "deaf".
        folder: made for this engine; its log and temporary files go there.
        close_fds: descriptors of this process that the child must not hold open.
    """
    folder.mkdir()
    from_host, to_engine = os.pipe()
    from_engine, to_host = os.pipe()
    pid = os.fork()
    if pid == 0:
        for fd in (*close_fds, to_engine, from_engine):
            os.close(fd)
        _child(backend, engine, Wire(from_host, to_host), folder)
    os.close(from_host)
    os.close(to_host)
    return EngineProcess(key=str(engine["key"]), pid=pid, wire=Wire(from_engine, to_engine), scratch=folder)


def _child(backend: Backend, engine: Message, wire: Wire, folder: Path) -> NoReturn:
    """Everything the forked process does. Never returns into the host's code."""
    code = 1
    try:
        os.setsid()
        processes.die_with_parent()
        processes.adopt_orphans()
        log = os.open(folder / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.chdir(folder)
        scratch.use_for_temporary_files(folder)
        sys.stdout = os.fdopen(1, "w", buffering=1, errors="replace", closefd=False)
        sys.stderr = os.fdopen(2, "w", buffering=1, errors="replace", closefd=False)
        faulthandler.enable(file=2)
        _serve(backend, engine, wire, folder)
        code = 0
    except PeerGone:
        code = 0
    except BaseException:  # noqa: BLE001 - nothing may return into the host's code
        traceback.print_exc()
    finally:
        os._exit(code)


def _serve(backend: Backend, engine: Message, wire: Wire, folder: Path) -> None:
    loaded: list[Engine] = []
    calls = _journaled(folder)
    settings = Declared(_mapping(engine["settings"]))

    def load() -> Message:
        if KEY in engine:
            deafen(_mapping(engine[KEY]))
        cache_dir = engine.get("cache_dir")
        job = LoadJob(
            model=str(engine["model"]),
            cache_dir=None if cache_dir is None else str(cache_dir),
            settings=settings,
            scratch=str(folder),
        )
        loaded.append(backend.load(job, calls))
        return {"read_back": loaded[0].read_back()}

    answer = attempt("load", load, calls, settings)
    _send(wire, answer)
    while not answer.get("failure") or answer["phase"] == "generate":
        message = wire.receive()
        calls = _journaled(folder)
        settings = Declared(_mapping(message["settings"]))
        job = _job(message, settings)

        answer = attempt("generate", partial(_generate, loaded[0], job, calls, message), calls, settings)
        _send(wire, answer)


def _generate(engine: Engine, job: GenerateJob, calls: Calls, message: Message) -> Message:
    """One pass of a job; or as many as `fill` or `warm_up` ask for, of which the first one's calls are kept."""
    kept = iter([calls])
    filling = Filling(lambda: engine.generate(job, next(kept, None) or Calls()), engine.synchronise)
    if isinstance(asked := message.get("fill"), dict):
        return filling.fill(float(str(asked["seconds"])))
    if isinstance(asked := message.get("warm_up"), dict):
        return filling.warm_up(float(str(asked["slice_s"])), float(str(asked["limit_s"])))
    return filling.once()


def _journaled(folder: Path) -> Calls:
    """A recorder for one phase."""
    journal = folder / JOURNAL
    journal.unlink(missing_ok=True)
    return Calls(journal=journal)


def _send(wire: Wire, answer: Message) -> None:
    """Send an answer; one that JSON cannot carry is the adapter's fault and is reported as such."""
    try:
        wire.send(answer)
    except (TypeError, ValueError) as error:
        text = f"the adapter observed what JSON cannot carry: {error}"
        phase = str(answer["phase"])
        kind = type_name(error)
        wire.send(failure(phase, "exception", type=kind, message=text, where="harness"))


def attempt(phase: str, work: Callable[[], Message], calls: Calls, settings: Declared) -> Message:
    """Do one phase and report it: what was seen, or how it failed."""
    began = time.perf_counter()
    try:
        answer = work()
    except Exception as error:  # noqa: BLE001 - whatever the library raises is the observation
        answer = failure(
            phase,
            "exception",
            type=type_name(error),
            message=str(error) or repr(error),
            traceback="".join(traceback.format_exception(error))[-TAIL:],
            where=where(error),
        )
    else:
        if unread := settings.unread():
            answer = failure(
                phase,
                "not_forwarded",
                type="NotForwarded",
                message=f"the adapter never read {', '.join(unread)} during {phase}",
                where="harness",
            )
    return {
        **answer,
        "phase": phase,
        "seconds": time.perf_counter() - began,
        "upstream_s": calls.seconds,
        "calls": list(calls.entries),
    }


def _mapping(value: JSON) -> Message:
    if not isinstance(value, dict):
        raise TypeError(f"expected settings as a JSON object, got {type(value).__name__}")
    return value


def _job(message: Message, settings: Declared) -> GenerateJob:
    def items(key: str) -> list[object]:
        value = message[key]
        if not isinstance(value, list):
            raise TypeError(f"{key}: expected a JSON list, got {type(value).__name__}")
        return list(value)

    return GenerateJob(
        settings=settings,
        prompts=tuple(str(item) for item in items("prompts")),
        max_new_tokens=int(str(message["max_new_tokens"])),
        seeds=tuple(int(str(item)) for item in items("seeds")),
        instruments=frozenset(str(item) for item in items("instruments")),
    )
