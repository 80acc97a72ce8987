"""Streaming and traffic: when output arrives, and when requests are handed over.

Timing on a busy machine proves nothing by its absence, so these probes never say `ignored`.
"""

from __future__ import annotations

import statistics
from itertools import pairwise

from harness.backends.pacing import Traffic, schedule
from harness.declare import Probe, Seen, Shown
from harness.jsontypes import JSON
from matrix.probes.scores import number

RATE = 10.0
"""Requests a second in the cells of traffic simulation."""

MODE_GAPS = 31
"""Gaps by which even and exponential ones are told apart."""
MODE_LEAST = 9
"""Off-beat gaps from which arrivals count as exponential."""
ON_TIME_LEAST = 9
"""Requests, of the fifteen after the first, that must come at their time for a schedule to count as theirs."""
_EARLY = 1e-3
"""Seconds by which a moment may be off: what waits for it does not return before it."""


def _streams(run: Seen, control: Seen, value: JSON) -> Shown:
    """True: a piece comes out with each forward call. False: each output comes whole."""
    del control
    chunks = run.observation.get("chunks", [])
    outputs = run.observation["outputs"]
    pieces = {o["prompt"]: [c for c in chunks if c["prompt"] == o["prompt"]] for o in outputs}
    joined = all("".join(c["text"] for c in pieces[o["prompt"]]) == o["text"] for o in outputs)
    made = [[c.get("forwards", 0) for c in own if c["tokens"]] for own in pieces.values()]
    # on a busy machine one may come late, but not most of them
    rising = all(len(set(own)) * 2 > len(own) for own in made)
    counts = [len(own) for own in pieces.values()]
    fine = joined and rising and (min(counts) > 2 if value else max(counts) == 1)
    text = f"{min(counts)} to {max(counts)} chunks an output, {'' if joined else 'not '}equal to it when joined"
    if value:
        text += f", {'most after forward calls of their own' if rising else 'held back'}"
    if value and fine:
        first = statistics.median(own[0]["at_s"] for own in pieces.values())
        last = statistics.median(own[-1]["at_s"] for own in pieces.values())
        text += f", first after {first * 1000:.0f} ms, last after {last * 1000:.0f} ms (medians)"
    return Shown(fine, text)


def _delivered(run: Seen, control: Seen, value: JSON) -> Shown:
    """As `_streams`; False is delivered by the engine that streams: what has no count of calls came all at once."""
    shown = _streams(run, control, value)
    chunks = run.observation.get("chunks", [])
    if value:
        return shown
    after = all(c.get("forwards", 0) >= c["tokens"] for c in chunks)
    text = "after the forward calls of all its tokens" if after else "from an engine that was not watched for pieces"
    return Shown(shown.holds and after, f"{shown.saw}, {text}")


def gaps(run: Seen) -> list[float]:
    """Seconds between successive requests."""
    return [b - a for a, b in pairwise(run.observation["arrivals"])]


def _paced(run: Seen, control: Seen, value: JSON) -> Shown:
    """Enabled: no request comes before its time. Not: they come as fast as they are served."""
    del control
    arrivals = run.observation["arrivals"]
    rate = (len(arrivals) - 1) / arrivals[-1]
    held_back = all(at >= index / RATE - _EARLY for index, at in enumerate(arrivals))
    return Shown(held_back is bool(value), f"{len(arrivals)} requests at {rate:.1f}/s")


def off_beat(run: Seen) -> int:
    """Gaps that are off the mean gap of `RATE` by more than half of it."""
    return sum(abs(gap * RATE - 1) > 0.5 for gap in gaps(run))


def _mode(run: Seen, control: Seen, value: JSON) -> Shown:
    """An exponential gap is off beat with a chance of 1 - e^-0.5 + e^-1.5 = 0.617, whatever the other gaps are."""
    del control
    count, total = off_beat(run), len(gaps(run))
    if total < MODE_GAPS:
        raise LookupError(f"{total} gaps: {MODE_GAPS} are needed to tell")
    fine = count < MODE_LEAST if value == "constant" else count >= MODE_LEAST
    return Shown(fine, f"{count} of {total} gaps are off the mean by more than half of it")


def _kept(run: Seen, own: Traffic) -> Shown:
    """No request comes before its time in a schedule, and most come within half a mean gap after it.

    Of the first this says nothing: it comes at once in any schedule.
    """
    arrivals = run.observation["arrivals"]
    late = [at - due for at, due in zip(arrivals, schedule(len(arrivals), own), strict=True)][1:]
    early, on_time = sum(by < -_EARLY for by in late), sum(-_EARLY <= by <= 0.5 / own.rate for by in late)
    text = f"of {len(late)} requests after the first {on_time} come at their time, {early} before it"
    return Shown(early == 0 and on_time >= ON_TIME_LEAST, text)


def _rate(run: Seen, control: Seen, value: JSON) -> Shown:
    del control
    shown = _kept(run, Traffic("constant", number(value)))
    return Shown(shown.holds, f"{1 / statistics.fmean(gaps(run)):.1f} requests/s; {shown.saw} at {number(value):g}/s")


def _own_schedule(run: Seen, control: Seen, value: JSON) -> Shown:
    del control
    shown = _kept(run, Traffic("poisson", RATE, seed=int(number(value))))
    return Shown(shown.holds, f"{shown.saw} in the schedule of seed {value}")


streaming = Probe(says="output arrives in pieces when streaming, whole when not", effect=_streams, decisive=False)
delivered = Probe(
    says="output arrives in pieces when streaming and whole when not, from an engine that can do both",
    effect=_delivered,
    decisive=False,
)
paced = Probe(
    says="requests wait for their time when enabled",
    effect=_paced,
    decisive=False,
    statistics="whether none of the 15 requests after the first comes before its time: paced ones never do, and "
    "unpaced ones do unless each of them is held up, a chance of 1e-30 if one in a hundred is (served in less than "
    "the gap of 100 ms; where serving takes longer the control shows the same, which is uncertain)",
)
mode = Probe(
    says="gaps between requests are even (constant) or exponential (poisson)",
    effect=_mode,
    decisive=False,
    statistics="the number of 31 gaps that are off the mean by more than half of it, binomial(31, 0.617) for "
    "exponential ones, against a limit of 9: exponential gaps fall below it with a chance of 5.5e-5, and even ones "
    "reach it only where five of 32 requests come half a gap (50 ms) late, 1.6e-5 if one in a hundred does",
)
rate = Probe(
    says="requests come at the beat of this rate",
    effect=_rate,
    decisive=False,
    statistics="whether none of the 15 requests after the first comes before its time and 9 of them come within half a "
    "gap after it: at four times the rate they come before it, and at a quarter of it none comes at its time, so false "
    "confirmation has no chance; seven must be later than that for a refusal, 6e-11 if one in a hundred is",
)
own_schedule = Probe(
    says="requests come at the times that this seed draws",
    effect=_own_schedule,
    decisive=False,
    statistics="whether none of the 15 requests after the first comes before its time and 9 of them come within half a "
    "mean gap (50 ms) after it: times that another seed drew, or none, do so with a chance of less than 1e-5; seven "
    "must be later than that for a refusal, 6e-11 if one in a hundred is",
)
