"""The sampler: `python -m harness.energy.sampler nvml:GPU-… [rapl]`, a process beside the engine.

It reads its meters at a steady pace, keeps what it saw, and answers requests for it over JSON lines on stdin and
stdout. It writes nothing that was not asked for, so nobody who is slow to read can hold it up, and it shares nothing
with the engine but the clock. It ends with its parent.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import fields
from typing import Any, Final

from harness import processes
from harness.energy import nvml, rapl
from harness.energy.meters import Known, Meter, MeterUnavailable, Missing, Now, Sample, State, counter_period
from harness.wire import Message, PeerGone, Wire, WireTimeout

INTERVAL_S: Final = 0.05
STATE_EVERY_S: Final = 1.0
KEEP_S: Final = 3600.0
LEAD_S: Final = 0.3
LEAD_PERIODS: Final = 3.0
"""Around a window so much is to be known, at least: the ticks and the power next to its edges lie there."""


class Recorder:
    """Samples of several meters, taken at a steady pace."""

    def __init__(self, meters: Sequence[Meter], interval_s: float = INTERVAL_S, now: Now = time.monotonic) -> None:
        self.meters = list(meters)
        self.interval_s = max([interval_s, *(meter.shortest_s for meter in meters)])
        """Seconds between two reads: what was asked for, unless a meter cannot be read as often."""
        self._now = now
        self._due = now()
        self._state_due = now()
        self._samples: list[deque[Sample]] = [deque() for _ in meters]
        self._states: list[deque[State]] = [deque() for _ in meters]

    def due_s(self) -> float:
        """Seconds until the next read."""
        return max(0.0, self._due - self._now())

    def poll(self) -> None:
        """Read every meter once. A late read puts off the next: two are never closer than the interval."""
        began = self._now()
        self._due = max(self._due, began) + self.interval_s
        slow = began >= self._state_due
        for meter, samples, states in zip(self.meters, self._samples, self._states, strict=True):
            _add(samples, meter.sample())
            if slow:
                _add(states, meter.state())
        if slow:
            self._state_due = began + STATE_EVERY_S

    def between(self, since: float, until: float) -> list[dict[str, Any]]:
        """What each meter has seen from `since` to `until`, as JSON; states from one before that."""
        return [
            {
                "samples": [_plain(sample) for sample in samples if since <= sample.t <= until],
                "states": [_plain(state) for state in states if since - STATE_EVERY_S <= state.t <= until],
            }
            for samples, states in zip(self._samples, self._states, strict=True)
        ]


def _add(kept: deque[Any], new: Sample | State) -> None:
    kept.append(new)
    while kept[0].t < new.t - KEEP_S:
        kept.popleft()


def _plain(item: Any) -> dict[str, Any]:
    """A dataclass without what it does not say."""
    said = {field.name: getattr(item, field.name) for field in fields(item)}
    return {name: value for name, value in said.items() if value is not None}


def open_meters(wanted: Sequence[str], library: nvml.Nvml | None = None) -> list[Meter]:
    """The meters that `wanted` names: "nvml" for every GPU, "nvml:UUID-or-index" for one, "rapl" for the CPU.

    Raises:
        MeterUnavailable: one is not to be had.
    """
    found: list[Meter] = []
    gpus = [name.partition(":")[2] for name in wanted if name.startswith("nvml:")]
    if gpus or "nvml" in wanted:
        found += nvml.open_meters([] if "nvml" in wanted else gpus, library)
    if "rapl" in wanted:
        found.append(rapl.open_meter())
    if not found:
        raise MeterUnavailable(f"no meter is called {', '.join(wanted) or 'nothing'}: expected nvml, nvml:UUID or rapl")
    return found


def serve(wire: Wire, recorder: Recorder, now: Now = time.monotonic) -> None:
    """Sample, and answer {"since", "until"} once `until` has passed.

    Raises:
        PeerGone: nobody asks any more.
    """
    waiting: deque[tuple[float, float]] = deque()
    while True:
        try:
            asked = wire.receive(recorder.due_s())
            waiting.append((float(str(asked["since"])), float(str(asked["until"]))))
        except WireTimeout:
            recorder.poll()
        while waiting and waiting[0][1] <= now():
            seen = recorder.between(*waiting.popleft())
            wire.send({"meters": seen, "cpu_s": time.process_time()})


def main(arguments: Sequence[str], library: nvml.Nvml | None = None) -> int:
    """Entry point; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m harness.energy.sampler", description=__doc__)
    parser.add_argument("meters", nargs="+", help="nvml for all GPUs, nvml:UUID for one, rapl for the CPU")
    parser.add_argument("--interval", type=float, default=INTERVAL_S, help="seconds between two reads")
    asked = parser.parse_args(arguments)
    processes.die_with_parent()
    wire = Wire(os.dup(0), os.dup(1))
    os.dup2(2, 1)
    try:
        try:
            meters = open_meters(asked.meters, library)
        except MeterUnavailable as error:
            wire.send({"event": "unavailable", "reason": str(error)})
            return 3
        periods = [counter_period(meter) for meter in meters]
        recorder = Recorder(meters, asked.interval)
        # a window may begin as soon as we are ready, and the ticks before it must be known by then
        known_from = time.monotonic() + max(LEAD_S, LEAD_PERIODS * slowest(periods))
        while time.monotonic() < known_from:
            recorder.poll()
            time.sleep(recorder.due_s())
        wire.send({"event": "ready", "meters": list(map(_told, meters, periods)), "interval_s": recorder.interval_s})
        serve(wire, recorder)
    except PeerGone:
        pass
    return 0


def slowest(periods: Iterable[Known]) -> float:
    """The longest of the periods that are known, in seconds; 0 without any."""
    return max((period for period in periods if not isinstance(period, Missing)), default=0.0)


def _told(meter: Meter, period: Known) -> Message:
    known: Message = {"no_period": period.reason} if isinstance(period, Missing) else {"period_s": period}
    return {"source": _plain(meter.source), **known}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
