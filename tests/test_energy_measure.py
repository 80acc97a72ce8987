"""The measuring loop over simulated devices of known truth: no time passes, and all but the devices is real."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from dataclasses import replace
from random import Random

import pytest

from harness.energy import nvml
from harness.energy.client import trace
from harness.energy.measure import Around, Measured, Role, measure
from harness.energy.metering import Metered, NoMeter
from harness.energy.meters import Known, Missing, Source, Trace, counter_period
from harness.energy.quality import Adequacy, Flag, Quality
from harness.energy.readings import Reading, read
from harness.energy.record import EnergyRecord, Figure
from harness.energy.sampler import Recorder
from harness.energy.schedule import Schedule
from harness.energy.tally import Tally
from harness.energy.windows import Window
from harness.failure import Failure
from harness.host import Attempt
from tests import toys
from tests.simulated_device import Gpu, Load, SimulatedNvml, VirtualClock

IDLE_W, OURS, FOREIGN = 80.0, 1, os.getpid()
"""Processes that exist."""
SAMPLED_S = 0.05


class Machine:
    """A GPU that draws what runs on it, a sampler that looks at it, and the time that passes with both."""

    def __init__(self, **gpu: object) -> None:
        self.clock = VirtualClock()
        self.load = Load([(0.0, IDLE_W), (self.clock(), IDLE_W)])
        self.gpu = Gpu(self.load, **gpu)  # type: ignore[arg-type]
        self.meters = nvml.open_meters((), SimulatedNvml([self.gpu], self.clock), self.clock)
        self.period: Known = counter_period(self.meters[0], self.clock, self._pass)
        self.recorder = Recorder(self.meters, SAMPLED_S, self.clock)

    def _pass(self, seconds: float) -> None:
        self._draw(self.clock() + seconds, IDLE_W)
        self.clock.sleep(seconds)

    def _draw(self, until: float, watts: float) -> None:
        """What is drawn from now on: told before, since the counter looks back only."""
        self.load.times.append(until)
        self.load.watts[-1] = watts
        self.load.joules.append(self.load.joules[-1] + watts * (until - self.load.times[-2]))
        self.load.watts.append(IDLE_W)

    def work(self, seconds: float, watts: float) -> Window:
        """So many seconds at so many watts, while the sampler looks."""
        start = self.clock()
        self._draw(start + seconds, watts)
        while self.clock() + self.recorder.due_s() < start + seconds:
            self.clock.sleep(self.recorder.due_s())
            self.recorder.poll()
        self.clock.sleep(start + seconds - self.clock())
        return Window(start, self.clock())

    def idle(self, seconds: float) -> None:
        self.work(seconds, IDLE_W)

    # as a sampler ---------------------------------------------------------------------------------------------------

    @property
    def sources(self) -> Sequence[Source]:
        return [self.meters[0].source]

    @property
    def period_s(self) -> float:
        return 0.0 if isinstance(self.period, Missing) else self.period

    def unavailable(self) -> None:
        """It is ready once it has seen what comes before a window."""
        self.idle(0.4)

    def traces(self, window: Window) -> list[Trace] | Missing:
        self.idle(max(0.0, window.end + 0.4 - self.clock()))
        (seen,) = self.recorder.between(window.start - 0.4, window.end + 0.4)
        return [trace(self.meters[0].source, self.period, seen)]

    def read(self, window: Window, *, own: Collection[int] = (), adequacy: Adequacy | None = None) -> Reading:
        found = self.traces(window)
        assert not isinstance(found, Missing)
        return read(found, window, own=own, adequacy=adequacy)


class Engine:
    """Makes a token every `token_s` at so many watts; takes part in the order that is noted."""

    def __init__(self, machine: Machine, name: str, order: list[str], *, watts: float, token_s: float) -> None:
        self.machine, self.name, self.order = machine, name, order
        self.watts, self.token_s = watts, token_s
        self.true: list[float] = []
        """Joules per token of each window, as they really were."""
        self.settled = True
        self.fails_after: int | None = None

    def _attempt(self, window: Window, tokens: int) -> Attempt:
        seen = replace(toys.seen(), read_back={"gpu_uuids": [self.machine.gpu.uuid]})
        counted = Tally(passes=1, output_tokens=tokens, prompt_tokens=tokens)
        return Attempt(seen, None, window=window, tally=counted, settled=self.settled)

    def fill(self, seconds: float) -> Attempt:
        if self.fails_after is not None and len(self.true) >= self.fails_after:
            return Attempt(None, Failure("generate", "crashed", "EngineDied", "it died"))
        tokens = max(1, -int(-seconds // self.token_s))
        window = self.machine.work(tokens * self.token_s, self.watts)
        if seconds:
            joules = self.machine.load.energy(window.end) - self.machine.load.energy(window.start)
            self.true.append(joules / tokens)
            self.order.append(self.name)
        return self._attempt(window, tokens)

    def warm_up(self, slice_s: float, limit_s: float) -> Attempt:
        del limit_s
        return self._attempt(self.machine.work(3 * slice_s, self.watts), 1)


def measured(
    machine: Machine, engines: dict[Role, Engine], schedule: Schedule | None = None, meter: Metered | None = None
) -> Measured:
    around = Around(
        metered=lambda _: meter or machine,
        own=lambda: {OURS},
        wait=machine.idle,
        now=machine.clock,
        random=Random(0),  # noqa: S311 - no secret
    )
    return measure(dict(engines), schedule or Schedule(), around)


def pair(machine: Machine, order: list[str] | None = None) -> dict[Role, Engine]:
    noted = [] if order is None else order
    return {
        "control": Engine(machine, "control", noted, watts=250.0, token_s=0.02),
        "treated": Engine(machine, "treated", noted, watts=300.0, token_s=0.01),
    }


def figure(record: EnergyRecord, name: str) -> Figure:
    found = getattr(record, name)
    assert isinstance(found, Figure), record.why_missing(name)
    return found


@pytest.mark.parametrize("phase_s", [0.0, 0.037, 0.081])
def test_joules_per_token_are_the_truth_within_a_percent(phase_s: float) -> None:
    machine = Machine(phase_s=phase_s)
    engines = pair(machine)
    found = measured(machine, engines)
    assert found.energy.quality is Quality.MEASURED, found.energy.notes
    for engine, record in ((engines["treated"], found.energy), (engines["control"], found.control)):
        true = sum(engine.true) / len(engine.true)
        assert figure(record, "j_per_output_token").value == pytest.approx(true, rel=0.01)
    assert figure(found.energy, "idle_w").value == pytest.approx(IDLE_W, rel=0.01)
    assert figure(found.energy, "net_j_per_output_token").value == pytest.approx((300 - IDLE_W) * 0.01, rel=0.02)
    versus = figure(found.energy, "j_per_output_token").versus_control
    assert versus is not None
    assert versus.value == pytest.approx(3.0 / 5.0 - 1, abs=0.01)
    assert figure(found.energy, "tokens_per_s").value == pytest.approx(100, rel=0.01)


def test_each_round_has_the_control_and_windows_are_as_long_as_a_claim_takes() -> None:
    order: list[str] = []
    machine = Machine()
    found = measured(machine, pair(machine, order), Schedule(repeats=4))
    assert [sorted(order[i : i + 2]) for i in range(0, 8, 2)] == [["control", "treated"]] * 4
    assert order not in (["control", "treated"] * 4, ["treated", "control"] * 4), "in an order of its own"
    windows = [taken for taken in found.windows if taken.role != "idle"]
    assert [taken.round for taken in windows] == [1, 1, 2, 2, 3, 3, 4, 4]
    assert all(taken.reading.duration_s >= 10.0 for taken in windows)
    slow = Machine(tick_s=0.2)
    assert measured(slow, pair(slow)).windows[-1].reading.duration_s >= 20.0 * 0.98, "100 ticks"


def test_a_window_that_was_asked_for_shorter_is_flagged() -> None:
    machine = Machine()
    found = measured(machine, pair(machine), Schedule(window_s=2.0))
    assert found.energy.quality is Quality.INDICATIVE
    assert Flag.SHORT_WINDOW in {note.flag for note in found.energy.notes}


def test_a_contaminated_window_is_measured_again_and_what_is_kept_is_clean() -> None:
    machine = Machine(processes=((1030.0, 1036.0, FOREIGN), (0.0, 1e9, OURS)))
    found = measured(machine, pair(machine))
    dropped = [taken for taken in found.windows if not taken.kept]
    assert dropped
    assert all(taken.reading.quality is Quality.CONTAMINATED for taken in dropped)
    assert found.energy.quality in {Quality.MEASURED, Quality.UNCERTAIN}
    assert figure(found.energy, "gross_j").repeats == 3


def test_contamination_that_stays_is_told_and_measured_no_more_than_allowed() -> None:
    machine = Machine(throttle=((0.0, 1e9, 0x40),))
    found = measured(machine, pair(machine), Schedule(repeats=1, retries=2))
    assert found.energy.quality is Quality.CONTAMINATED
    assert sum(taken.role == "treated" for taken in found.windows) == 3
    assert [taken.kept for taken in found.windows if taken.role == "treated"] == [False, False, True]


def test_throughput_that_did_not_settle_is_told() -> None:
    machine = Machine()
    engines = pair(machine)
    engines["treated"].settled = False
    notes = measured(machine, engines).energy.notes
    assert [note.text for note in notes] == ["throughput had not settled after 30 s"]


def test_without_a_meter_nobody_idles_and_all_but_joules_is_told() -> None:
    machine = Machine()
    began = machine.clock()
    found = measured(machine, pair(machine), Schedule(repeats=2, window_s=1.0), NoMeter("no counter here"))
    assert found.energy.why_missing("j_per_output_token") == "no counter here"
    assert figure(found.energy, "tokens_per_s").value == pytest.approx(100, rel=0.01)
    assert found.power is None
    assert "idle" not in {taken.role for taken in found.windows}
    assert machine.clock() - began < 10.0


def test_a_run_that_fails_between_windows_leaves_no_figures_but_the_reason() -> None:
    machine = Machine()
    engines = pair(machine)
    engines["treated"].fails_after = 1
    found = measured(machine, engines)
    assert found.windows == []
    assert found.energy.why_missing("tokens_per_s") == "the treated run failed in generate: EngineDied: it died"


def test_what_has_no_control_is_measured_alone() -> None:
    machine = Machine()
    found = measured(machine, {"treated": pair(machine)["treated"]})
    assert figure(found.energy, "j_per_output_token").value == pytest.approx(3.0, rel=0.01)
    assert found.energy.why_missing("gross_j.versus_control") == "there is no control"


def test_the_power_that_was_drawn_is_kept_over_the_windows() -> None:
    machine = Machine()
    found = measured(machine, pair(machine))
    assert found.power is not None
    assert 100 < len(found.power) <= 400
    for taken in found.windows:
        inside = [w for t, w in found.power if taken.reading.window.start + 1 < t < taken.reading.window.end - 1]
        expected = {"idle": IDLE_W, "treated": 300.0, "control": 250.0}[taken.role]
        assert sum(inside) / len(inside) == pytest.approx(expected, rel=0.02)
