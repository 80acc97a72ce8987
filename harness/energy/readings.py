"""The energy of a window over the meters that were asked, with all that speaks against it. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import or_
from typing import Final

from harness.energy import windows
from harness.energy.crosscheck import checked
from harness.energy.meters import Known, Missing, Source, State, Trace
from harness.energy.quality import Adequacy, Flag, Note, Quality, worst
from harness.energy.windows import Window

UNOBSERVED_S: Final = 1.0
"""So long nobody looked: a throttle or a foreign process may have gone unseen."""
THROTTLED: Final = {
    0x08: "hardware slowdown",
    0x20: "software thermal slowdown",
    0x40: "hardware thermal slowdown",
    0x80: "power brake",
}
"""Bits of nvmlClocksEventReasons by which heat or the power supply holds clocks down; hardware slowdown stands for
heat, power brake or too high a draw. A power cap (0x04) is how many GPUs always run, and is only recorded."""


NO_WINDOW: Final = Window(0.0, 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """The energy of a window."""

    window: Window
    energy_j: Known
    uncertainty_j: Known
    """The most that it can be wrong by, as far as the ticks of the counter go."""
    method: str = ""
    """"counter" or "instant power"."""
    discrepancy: Known
    """Energy by power over energy by counter, less 1."""
    check: str = ""
    """What the counter was compared with: "instant power", "average power" or nothing."""
    period_s: Known
    """Of the slowest counter."""
    samples: int = 0
    bad_samples: int = 0
    """Of these, reads in which something was missing."""
    temperature_c: Known
    """Mean of the hottest device."""
    sm_mhz: Known
    """Mean of the slowest device."""
    memory_mhz: Known
    power_limit_w: Known
    """Of all devices together."""
    throttle: Known
    """All bits that were seen, as NVML gives them."""
    notes: tuple[Note, ...] = ()

    @property
    def duration_s(self) -> float:
        """Seconds of the window."""
        return self.window.duration_s

    @property
    def power_w(self) -> Known:
        """Mean power."""
        return self.energy_j if isinstance(self.energy_j, Missing) else self.energy_j / self.duration_s

    @property
    def quality(self) -> Quality:
        """The worst that a note makes it."""
        return worst(note.flag.quality for note in self.notes)


def unavailable(reason: str, window: Window = NO_WINDOW) -> Reading:
    """A reading of nothing."""
    none = Missing(reason)
    return Reading(
        window=window,
        energy_j=none,
        uncertainty_j=none,
        discrepancy=none,
        period_s=none,
        temperature_c=none,
        sm_mhz=none,
        memory_mhz=none,
        power_limit_w=none,
        throttle=none,
        notes=(Note(Flag.UNAVAILABLE, reason),),
    )


def read(
    traces: Sequence[Trace], window: Window, *, own: Collection[int] = (), adequacy: Adequacy | None = None
) -> Reading:
    """The energy of a window.

    Args:
        traces: of every device that did the work; what one of them cannot tell makes the sum unknown.
        window: from when the work began to when it ended, the device being synchronised at both.
        own: process ids that may be on the devices.
        adequacy: how long a window must be for a claim.
    """
    if not traces:
        return unavailable("no meter was asked", window)
    if window.duration_s <= 0:
        return unavailable(f"expected a window of some length, got {window.duration_s:g} s", window)
    parts = [_one(trace, window, frozenset(own), adequacy or Adequacy()) for trace in traces]
    if len(parts) == 1:
        return parts[0]
    named = zip(traces, parts, strict=True)
    return Reading(
        window=window,
        energy_j=_over((part.energy_j for part in parts), sum),
        uncertainty_j=_over((part.uncertainty_j for part in parts), sum),
        method=" and ".join(dict.fromkeys(part.method for part in parts if part.method)),
        discrepancy=_over((part.discrepancy for part in parts), lambda values: max(values, key=abs)),
        check=" and ".join(dict.fromkeys(part.check for part in parts if part.check)),
        period_s=_over((part.period_s for part in parts), max),
        samples=sum(part.samples for part in parts),
        bad_samples=sum(part.bad_samples for part in parts),
        temperature_c=_over((part.temperature_c for part in parts), max),
        sm_mhz=_over((part.sm_mhz for part in parts), min),
        memory_mhz=_over((part.memory_mhz for part in parts), min),
        power_limit_w=_over((part.power_limit_w for part in parts), sum),
        throttle=_over((part.throttle for part in parts), _bits),
        notes=tuple(Note(note.flag, f"{trace.source.id}: {note.text}") for trace, part in named for note in part.notes),
    )


def _one(trace: Trace, window: Window, own: frozenset[int], adequacy: Adequacy) -> Reading:
    source = trace.source
    found = checked(trace, window, adequacy)
    inside = [sample for sample in trace.samples if sample.t in window]
    states = [state for state in trace.states if state.t in window]
    if not states and trace.states:  # a short window: the nearest look is the best there is
        states = [min(trace.states, key=lambda state: abs(state.t - window.start))]
    throttle = _over(_known((s.throttle for s in inside), source, "throttle reasons were not read"), _bits)
    limits = _known((state.power_limit_w for state in states), source, "the power limit was not read")
    return Reading(
        window=window,
        energy_j=found.energy_j,
        uncertainty_j=found.uncertainty_j,
        method=found.method,
        discrepancy=found.discrepancy,
        check=found.check,
        period_s=trace.period_s,
        samples=len(inside),
        bad_samples=sum(sample.error is not None for sample in inside),
        temperature_c=_mean((state.temperature_c for state in states), source, "the temperature was not read"),
        sm_mhz=_mean((state.sm_mhz for state in states), source, "the SM clock was not read"),
        memory_mhz=_mean((state.memory_mhz for state in states), source, "the memory clock was not read"),
        power_limit_w=_over(limits, min),
        throttle=throttle,
        notes=(*found.notes, *_disturbances(trace, window, states, throttle, own)),
    )


def _disturbances(
    trace: Trace, window: Window, states: Sequence[State], throttle: Known, own: frozenset[int]
) -> list[Note]:
    """What happened to the device that is not the work's doing, and what could not be seen."""
    notes = []
    if (gap := windows.longest_gap_s(trace.samples, window)) > UNOBSERVED_S:
        notes.append(Note(Flag.UNOBSERVED, f"nothing was read for {gap:.1f} s"))
    if trace.source.no_state:
        return notes
    bits = 0 if isinstance(throttle, Missing) else int(throttle)
    if held := [name for bit, name in THROTTLED.items() if bits & bit]:
        notes.append(Note(Flag.THROTTLED, f"clocks were held down: {', '.join(held)}"))
    foreign = {pid for state in states for pid in state.processes or ()} - own
    if foreign:
        notes.append(Note(Flag.FOREIGN_PROCESS, f"other processes on the device: {_listed(foreign)}"))
    hidden = {pid for state in states for pid in state.hidden} - own
    if hidden:
        text = f"processes of another PID namespace on the device: {_listed(hidden)}; whose they are cannot be told"
        notes.append(Note(Flag.UNKNOWN_PROCESS, text))
    unseen = [] if not isinstance(throttle, Missing) else ["throttle reasons"]
    unseen += [] if any(state.processes is not None for state in states) else ["processes"]
    if unseen:
        errors = [e for e in (*(s.error for s in trace.samples), *(s.error for s in trace.states)) if e]
        why = f": {errors[-1]}" if errors else ""
        notes.append(Note(Flag.UNWATCHED, f"{' and '.join(unseen)} could not be read{why}"))
    return notes


def _known(values: Iterable[float | None], source: Source, otherwise: str) -> list[Known]:
    return [value for value in values if value is not None] or [Missing(source.no_state or otherwise)]


def _mean(values: Iterable[float | None], source: Source, otherwise: str) -> Known:
    return _over(_known(values, source, otherwise), lambda known: sum(known) / len(known))


def _over(values: Iterable[Known], fold: Callable[[list[float]], float]) -> Known:
    """One figure of several, or the first reason why one is missing."""
    known: list[float] = []
    for value in values:
        if isinstance(value, Missing):
            return value
        known.append(value)
    return fold(known)


def _bits(values: list[float]) -> float:
    return reduce(or_, (int(value) for value in values))


def _listed(pids: Iterable[int]) -> str:
    return ", ".join(str(pid) for pid in sorted(pids))
