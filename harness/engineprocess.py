"""The host's handle on an engine process: ask it, find out what it died of, end it."""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path

from harness import processes, rootcause, sharedmemory
from harness.enginefailure import failure, ours
from harness.jsontypes import JSON
from harness.wire import Interrupted, Message, PeerGone, Wire, WireTimeout

JOURNAL = "calls"
"""File of an engine's folder that has the upstream calls of the phase it is in."""
TAIL = 4000
"""Characters of a log or traceback that are told."""
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
            tail = self.log(since)[-TAIL:]
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
        facts |= {"root": root.text, "child_died": root.died, "log": log[-TAIL:]}
        facts["oom_killed"] = root.died and oom_kills() > self.oom_kills_before
        if root.raised and ours(root.raised.file, root.raised.function):
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
            log=log[-TAIL:],
            root=rootcause.last_words(log),
            oom_killed=killed and oom_kills() > self.oom_kills_before,
        )

    def _calls(self) -> Message:
        """The upstream calls of the phase that the process did not survive; the last one is where it ended."""
        try:
            lines = (self.scratch / JOURNAL).read_text(encoding="ascii").splitlines()
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
