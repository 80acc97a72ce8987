"""What a meter is, and what it gives: samples of a counter and of power, and the state of the device."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal, Protocol, TypeAlias

Now: TypeAlias = Callable[[], float]
"""Seconds of CLOCK_MONOTONIC, which all processes of a machine share (clock_gettime(2))."""

PERIOD_TICKS: Final = 12
"""Ticks that make a measured period."""
PERIOD_LIMIT_S: Final = 3.0
PERIOD_POLL_S: Final = 0.005


class MeterUnavailable(RuntimeError):
    """There is no such meter here; the message says why and how to mend it."""


@dataclass(frozen=True, slots=True)
class Missing:
    """In the place of a figure that could not be had."""

    reason: str


Known: TypeAlias = float | Missing
"""A figure, or why there is none."""


@dataclass(frozen=True, slots=True)
class Source:
    """What a meter measures."""

    kind: Literal["nvml", "rapl"]
    id: str
    """UUID of a GPU; "packages" for the CPU."""
    name: str
    scope: str
    """What the energy is of, in words."""
    driver: str | None = None
    mig_mode: str | None = None
    """"disabled", or "unsupported"; a GPU in MIG mode has no meter here."""
    no_counter: str | None = None
    """Why there is no energy counter, where there is none."""
    no_power: str | None = None
    """Why there is no power sensor, where there is none."""
    no_state: str | None = None
    """Why there is no temperature, throttle reason or list of processes, where there is none."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One read of a meter. What could not be read is None, with an error."""

    t: float
    """Middle of the counter's read, CLOCK_MONOTONIC seconds."""
    took: float
    """Seconds the counter's read took."""
    energy_j: float | None = None
    epoch: int = 0
    """Counts the breaks of the counter: energies of different epochs cannot be subtracted."""
    instant_w: float | None = None
    average_w: float | None = None
    """Power averaged over the second before."""
    throttle: int | None = None
    """NVML's bits of why clocks are held down (nvmlClocksEventReasons)."""
    error: str | None = None


@dataclass(frozen=True, slots=True)
class State:
    """What changes slowly. What could not be read is None, with an error."""

    t: float
    temperature_c: float | None = None
    sm_mhz: float | None = None
    memory_mhz: float | None = None
    power_limit_w: float | None = None
    processes: tuple[int, ...] | None = None
    """Process ids on the device that exist in our process namespace."""
    hidden: tuple[int, ...] = ()
    """Process ids on the device that do not: they belong to another namespace, and may be ours."""
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Trace:
    """What one meter has seen, in order."""

    source: Source
    period_s: Known
    """Of its counter, measured."""
    samples: tuple[Sample, ...] = ()
    states: tuple[State, ...] = ()


class Meter(Protocol):
    """What can be sampled. No read raises: a bad one is a sample that says so."""

    @property
    def source(self) -> Source:
        """What it measures."""

    @property
    def shortest_s(self) -> float:
        """Seconds between two samples that must be kept."""

    def energy(self) -> Sample:
        """The counter alone."""

    def sample(self) -> Sample:
        """The counter, and power with what holds it down."""

    def state(self) -> State:
        """Temperature, clocks, limits and processes."""


def counter_period(meter: Meter, now: Now = time.monotonic, sleep: Callable[[float], None] = time.sleep) -> Known:
    """Seconds between two ticks of a meter's energy counter, measured; an upper limit where it ticks faster than read.

    Reads the counter alone, every 5 ms, until it has ticked 12 times, at most 3 s: about 100 ms a tick on recent
    data-centre GPUs, and 20 to 100 ms on others (zeus's documentation and PETSc's PetscLogGpuEnergyMeter).
    """
    if meter.source.no_counter:
        return Missing(meter.source.no_counter)
    began = now()
    seen: list[float] = []
    before: Sample | None = None
    while len(seen) < PERIOD_TICKS and now() - began < PERIOD_LIMIT_S:
        sample = meter.energy()
        if sample.energy_j is not None:
            if before is not None and sample.energy_j != before.energy_j:
                seen.append(sample.t)
            before = sample
        sleep(PERIOD_POLL_S)
    if len(seen) < 3:  # two spaces: one odd tick alone does not make the period
        return Missing(f"the counter ticked {len(seen)} times in {now() - began:.1f} s, expected at least 3")
    return (seen[-1] - seen[0]) / (len(seen) - 1)
