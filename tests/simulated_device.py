"""GPUs whose true energy is known, behind the surface of the `pynvml` module; and a clock that takes no time.

What the sampler reads is made from a load as the real sensors make it: a counter that ticks, power that is averaged
and sampled a part of the time, offsets between the two, devices that are reset, get lost, or belong to others.
Constants, error classes and structures are the real module's.
"""

from __future__ import annotations

import importlib
import json
import math
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from random import Random
from types import SimpleNamespace
from typing import Any

from harness.energy.client import trace
from harness.energy.meters import Meter, Trace, counter_period
from harness.energy.sampler import Recorder

pynvml: Any = importlib.import_module("pynvml")


@dataclass
class VirtualClock:
    """CLOCK_MONOTONIC that goes on only when told to."""

    t: float = 1000.0

    def __call__(self) -> float:
        return self.t

    def sleep(self, seconds: float) -> None:
        self.t += seconds


class Load:
    """Watts over time, constant between steps, and the exact joules."""

    def __init__(self, steps: Sequence[tuple[float, float]]) -> None:
        self.times = [t for t, _ in steps]
        self.watts = [w for _, w in steps]
        parts = [w * (b - a) for (a, b), w in zip(pairwise(self.times), self.watts, strict=False)]
        self.joules = [0.0, *accumulate(parts)]

    def power(self, t: float) -> float:
        return self.watts[max(0, bisect_right(self.times, t) - 1)]

    def energy(self, t: float) -> float:
        """Joules since the first step."""
        step = max(0, bisect_right(self.times, t) - 1)
        return self.joules[step] + self.watts[step] * (t - self.times[step])

    def mean(self, since: float, until: float) -> float:
        return (self.energy(until) - self.energy(since)) / (until - since)


def job(start: float, end: float, *, idle_w: float = 80.0, busy_w: float = 300.0) -> Load:
    """Idling, then work between two moments, then idling again."""
    return Load([(start - 100.0, idle_w), (start, busy_w), (end, idle_w)])


def rippled(start: float, end: float, period_s: float, low_w: float, high_w: float) -> Load:
    """Work that alternates between two powers, as the kernels of a decoding step do."""
    steps = [(start - 100.0, 80.0)]
    steps += [
        (start + i * period_s / 2, high_w if i % 2 else low_w) for i in range(math.ceil(2 * (end - start) / period_s))
    ]
    return Load([*steps, (end, 80.0)])


@dataclass
class Gpu:
    """One simulated GPU."""

    load: Load
    uuid: str = "GPU-00000000-0000-0000-0000-000000000001"
    tick_s: float = 0.1
    phase_s: float = 0.0
    sampled: float = 1.0
    """Share of each tick in which power is sampled: 0.25 on A100 and H100 (arXiv 2312.02741)."""
    instant_over_s: float = 0.025
    power_factor: float = 1.0
    power_offset_w: float = 0.0
    power_lag_s: float = 0.0
    fastest_power_s: float = 0.045
    """Power that is asked for sooner again is 0."""
    mig: int | None = 0
    """Current MIG mode; None where the GPU knows none."""
    counter_error: int | None = None
    instant_error: int | None = None
    average_error: int | None = None
    watch_error: int | None = None
    reset_at: float = math.inf
    gone_at: float = math.inf
    bad: tuple[tuple[float, float], ...] = ()
    """Times in which every read fails."""
    throttle: tuple[tuple[float, float, int], ...] = ()
    processes: tuple[tuple[float, float, int], ...] = ()
    base_mj: int = 987_654_321
    _ticks: int = field(init=False, default=0)
    _joules: float = field(init=False, default=0.0)
    _asked: float = field(init=False, default=-math.inf)

    def __post_init__(self) -> None:
        self._ticks = self._tick(self.load.times[0])

    def _tick(self, t: float) -> int:
        return math.floor((t - self.phase_s) / self.tick_s)

    def counter_mj(self, t: float) -> int:
        for tick in range(self._ticks + 1, self._tick(t) + 1):
            at = self.phase_s + tick * self.tick_s
            self._joules += self.tick_s * self.load.mean(at - self.sampled * self.tick_s, at)
            if at - self.tick_s < self.reset_at <= at:
                self._joules, self.base_mj = 0.0, 1
            self._ticks = tick
        return self.base_mj + round(self._joules * 1000)

    def power_mw(self, t: float, over_s: float) -> int:
        at = self.phase_s + self._tick(t - self.power_lag_s) * self.tick_s
        return round(1000 * (self.power_factor * self.load.mean(at - over_s, at) + self.power_offset_w))

    def too_fast(self, t: float) -> bool:
        soon, self._asked = t - self._asked < self.fastest_power_s, t
        return soon


