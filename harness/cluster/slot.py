"""One slot: a supervisor as a subprocess, and its pipe. What a cluster's framework keeps alive on a node."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading

from harness.jsontypes import JSON
from harness.launcher import HARNESS_ROOT
from harness.wire import Message, Wire

PATIENCE_S = 20.0
"""Seconds a supervisor has to end its engines: a host is insisted upon after 10."""


class SupervisorGone(RuntimeError):
    """The supervisor ended by itself; the message says how."""


class Slot:
    """Started on the node; `end` may be called from another thread while a cell is judged."""

    def __init__(self, withheld: tuple[str, ...] = ()) -> None:
        """`withheld`: variables whose names start so are the framework's, and no business of a backend."""
        self.withheld = withheld
        self.environment: dict[str, str] = {}
        """Variables of the supervisor, and of what it starts."""
        self._process: subprocess.Popen[bytes] | None = None
        self._wire: Wire | None = None
        self._asking = threading.Lock()
        self._ending = threading.Lock()

    def begin(self, setup: Message) -> JSON:
        """Start the supervisor and tell it what to judge; its answer.

        Raises:
            SupervisorGone: it ended before it answered.
        """
        path = os.pathsep.join(filter(None, (str(HARNESS_ROOT), os.environ.get("PYTHONPATH"))))
        kept = {name: value for name, value in os.environ.items() if not name.startswith(self.withheld)}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "harness.cluster.supervisor"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**kept, **self.environment, "PYTHONPATH": path},
            start_new_session=True,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._wire = Wire(self._process.stdout.fileno(), self._process.stdin.fileno())
        return self._ask(setup)

    def judge(self, cell: str, run: str) -> JSON:
        """The record of a cell.

        Raises:
            SupervisorGone: there is none.
        """
        return self._ask({"cell": cell, "run": run})["record"]

    def _ask(self, message: Message) -> Message:
        assert self._wire is not None
        try:
            with self._asking:
                self._wire.send(message)
                return self._wire.receive()
        except (OSError, ValueError):
            raise SupervisorGone(f"the supervisor ended: {self.end()}") from None

    def end(self) -> str:
        """End the supervisor and what it has started; how it ended."""
        process = self._process
        if process is None:
            return "it was never started"
        with self._ending:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                try:
                    process.wait(PATIENCE_S)
                except subprocess.TimeoutExpired:
                    with contextlib.suppress(ProcessLookupError):
                        os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
            with self._asking:  # whoever asks has heard of it first
                for pipe in (process.stdin, process.stdout):
                    if pipe is not None:
                        with contextlib.suppress(OSError):
                            pipe.close()
        code = process.returncode
        return f"ended by {signal.Signals(-code).name}" if code < 0 else f"exited with code {code}"
