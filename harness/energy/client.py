"""The harness's handle on a sampler: start it beside an engine, ask it for the energy of a window, end it."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Sequence
from typing import Final

from pydantic import TypeAdapter

from harness.energy import readings
from harness.energy.meters import Known, Missing, Sample, Source, State, Trace
from harness.energy.quality import Adequacy
from harness.energy.readings import Reading
from harness.energy.sampler import INTERVAL_S, LEAD_PERIODS, LEAD_S, slowest
from harness.energy.windows import TICK_JITTER, Window
from harness.failure import one_line
from harness.jsontypes import JSON
from harness.launcher import HARNESS_ROOT
from harness.wire import Message, PeerGone, Wire, WireTimeout

COMMAND: Final = (sys.executable, "-m", "harness.energy.sampler")
START_S: Final = 60.0
"""Longer than it takes to open the meters and to measure their counters' periods."""
ANSWER_S: Final = 30.0

_SOURCE: Final = TypeAdapter(Source)
_SAMPLES: Final = TypeAdapter(tuple[Sample, ...])
_STATES: Final = TypeAdapter(tuple[State, ...])


class Sampler:
    """A sampler process. It fails nobody: what it cannot tell is missing, with the reason."""

    def __init__(
        self, meters: Sequence[str], *, interval_s: float = INTERVAL_S, command: Sequence[str] = COMMAND
    ) -> None:
        """Start it; this does not wait until it is ready.

        Args:
            meters: "nvml" for all GPUs, "nvml:UUID" for one, "rapl" for the CPU: all that do the work.
            interval_s: seconds between two reads; a meter that must not be read as often is read less.
            command: what runs the sampler.
        """
        self.sources: tuple[Source, ...] = ()
        """What it measures, once it is ready."""
        self.cpu_s = 0.0
        """CPU seconds it had used when it last answered."""
        self._periods: tuple[Known, ...] = ()
        self._interval_s = interval_s
        self._wire: Wire | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._failed: str | None = None
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
        path = os.pathsep.join(filter(None, (str(HARNESS_ROOT), os.environ.get("PYTHONPATH"))))
        try:
            self._process = subprocess.Popen(
                [*command, "--interval", str(interval_s), *meters],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._log,
                env={**os.environ, "PYTHONPATH": path},
            )
        except OSError as error:
            self._fail(f"the sampler cannot be started: {error}")
            return
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._wire = Wire(self._process.stdout.fileno(), self._process.stdin.fileno())

    @property
    def period_s(self) -> float:
        """Seconds between two ticks of the slowest counter; 0 without any, or before it is ready."""
        return slowest(self._periods)

    @property
    def pid(self) -> int | None:
        """Its process id while it runs."""
        return None if self._process is None else self._process.pid

    def unavailable(self) -> str | None:
        """Waits until it samples; None then, or why it never will."""
        if self._failed is None and not self.sources:
            answer = self._answer(START_S)
            if answer is not None:
                self._begin(answer)
        return self._failed

    def traces(self, window: Window) -> list[Trace] | Missing:
        """What its meters saw around a window, once that has passed; times as `time.monotonic` tells them."""
        if reason := self.unavailable():
            return Missing(reason)
        since = window.start - max(LEAD_S, LEAD_PERIODS * self.period_s)
        # a read after the window, then a tick, then the read that shows it
        until = window.end + 2 * self._interval_s + TICK_JITTER * self.period_s
        answer = self._answer(max(0.0, until - time.monotonic()) + ANSWER_S, {"since": since, "until": until})
        if answer is None:
            return Missing(self._failed or "")
        try:
            seen = _list(answer["meters"])
            self.cpu_s = float(str(answer["cpu_s"]))
            parts = zip(self.sources, self._periods, seen, strict=True)
            return [trace(source, period, item) for source, period, item in parts]
        except (KeyError, ValueError) as error:
            return Missing(f"the sampler said what cannot be understood: {one_line(str(error))}")

    def read(self, window: Window, *, own: Collection[int] = (), adequacy: Adequacy | None = None) -> Reading:
        """The energy of a window, as `harness.energy.readings.read` has it."""
        found = self.traces(window)
        if isinstance(found, Missing):
            return readings.unavailable(found.reason, window)
        return readings.read(found, window, own=own, adequacy=adequacy)

    def close(self) -> None:
        """End it. A second call does nothing."""
        process, self._process, self._wire = self._process, None, None
        self._failed = self._failed or "the sampler was closed"
        self._log.close()
        if process is None:
            return
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None
            with contextlib.suppress(OSError):
                pipe.close()
        try:
            process.wait(ANSWER_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _begin(self, ready: Message) -> None:
        if ready.get("event") != "ready":
            self._fail(str(ready.get("reason")))
            return
        try:
            meters = _list(ready["meters"])
            self.sources = tuple(_SOURCE.validate_python(meter["source"]) for meter in meters)
            self._periods = tuple(
                float(str(meter["period_s"])) if "period_s" in meter else Missing(str(meter["no_period"]))
                for meter in meters
            )
            self._interval_s = float(str(ready["interval_s"]))
        except (KeyError, ValueError) as error:
            self._fail(f"the sampler said what cannot be understood: {one_line(str(error))}")

    def _answer(self, timeout_s: float, request: Message | None = None) -> Message | None:
        """The next message; None, and no further one, when there is none."""
        assert self._wire is not None
        try:
            if request is not None:
                self._wire.send(request)
            return self._wire.receive(timeout_s)
        except (PeerGone, WireTimeout, ValueError) as error:
            self._log.seek(0)
            said = self._log.read().decode(errors="replace").strip()[-300:]
            self._fail(f"the sampler was lost: {one_line(said or str(error))}")
            return None

    def _fail(self, reason: str) -> None:
        self._failed = reason
        self.close()


def trace(source: Source, period_s: Known, seen: Message) -> Trace:
    """What a meter saw, from the sampler's JSON.

    Raises:
        KeyError, ValueError: it is something else.
    """
    return Trace(source, period_s, _SAMPLES.validate_python(seen["samples"]), _STATES.validate_python(seen["states"]))


def _list(value: JSON) -> list[Message]:
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise ValueError(f"expected a list of objects, got {value!r}")
    return [dict(item) for item in value]