class SimulatedNvml:
    """What `harness.energy.nvml` uses of the `pynvml` module."""

    def __init__(
        self,
        gpus: Sequence[Gpu],
        now: Callable[[], float],
        *,
        spend: Callable[[float], None] = lambda _: None,
        init_error: int | None = None,
        old_driver: bool = False,
    ) -> None:
        self.gpus = list(gpus)
        self.now = now
        self.spend = spend
        self.init_error = init_error
        self.old_driver = old_driver

    def __getattr__(self, name: str) -> Any:
        if name.startswith("NVML"):
            return getattr(pynvml, name)
        raise AttributeError(name)

    def _fail(self, code: int | None) -> None:
        if code is not None:
            raise pynvml.NVMLError(code)

    def _reached(self, gpu: Gpu) -> float:
        """The time at which a device answers, if it does."""
        self.spend(0.0005)
        t = self.now()
        self._fail(pynvml.NVML_ERROR_GPU_IS_LOST if t >= gpu.gone_at else None)
        self._fail(pynvml.NVML_ERROR_UNKNOWN if any(a <= t < b for a, b in gpu.bad) else None)
        return t

    def nvmlInit(self) -> None:  # noqa: N802 - the module's name
        self._fail(self.init_error)

    def nvmlSystemGetDriverVersion(self) -> str:  # noqa: N802
        return "580.00"

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return len(self.gpus)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> Gpu:  # noqa: N802
        if index >= len(self.gpus):
            self._fail(pynvml.NVML_ERROR_INVALID_ARGUMENT)
        return self.gpus[index]

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> Gpu:  # noqa: N802
        for gpu in self.gpus:
            if gpu.uuid == uuid:
                return gpu
        raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_FOUND)

    def nvmlDeviceGetUUID(self, gpu: Gpu) -> str:  # noqa: N802
        return gpu.uuid

    def nvmlDeviceGetName(self, _: Gpu) -> str:  # noqa: N802
        return "Simulated GPU"

    def nvmlDeviceGetMigMode(self, gpu: Gpu) -> list[int]:  # noqa: N802
        self._fail(pynvml.NVML_ERROR_NOT_SUPPORTED if gpu.mig is None else None)
        return [gpu.mig or 0, gpu.mig or 0]

    def nvmlDeviceGetTotalEnergyConsumption(self, gpu: Gpu) -> int:  # noqa: N802
        t = self._reached(gpu)
        self._fail(gpu.counter_error)
        return gpu.counter_mj(t)

    def nvmlDeviceGetFieldValues(self, gpu: Gpu, wanted: list[int]) -> list[Any]:  # noqa: N802
        t = self._reached(gpu)
        soon = gpu.too_fast(t)
        found = []
        for field_id in wanted:
            instant = field_id == pynvml.NVML_FI_DEV_POWER_INSTANT
            error = gpu.instant_error if instant else gpu.average_error
            value = pynvml.c_nvmlFieldValue_t()
            value.fieldId = field_id
            value.valueType = pynvml.NVML_VALUE_TYPE_UNSIGNED_INT
            value.nvmlReturn = pynvml.NVML_SUCCESS if error is None else error
            if error is None:
                value.value.uiVal = 0 if soon else gpu.power_mw(t, gpu.instant_over_s if instant else 1.0)
            found.append(value)
        return found

    def nvmlDeviceGetCurrentClocksEventReasons(self, gpu: Gpu) -> int:  # noqa: N802
        self._fail(pynvml.NVML_ERROR_FUNCTION_NOT_FOUND if self.old_driver else None)
        return self.nvmlDeviceGetCurrentClocksThrottleReasons(gpu)

    def nvmlDeviceGetCurrentClocksThrottleReasons(self, gpu: Gpu) -> int:  # noqa: N802
        t = self._reached(gpu)
        self._fail(gpu.watch_error)
        bits = 0
        for since, until, more in gpu.throttle:
            bits |= more if since <= t < until else 0
        return bits

    def nvmlDeviceGetTemperatureV(self, gpu: Gpu, sensor: int) -> int:  # noqa: N802
        self._fail(pynvml.NVML_ERROR_FUNCTION_NOT_FOUND if self.old_driver else None)
        return self.nvmlDeviceGetTemperature(gpu, sensor)

    def nvmlDeviceGetTemperature(self, gpu: Gpu, _: int) -> int:  # noqa: N802
        self._reached(gpu)
        return 61

    def nvmlDeviceGetClockInfo(self, gpu: Gpu, kind: int) -> int:  # noqa: N802
        self._reached(gpu)
        return {pynvml.NVML_CLOCK_SM: 1980, pynvml.NVML_CLOCK_MEM: 3201}[kind]

    def nvmlDeviceGetEnforcedPowerLimit(self, gpu: Gpu) -> int:  # noqa: N802
        self._reached(gpu)
        return 700_000

    def nvmlDeviceGetComputeRunningProcesses(self, gpu: Gpu) -> list[Any]:  # noqa: N802
        t = self._reached(gpu)
        self._fail(gpu.watch_error)
        return [SimpleNamespace(pid=pid, usedGpuMemory=None) for a, b, pid in gpu.processes if a <= t < b]

    def nvmlDeviceGetGraphicsRunningProcesses(self, gpu: Gpu) -> list[Any]:  # noqa: N802
        self._reached(gpu)
        return []


def watch(
    meters: Sequence[Meter],
    clock: VirtualClock,
    until: float,
    *,
    interval_s: float = 0.05,
    seed: int = 0,
    stall: tuple[float, float] | None = None,
) -> list[Trace]:
    """What the real sampler sees of meters until a moment, woken a little late each time, its answer sent as JSON.

    Args:
        meters: opened ones.
        clock: that they read.
        until: when to stop.
        interval_s: between two reads.
        seed: of how late it is woken.
        stall: when nothing ran, and for how many seconds.
    """
    random = Random(seed)  # noqa: S311 - no secret
    periods = [counter_period(meter, clock, clock.sleep) for meter in meters]
    recorder = Recorder(meters, interval_s, clock)
    while clock() < until:
        clock.sleep(recorder.due_s() + random.choice([0.0, 0.0005, 0.002, 0.01, 0.04]))
        if stall is not None and clock() >= stall[0]:
            clock.sleep(stall[1])
            stall = None
        recorder.poll()
    seen = json.loads(json.dumps(recorder.between(0.0, until)))
    parts: Iterator[tuple[Any, ...]] = zip(meters, periods, seen, strict=True)
    return [trace(meter.source, period, item) for meter, period, item in parts]
