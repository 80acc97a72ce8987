"""The engine process: one loaded engine, forked from the host that has imported the library.

`start` forks; the child loads and then answers generate messages until it is killed. The
child leads a process group of its own, dies with its host, and writes what the library
prints into a log file whose tail becomes evidence when it ends badly.
"""

from __future__ import annotations

import contextlib
import faulthandler
import json
import os
import select
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import NoReturn

from harness import processes, rootcause, scratch, sharedmemory
from harness.backends.base import Backend, Calls, Declared, Engine, GenerateJob, LoadJob
from harness.deafening import KEY, deafen
from harness.energy.filling import Filling
from harness.jsontypes import JSON
from harness.wire import Interrupted, Message, PeerGone, Wire, WireTimeout

HARNESS_FOLDER = f"{Path(__file__).parent}{os.sep}"
"""As code objects name it: unresolved, so that a checkout behind a symbolic link is still ours."""
BOUNDARY = Calls.__call__.__code__
_TAIL = 4000
_JOURNAL = "calls"
"""File of an engine's folder that has the upstream calls of the phase it is in."""
_LAST_WORDS_S = 2.0
_LOG = 1 << 18
"""Bytes of log in which a root cause is looked for."""


@dataclass(slots=True)
class EngineProcess:
    """The host's handle on one engine process."""

    key: str
    pid: int
    wire: Wire
    scratch: Path
    loaded: Message | None = None
    shared_before: frozenset[str] = field(default_factory=sharedmemory.names)
    helpers: set[int] = field(default_factory=set)
    """Processes that the library had started by the end of the load."""
    held: set[tuple[str, int]] = field(default_factory=set)
    """Shared memory that its processes were seen to map."""
    oom_kills_before: int = field(default_factory=lambda: oom_kills())  # noqa: PLW0108 - defined below
    pidfd: int = field(init=False)
    status: int | None = None
    """How it ended, once it has."""

    def __post_init__(self) -> None:
        """The end of the process is seen as such: its pipe may be held open by a child it left."""
        self.pidfd = os.pidfd_open(self.pid)

    def ask(self, message: Message, timeout_s: float, phase: str, *, client: int) -> Message:
        """Send a message (nothing when empty) and wait for its answer.

        A crash or a hang ends the process and becomes a `failure` answer.

        Raises:
            PeerGone: `client`, the descriptor that requests come from, was closed: nobody waits any more.
        """
        # what an earlier run printed explains nothing about this one; a load begins with the log
        since = self._log_size() if message else 0
        try:
            if message:
                self.wire.send(message)
            answer = self.wire.receive(timeout_s, watch=(self.pidfd, client))
        except Interrupted as end:
            if self.pidfd not in end.ready:
                raise PeerGone("the client left") from None
            return self._crashed(phase, since)
        except WireTimeout:
            tail = self.log(since)[-_TAIL:]
            self.end()
            return self._calls() | failure(
                phase,
                "timed_out",
                type="TimeoutError",
                message=f"{phase} took longer than its limit of {timeout_s:g} s and was killed",
                log=tail,
            )
        except PeerGone:
            return self._crashed(phase, since)
        tree = processes.tree(self.pid)
        self.held |= sharedmemory.held_by(tree)
        if isinstance(facts := answer.get("failure"), dict):
            self._explain(facts, since)
        elif phase == "load":
            self.helpers = tree - {self.pid}
        return answer

    def _explain(self, facts: Message, since: int) -> None:
        """Add the root cause to an error that points at another process's."""
        kind, message = str(facts["type"]), str(facts["message"])
        # without its other processes a library fails in odd words
        alone = not all(processes.running(pid) for pid in self.helpers)
        if not alone and not rootcause.elsewhere(kind, message):
            return
        deadline = time.monotonic() + _LAST_WORDS_S
        while True:
            # who raised the error knew of the end of the other process before that had said why; where no other
            # runs, all is said
            others = processes.tree(self.pid) - {self.pid}
            late = time.monotonic() > deadline or not any(map(processes.running, others))
            log = self.log(since)
            root = rootcause.find(kind, message, log, alone=alone)
            if late or (root and root.raised):
                break
            time.sleep(0.05)
        if root is None:
            return
        facts |= {"root": root.text, "child_died": root.died, "log": log[-_TAIL:]}
        facts["oom_killed"] = root.died and oom_kills() > self.oom_kills_before
        if root.raised and _ours(root.raised.file, root.raised.function):
            facts["where"] = "harness"

    def _crashed(self, phase: str, since: int) -> Message:
        status = self.end()
        killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        log = self.log(since)
        return self._calls() | failure(
            phase,
            "crashed",
            type="EngineDied",
            message=f"engine process {processes.describe_status(status)} during {phase}",
            log=log[-_TAIL:],
            root=rootcause.last_words(log),
            oom_killed=killed and oom_kills() > self.oom_kills_before,
        )

    def _calls(self) -> Message:
        """The upstream calls of the phase that the process did not survive; the last one is where it ended."""
        try:
            lines = (self.scratch / _JOURNAL).read_text(encoding="ascii").splitlines()
        except OSError:
            return {}
        found: list[JSON] = []
        for line in lines:
            with contextlib.suppress(ValueError):  # the last one may be torn
                found.append(json.loads(line))
        return {"calls": found}

    def gone(self) -> bool:
        """True when the process has ended although nobody asked it to."""
        poll = select.poll()
        poll.register(self.pidfd, select.POLLIN)
        return bool(poll.poll(0))

    def log(self, since: int = 0) -> str:
        """What the library printed after the first `since` bytes; the end of it if that is much."""
        try:
            with (self.scratch / "log").open("rb") as file:
                file.seek(max(since, self._log_size() - _LOG))
                return file.read().decode(errors="replace")
        except OSError:
            return ""

    def _log_size(self) -> int:
        try:
            return (self.scratch / "log").stat().st_size
        except OSError:
            return 0

    def end(self) -> int:
        """End the process and close the pipe; the wait status. A second call does nothing.

        A process that is already dying keeps the status it dies of: the kernel closes its
        pipe only after that is settled.
        """
        if self.status is None:
            # all below the host: what a dead engine leaves has become the host's already
            self.held |= sharedmemory.held_by(processes.tree(os.getpid()))
            self.status = processes.end(self.pid)
            self.wire.close()
            os.close(self.pidfd)
        return self.status

    def remove(self) -> None:
        """Remove the scratch folder and shared memory of an engine of which no process is left."""
        shutil.rmtree(self.scratch, ignore_errors=True)
        sharedmemory.remove(self.held, self.shared_before)


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
    journal = folder / _JOURNAL
    journal.unlink(missing_ok=True)
    return Calls(journal=journal)


