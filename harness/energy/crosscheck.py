"""The energy that one meter has seen in a window: by its counter, checked against its power. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from harness.energy import windows
from harness.energy.meters import Known, Missing, Trace
from harness.energy.quality import Adequacy, Flag, Note
from harness.energy.windows import Window

DISAGREEMENT: Final = 0.05
"""Counter and power that are further apart are not believed."""


@dataclass(frozen=True, slots=True)
class Checked:
    """Joules, how they were had, and how far they agree with the other sensor."""

    energy_j: Known
    uncertainty_j: Known
    method: str
    discrepancy: Known
    check: str
    notes: tuple[Note, ...]


def checked(trace: Trace, window: Window, adequacy: Adequacy) -> Checked:
    """Energy by the counter; by instant power only where the counter cannot tell, and then with a flag."""
    source, samples, period_s = trace.source, trace.samples, trace.period_s
    counter = Missing(source.no_counter) if source.no_counter else windows.by_counter(samples, window, period_s)
    instant = Missing(source.no_power) if source.no_power else windows.by_instant_power(samples, window)
    notes = _adequate(trace, window, adequacy)
    if isinstance(counter, Missing):
        if isinstance(instant, Missing):
            reason = counter.reason if source.no_power else f"{counter.reason}; {instant.reason}"
            gone = Missing(reason)
            return Checked(gone, gone, "", gone, "", (*notes, Note(Flag.UNAVAILABLE, reason)))
        notes.append(Note(Flag.NO_COUNTER, counter.reason))
        unbound = Missing("instant power has no ticks that would bound it")
        return Checked(instant, unbound, "instant power", counter, "", tuple(notes))
    power, check = instant, "instant power"
    if isinstance(instant, Missing) and not source.no_power and window.duration_s >= adequacy.window_s:
        power, check = windows.by_average_power(samples, window), "average power"
    if isinstance(power, Missing):
        if not source.no_power:
            notes.append(Note(Flag.UNCHECKED, power.reason))
        return Checked(counter.joules, counter.uncertainty_j, "counter", power, "", tuple(notes))
    # what the ticks leave open explains a difference in a short window, and not in one that is long enough
    open_j = 0.0 if adequacy.met(window.duration_s, period_s) else counter.uncertainty_j
    if abs(power - counter.joules) > DISAGREEMENT * counter.joules + open_j:
        text = f"{power:.4g} J by {check}, {counter.joules:.4g} J by counter: more than 5% apart"
        notes.append(Note(Flag.SENSORS_DISAGREE, text))
    discrepancy = power / counter.joules - 1
    return Checked(counter.joules, counter.uncertainty_j, "counter", discrepancy, check, tuple(notes))


def _adequate(trace: Trace, window: Window, adequacy: Adequacy) -> list[Note]:
    found = []
    if not adequacy.met(window.duration_s, trace.period_s):
        needed = adequacy.needed_s(trace.period_s)
        found.append(Note(Flag.SHORT_WINDOW, f"{window.duration_s:.3g} s, expected at least {needed:.3g} s"))
    if isinstance(trace.period_s, Missing) and not trace.source.no_counter:
        found.append(Note(Flag.PERIOD_UNKNOWN, trace.period_s.reason))
    return found
