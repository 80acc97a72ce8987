"""The pytest side's handle on a backend host: start it, ask it, survive it."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Protocol, cast

from harness import clock, processes, scratch
from harness.backends.base import Observation
from harness.declare import Seen
from harness.energy.readings import NO_WINDOW
from harness.energy.tally import Tally
from harness.energy.windows import Window
from harness.failure import Failure, one_line
from harness.jsontypes import JSON
from harness.launcher import HostUnavailable, Launcher
from harness.plan import Run
from harness.scratch import MARK, Scratch
from harness.slots.share import Share
from harness.wire import Message, PeerGone, Wire, WireTimeout


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds a phase may take before its engine is killed."""

    start_s: float = 300.0
    """Import of the library."""
    load_s: float = 300.0
    generate_s: float = 300.0


@dataclass(frozen=True, slots=True)
class Attempt:
    """One run that was made: what was seen, or how it failed."""

    seen: Seen | None
    failure: Failure | None
    calls: Sequence[Mapping[str, JSON]] = ()
    """Upstream calls of the run, also of one that failed; empty when the engine died."""
    load_s: float = 0.0
    generate_s: float = 0.0
    upstream_load_s: float = 0.0
    """Seconds inside the library's own load calls, 0 when the engine was shared."""
    upstream_s: float = 0.0
    """Seconds inside the library's own load and generate."""
    new_engine: bool = False
    window: Window = NO_WINDOW
    """From when the work began to when it ended."""
    elsewhere: bool = False
    """Whether that is by another clock than this process's: the engine runs on another machine."""
    tally: Tally = field(default_factory=Tally)
    """What was done in it."""
    settled: bool = True
    """Whether a warm-up ended because throughput had settled."""


class Observer(Protocol):
    """What can make a run happen."""

    def observe(self, run: Run, *, model: str, cache_dir: str | None, fresh: bool, alone: bool = False) -> Attempt:
        """Do the run, in a fresh engine or with no other kept beside it if asked; failures are returned, not raised."""

    def close(self) -> None:
        """End whatever was started."""


