"""What is told of a window: each figure, its unit, how it is had from one repeat, and how repeats become one. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import or_
from typing import Final, TypeAlias

from harness.energy.estimates import percentile
from harness.energy.meters import Known, Missing
from harness.energy.readings import Reading


@dataclass(frozen=True, slots=True)
class Work:
    """What was done in a window."""

    output_tokens: int
    total_tokens: Known
    """Of prompts and output."""
    ttft_s: tuple[float, ...] | Missing
    """Time to first token, of each request."""
    inter_token_s: tuple[float, ...] | Missing
    peak_device_bytes: Known
    peak_host_bytes: Known


@dataclass(frozen=True, slots=True)
class Repeat:
    """One window: what it drew, what was done, and what the device draws with the model loaded and nothing to do."""

    reading: Reading
    work: Work
    idle: Reading


@dataclass(frozen=True, slots=True)
class Value:
    """One repeat's value, and the most that it can be wrong by where that is known."""

    value: float
    uncertainty: float | None = None


Told: TypeAlias = Value | Missing
Of: TypeAlias = Callable[[Repeat], Told]


@dataclass(frozen=True, slots=True)
class Quantity:
    """One figure of the record."""

    unit: str
    method: str
    """"{meter}" stands for how the energy was had."""
    of: Of
    fold: Callable[[Sequence[float]], float] | None = None
    """How the repeats become one value; None for their mean, with its interval and the difference to the control."""
    claim: bool = False
    """Whether it takes a window of the measuring mode to say it."""


def _told(known: Known) -> Told:
    return known if isinstance(known, Missing) else Value(known)


def _work(of: Callable[[Work], Known]) -> Of:
    return lambda repeat: _told(of(repeat.work))


def _read(of: Callable[[Reading], Known]) -> Of:
    return lambda repeat: _told(of(repeat.reading))


def _gross(repeat: Repeat) -> Told:
    joules, unsure = repeat.reading.energy_j, repeat.reading.uncertainty_j
    if isinstance(joules, Missing):
        return joules
    return Value(joules, None if isinstance(unsure, Missing) else unsure)


def _net(repeat: Repeat) -> Told:
    gross, idle_w = _gross(repeat), repeat.idle.power_w
    if isinstance(gross, Missing):
        return gross
    if isinstance(idle_w, Missing):
        return Missing(f"no idle baseline: {idle_w.reason}")
    seconds, unsure = repeat.reading.duration_s, repeat.idle.uncertainty_j
    if gross.uncertainty is None or isinstance(unsure, Missing):
        return Value(gross.value - idle_w * seconds)
    return Value(gross.value - idle_w * seconds, gross.uncertainty + unsure * seconds / repeat.idle.duration_s)


def _per(of: Of, tokens: Callable[[Work], Known]) -> Of:
    def divided(repeat: Repeat) -> Told:
        whole, count = of(repeat), tokens(repeat.work)
        if isinstance(whole, Missing):
            return whole
        if isinstance(count, Missing):
            return count
        if count < 1:
            return Missing("no token was generated")
        return Value(whole.value / count, None if whole.uncertainty is None else whole.uncertainty / count)

    return divided


def _percentile(of: Callable[[Work], tuple[float, ...] | Missing], percent: float) -> Of:
    def told(repeat: Repeat) -> Told:
        values = of(repeat.work)
        return values if isinstance(values, Missing) else _told(percentile(values, percent))

    return told


def _output(work: Work) -> int:
    return work.output_tokens


def _total(work: Work) -> Known:
    return work.total_tokens


def _furthest(values: Sequence[float]) -> float:
    return max(values, key=abs)


def _bits(values: Sequence[float]) -> float:
    return reduce(or_, (int(value) for value in values))


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _ttft(work: Work) -> tuple[float, ...] | Missing:
    return work.ttft_s


def _inter_token(work: Work) -> tuple[float, ...] | Missing:
    return work.inter_token_s


def _rate(repeat: Repeat) -> Told:
    seconds = repeat.reading.duration_s
    return Value(repeat.work.output_tokens / seconds) if seconds > 0 else Missing("the window was not timed")


QUANTITIES: Final[dict[str, Quantity]] = {
    "gross_j": Quantity("J", "{meter}", _gross),
    "net_j": Quantity("J", "{meter}, less idle power", _net),
    "j_per_output_token": Quantity("J/token", "{meter}", _per(_gross, _output), claim=True),
    "j_per_total_token": Quantity("J/token", "{meter}", _per(_gross, _total), claim=True),
    "net_j_per_output_token": Quantity("J/token", "{meter}, less idle power", _per(_net, _output), claim=True),
    "net_j_per_total_token": Quantity("J/token", "{meter}, less idle power", _per(_net, _total), claim=True),
    "output_tokens": Quantity("tokens", "counted", _work(_output), sum),
    "total_tokens": Quantity("tokens", "counted", _work(_total), sum),
    "tokens_per_s": Quantity("tokens/s", "counted over the window", _rate),
    "ttft_p50_s": Quantity("s", "median of the requests", _percentile(_ttft, 50)),
    "ttft_p95_s": Quantity("s", "95th percentile of the requests", _percentile(_ttft, 95)),
    "inter_token_p50_s": Quantity("s", "median of the tokens", _percentile(_inter_token, 50)),
    "inter_token_p95_s": Quantity("s", "95th percentile of the tokens", _percentile(_inter_token, 95)),
    "inter_token_p99_s": Quantity("s", "99th percentile of the tokens", _percentile(_inter_token, 99)),
    "peak_device_bytes": Quantity("B", "told by the engine", _work(lambda work: work.peak_device_bytes)),
    "peak_host_bytes": Quantity("B", "told by the engine", _work(lambda work: work.peak_host_bytes)),
    "duration_s": Quantity("s", "all windows", _read(lambda reading: reading.duration_s), sum),
    "idle_w": Quantity("W", "mean over the idle windows", lambda repeat: _told(repeat.idle.power_w), _mean),
    "sensor_discrepancy": Quantity("1", "furthest of the windows", _read(lambda r: r.discrepancy), _furthest),
    "counter_period_s": Quantity("s", "measured at start", _read(lambda reading: reading.period_s), max),
    "samples": Quantity("samples", "all windows", _read(lambda reading: reading.samples), sum),
    "bad_samples": Quantity("samples", "all windows", _read(lambda reading: reading.bad_samples), sum),
    "temperature_c": Quantity("°C", "mean over the windows", _read(lambda reading: reading.temperature_c), _mean),
    "sm_mhz": Quantity("MHz", "mean over the windows", _read(lambda reading: reading.sm_mhz), _mean),
    "memory_mhz": Quantity("MHz", "mean over the windows", _read(lambda reading: reading.memory_mhz), _mean),
    "power_limit_w": Quantity("W", "lowest of the windows", _read(lambda reading: reading.power_limit_w), min),
    "throttle_bits": Quantity("bits", "any in the windows", _read(lambda reading: reading.throttle), _bits),
}
"""Every figure of `EnergyRecord`, by its name."""