def _send(wire: Wire, answer: Message) -> None:
    """Send an answer; one that JSON cannot carry is the adapter's fault and is reported as such."""
    try:
        wire.send(answer)
    except (TypeError, ValueError) as error:
        text = f"the adapter observed what JSON cannot carry: {error}"
        phase = str(answer["phase"])
        kind = _type_name(error)
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
            type=_type_name(error),
            message=str(error) or repr(error),
            traceback="".join(traceback.format_exception(error))[-_TAIL:],
            where=_where(error),
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


def failure(phase: str, kind: str, **facts: str | bool) -> Message:
    """The one shape of a failure: its phase, kind and what is known of it."""
    return {"phase": phase, "failure": {"phase": phase, "kind": kind, **facts}}


def _where(error: BaseException) -> str:
    """Whose code raised: the library's, or ours.

    A call refused at its signature raises in the recorder's own frame; that is the library's
    refusal, not our fault.
    """
    frame: TracebackType | None = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    if frame is None:
        return "harness"
    code = frame.tb_frame.f_code
    return "harness" if _ours(code.co_filename, code.co_name) else "upstream"


def _ours(file: str, function: str) -> bool:
    return file.startswith(HARNESS_FOLDER) and (file, function) != (BOUNDARY.co_filename, BOUNDARY.co_name)


def _type_name(error: BaseException) -> str:
    kind = type(error)
    return kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__name__}"


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


def oom_kills() -> int:
    """How often the kernel's out-of-memory killer has struck: in our control group, else on the machine."""
    for file in ("/sys/fs/cgroup/memory.events", "/proc/vmstat"):
        try:
            for line in Path(file).read_text().splitlines():
                name, count = line.split()
                if name == "oom_kill":
                    return int(count)
        except (OSError, ValueError):
            continue
    return 0