class BackendHost:
    """One worker process, started on first use and again if it is lost."""

    verb: ClassVar = "serve"
    """What the worker is asked to do. One that may hold sabotaged engines has another: see `harness.audit`."""

    def __init__(self, backend: str, launcher: Launcher, limits: Limits, keep: int = 3) -> None:
        self.backend = backend
        self.launcher = launcher
        self.limits = limits
        self.keep = keep
        self.share: Share | None = None
        """What of the machine it may use from its next start on; None: all."""
        self.start_s = 0.0
        """Seconds the last start took: the import of the library."""
        self._process: subprocess.Popen[bytes] | None = None
        self._wire: Wire | None = None
        self._scratch: Scratch | None = None
        self._mark = ""
        self._clock = ""
        self._unavailable = ""

    def start(self) -> None:
        """Start the worker and wait until it has imported the library.

        A start that failed is not tried again: it would fail for every cell, and take its time.

        Raises:
            HostUnavailable: it cannot be started, or the import fails.
        """
        if self._process is not None:
            return
        if self._unavailable:
            raise HostUnavailable(self._unavailable)
        try:
            self._start()
        except HostUnavailable as error:
            self._unavailable = str(error)
            raise

    def _start(self) -> None:
        began = time.perf_counter()
        self._mark = secrets.token_hex(8)
        arguments = [self.verb, self.backend, str(self.keep)]
        try:
            self._scratch = scratch.make(self._mark)
            with (self._scratch.path / "log").open("wb") as log:
                self._process = self.launcher.popen(arguments, log.fileno(), self._scratch.path, self._mark, self.share)
        except OSError as error:
            self._remove_scratch()
            raise HostUnavailable(f"no folder for the {self.backend} host's log: {error}") from error
        except HostUnavailable:
            self._remove_scratch()
            raise
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._wire = Wire(self._process.stdout.fileno(), self._process.stdin.fileno())
        try:
            ready = self._wire.receive(self.limits.start_s)
        except (PeerGone, WireTimeout, ValueError) as error:
            tail = self._log_tail()
            self.close(patience_s=0.0)  # an import that hangs hears nothing
            raise HostUnavailable(f"the {self.backend} host did not start: {one_line(tail or str(error))}") from error
        if ready.get("event") != "ready":
            self.close()
            raise HostUnavailable(
                f"the {self.backend} host cannot import its library: {ready.get('type')}: {ready.get('message')}"
            )
        self._clock = str(ready.get("clock"))
        self.start_s = time.perf_counter() - began

    def observe(self, run: Run, *, model: str, cache_dir: str | None, fresh: bool, alone: bool = False) -> Attempt:
        """Do the run. A lost worker is started anew and asked once more."""
        return self._observe(run, model, cache_dir, {}, 0.0, fresh=fresh, alone=alone)

    def fill(self, run: Run, *, model: str, cache_dir: str | None, seconds: float) -> Attempt:
        """Do the run again and again for so long; nothing is seen of it but its window and its tally."""
        return self._observe(run, model, cache_dir, {"fill": {"seconds": seconds}}, seconds)

    def warm_up(self, run: Run, *, model: str, cache_dir: str | None, slice_s: float, limit_s: float) -> Attempt:
        """Do the run again and again until throughput has settled, slice by slice, or for about `limit_s`."""
        return self._observe(run, model, cache_dir, {"warm_up": {"slice_s": slice_s, "limit_s": limit_s}}, limit_s)

    def _observe(
        self,
        run: Run,
        model: str,
        cache_dir: str | None,
        more: Message,
        seconds: float,
        *,
        fresh: bool = False,
        alone: bool = False,
        engine: Message | None = None,
    ) -> Attempt:
        """Ask for the run, with `more` in its job, which may take so long besides, and `engine` in its engine."""
        limits = replace(self.limits, generate_s=self.limits.generate_s + seconds)
        request: Message = {
            "engine": {
                "key": run.engine_key,
                "model": model,
                "cache_dir": cache_dir,
                "settings": run.engine,
                **(engine or {}),
            },
            "job": {
                "settings": run.request,
                "prompts": list(run.workload.prompts),
                "max_new_tokens": run.workload.max_new_tokens,
                "seeds": list(run.workload.seeds),
                "instruments": sorted(run.instruments),
                **more,
            },
            "limits": {"load_s": limits.load_s, "generate_s": limits.generate_s},
            "fresh": fresh,
            "alone": alone,
        }
        for last in (False, True):
            self.start()
            assert self._wire is not None
            try:
                self._wire.send(request)
                return _attempt(self._wire.receive(limits.load_s + limits.generate_s + 60.0), self._clock)
            except (PeerGone, WireTimeout, ValueError) as error:
                tail = self._log_tail()
                self.close()
                if last:
                    text = f"the backend host was lost twice: {one_line(tail[-300:] or str(error))}"
                    return Attempt(None, Failure("load", "host_lost", type(error).__name__, text, where="upstream"))
        raise AssertionError("unreachable")

    def close(self, *, patience_s: float = 10.0) -> None:
        """Close the worker's stdin so that it ends its engines and leaves; insist if it does not."""
        process, self._process, self._wire = self._process, None, None
        if process is None:
            return
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        try:
            process.wait(patience_s)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        processes.end_marked(f"{MARK}={self._mark}")
        self._remove_scratch()

    def _remove_scratch(self) -> None:
        if self._scratch is not None:
            self._scratch.remove()
            self._scratch = None

    @property
    def pid(self) -> int | None:
        """The worker's process id while it runs."""
        return None if self._process is None else self._process.pid

    def _log_tail(self) -> str:
        if self._scratch is None:
            return ""
        try:
            return (self._scratch.path / "log").read_bytes()[-2000:].decode(errors="replace")
        except OSError:
            return ""


def _attempt(answer: Message, its_clock: str) -> Attempt:
    blank = Attempt(
        seen=None,
        failure=None,
        calls=_calls(answer.get("calls")),
        load_s=_number(answer.get("load_s")),
        generate_s=_number(answer.get("generate_s")),
        upstream_load_s=_number(answer.get("upstream_load_s")),
        upstream_s=_number(answer.get("upstream_load_s")) + _number(answer.get("upstream_s")),
        new_engine=bool(answer.get("new_engine")),
    )
    facts = answer.get("failure")
    if isinstance(facts, dict):
        return replace(blank, failure=Failure.parse(facts))
    observation, read_back, tally = answer.get("observation", {}), answer["read_back"], answer.get("tally")
    assert isinstance(observation, dict)
    assert isinstance(read_back, dict)
    seen = Seen(cast("Observation", observation), read_back, blank.calls)
    counted = Tally.parse(tally) if isinstance(tally, dict) else Tally()
    if not isinstance(tally, dict):
        counted.add(seen.observation)
    return replace(
        blank,
        seen=seen,
        window=_window(answer.get("window")),
        elsewhere=its_clock != clock.identity(),
        tally=counted,
        settled=bool(answer.get("settled", True)),
    )


def _window(told: JSON) -> Window:
    assert isinstance(told, list)
    start, end = told
    return Window(_number(start), _number(end))


def _calls(value: JSON) -> list[Mapping[str, JSON]]:
    listed = value if isinstance(value, list) else []
    return [call for call in listed if isinstance(call, dict)]


def _number(value: JSON) -> float:
    return float(value) if isinstance(value, (int, float)) else 0.0
