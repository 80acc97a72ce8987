"""Measuring a cell: loaded, idle, warm, then windows of it and of its control in turn, round after round."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import TYPE_CHECKING, Final, Literal, Protocol, TypeAlias

from harness.energy import readings
from harness.energy.meters import Missing
from harness.energy.quality import Flag, Note, Quality
from harness.energy.quantities import Repeat
from harness.energy.readings import Reading
from harness.energy.schedule import Schedule, rounds
from harness.energy.summary import nothing, summarise
from harness.energy.trace import power
from harness.energy.windows import Window

if TYPE_CHECKING:
    from harness.energy.metering import Metered
    from harness.energy.record import EnergyRecord
    from harness.host import Attempt

Role: TypeAlias = Literal["treated", "control"]
_LOAD_S: Final = 0.0
"""Filled by one pass."""


class Engine(Protocol):
    """What runs one job, in an engine that stays loaded between the windows."""

    def fill(self, seconds: float) -> Attempt:
        """Passes of the job for so long, in one window; loads first where that was not done."""

    def warm_up(self, slice_s: float, limit_s: float) -> Attempt:
        """Passes until throughput has settled, or for about `limit_s`."""


@dataclass(frozen=True, slots=True)
class Around:
    """What the measuring needs besides engines."""

    metered: Callable[[Sequence[Attempt]], Metered]
    """The meter for the engines of these runs."""
    own: Callable[[], Collection[int]]
    """Process ids that may be on the devices."""
    wait: Callable[[float], None]
    now: Callable[[], float]
    random: Random


@dataclass(frozen=True, slots=True)
class Taken:
    """A window that was taken."""

    role: Literal["idle", "treated", "control"]
    round: int | None
    reading: Reading
    passes: int = 0
    output_tokens: int = 0
    kept: bool = True


@dataclass(slots=True)
class Measured:
    """What came of a cell."""

    energy: EnergyRecord
    control: EnergyRecord
    windows: list[Taken] = field(default_factory=list)
    power: list[tuple[float, float]] | None = None
    """Seconds, by the clock of the windows, and watts of all devices; None without a meter."""
    failure: str | None = None
    """Why there are no figures at all."""


class Lost(Exception):
    """A run that did not come to its end: nothing can be said of the cell."""


def measure(engines: Mapping[Role, Engine], schedule: Schedule, around: Around) -> Measured:
    """Measure a treated run against its control, if it has one. Failures are told, not raised."""
    try:
        return _Measuring(engines, schedule, around).run()
    except Lost as lost:
        gone = nothing(str(lost), mode="measuring")
        return Measured(gone, gone, failure=str(lost))


class _Measuring:
    """A cell while it is measured."""

    def __init__(self, engines: Mapping[Role, Engine], schedule: Schedule, around: Around) -> None:
        self.engines = engines
        self.schedule = schedule
        self.around = around
        self.windows: list[Taken] = []
        self.repeats: dict[Role, list[Repeat]] = {role: [] for role in engines}
        self.unsettled: dict[Role, Note] = {}

    def run(self) -> Measured:
        loaded = [_ended(role, engine.fill(_LOAD_S)) for role, engine in self.engines.items()]
        meter = self.around.metered(loaded)
        absent = meter.unavailable()
        idle = self._idle(meter) if absent is None else readings.unavailable(absent)
        for role, engine in self.engines.items():
            self._warm_up(role, engine)
        seconds = self.schedule.filled_s(meter.period_s)
        others = [role for role in self.engines if role != "control"]
        last: Role = "control" if "control" in self.engines else "treated"
        for number, order in enumerate(rounds(others, last, self.schedule.repeats, self.around.random), start=1):
            for role in order:
                self._window(role, number, meter, seconds, idle)
        return self._result(meter)

    def _idle(self, meter: Metered) -> Reading:
        """What the devices draw with every engine loaded and nothing to do."""
        if not self.schedule.idle_s:
            return readings.unavailable("no idling was asked for")
        start = self.around.now()
        self.around.wait(self.schedule.idle_s)
        reading = meter.read(Window(start, self.around.now()), own=self.around.own())
        self.windows.append(Taken("idle", None, reading))
        return reading

    def _warm_up(self, role: Role, engine: Engine) -> None:
        limit_s = self.schedule.warm_up_s
        if not limit_s:
            return
        attempt = _ended(role, engine.warm_up(self.schedule.slice_s, limit_s), loads=False)
        if not attempt.settled:
            self.unsettled[role] = Note(Flag.UNSETTLED, f"throughput had not settled after {limit_s:g} s")

    def _window(self, role: Role, number: int, meter: Metered, seconds: float, idle: Reading) -> None:
        """One window; again, as often as the schedule allows, where something else was at work."""
        for left in range(self.schedule.retries, -1, -1):
            attempt = _ended(role, self.engines[role].fill(seconds), loads=False)
            reading = meter.read(attempt.window, own=self.around.own())
            again = left > 0 and reading.quality is Quality.CONTAMINATED
            tally = attempt.tally
            self.windows.append(Taken(role, number, reading, tally.passes, tally.output_tokens, kept=not again))
            if not again:
                break
        if note := self.unsettled.get(role):
            reading = replace(reading, notes=(*reading.notes, note))
        self.repeats[role].append(Repeat(reading, attempt.tally.work(), idle))

    def _result(self, meter: Metered) -> Measured:
        treated, control = self.repeats["treated"], self.repeats.get("control")
        alone = Missing("there is no control")
        own = summarise(treated, alone if control is None else control, meter.sources)
        other = nothing(alone.reason, mode="measuring")
        if control is not None:
            other = summarise(control, Missing("this is the control"), meter.sources)
        whole = Window(self.windows[0].reading.window.start, self.windows[-1].reading.window.end)
        traces = meter.traces(whole)
        return Measured(own, other, self.windows, None if isinstance(traces, Missing) else power(traces, whole))


def _ended(role: Role, attempt: Attempt, *, loads: bool = True) -> Attempt:
    """A run that ended, in an engine that was there before unless it `loads`.

    Raises:
        Lost: it failed, or its engine is another one than before.
    """
    if attempt.failure is not None:
        raise Lost(f"the {role} run failed in {attempt.failure.phase}: {attempt.failure.line}")
    if attempt.new_engine and not loads:
        raise Lost(f"the {role} run's engine was lost between two windows")
    return attempt
