"""NVIDIA GPUs through NVML: the total-energy counter, and power by field value.

Facts, and where they are from:

- `nvmlDeviceGetTotalEnergyConsumption` is in millijoules since the driver was loaded, for Volta and newer.
- `nvmlDeviceGetPowerUsage` is an average over one second on Ampere and newer except GA100 (NVML API reference), so
  it is not used; the field values `NVML_FI_DEV_POWER_INSTANT` and `…_AVERAGE` say which of the two they are.
- A100 and H100 sample power for a quarter of the time only (arXiv 2312.02741). The counter is made of the same
  samples, so no cross-check can show what they missed; repeats that begin at random moments can.
- Power that is asked for more often than every 50 ms may come back as an error or as zero (zeus PR #186). A GPU
  never draws nothing, so a zero is a bad read.
- Counter and power can disagree: 187 J against 327 J over 5 s of idling (zeus issue #181). On Grace Hopper the
  counter covers the whole module (zeus PR #172).
- A MIG instance has no meter of its own; its GPU's covers all instances.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, TypeAlias, TypeVar

from harness.energy.meters import MeterUnavailable, Now, Sample, Source, State

SHORTEST_S: Final = 0.05
_TEMPERATURE_GPU: Final = 0
_T = TypeVar("_T")


Nvml: TypeAlias = Any
"""The `pynvml` module, which has no types."""

_MEND: Final = {
    "LibraryNotFound": "there is no NVIDIA driver here",
    "DriverNotLoaded": "load the NVIDIA kernel module (`nvidia-smi` does, as root)",
    "NoPermission": "let this user read /dev/nvidia*, or give the container its GPUs (`docker run --gpus`)",
    "LibRmVersionMismatch": "library and kernel module are of different versions: restart, or reload the module",
}


def library() -> Nvml:
    """NVML's bindings.

    Raises:
        MeterUnavailable: they are not installed.
    """
    try:
        return importlib.import_module("pynvml")
    except ImportError as error:
        raise MeterUnavailable(f"NVML cannot be asked: {error}. Install nvidia-ml-py (`make harness`).") from None


def open_meters(wanted: Sequence[str] = (), nvml: Nvml | None = None, now: Now = time.monotonic) -> list[NvmlMeter]:
    """Meters of the GPUs named by UUID or NVML index; of all, where none is named.

    Raises:
        MeterUnavailable: one of them has none; the reason is of the first.
    """
    nvml = nvml or library()
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        kind = type(error).__name__.removeprefix("NVMLError_")
        mend = _MEND.get(kind)
        raise MeterUnavailable(f"NVML does not start: {error}{f': {mend}' if mend else ''}") from None
    try:
        names = list(wanted) or [str(index) for index in range(nvml.nvmlDeviceGetCount())]
        if not names:
            raise MeterUnavailable("NVML sees no GPU")
        return [_open(nvml, name, now) for name in names]
    except nvml.NVMLError as error:
        raise MeterUnavailable(f"NVML does not answer: {error}") from None


def _open(nvml: Nvml, name: str, now: Now) -> NvmlMeter:
    mig = "a MIG instance has no energy meter of its own, and its GPU's covers all instances"
    if name.startswith("MIG-"):
        raise MeterUnavailable(f"{name}: {mig}")
    try:
        by_index = name.isdecimal()
        handle = nvml.nvmlDeviceGetHandleByIndex(int(name)) if by_index else nvml.nvmlDeviceGetHandleByUUID(name)
    except nvml.NVMLError as error:
        raise MeterUnavailable(
            f"no GPU {name}: {error}. Expected a UUID or an index as `nvidia-smi -L` says."
        ) from None
    uuid = nvml.nvmlDeviceGetUUID(handle)
    mode = _supported(nvml, lambda: nvml.nvmlDeviceGetMigMode(handle))
    if isinstance(mode, list) and mode[0]:
        raise MeterUnavailable(f"{uuid} is in MIG mode: {mig}")
    counter = _supported(nvml, lambda: nvml.nvmlDeviceGetTotalEnergyConsumption(handle))
    power = _supported(nvml, lambda: _watts(nvml, handle))
    source = Source(
        kind="nvml",
        id=uuid,
        name=nvml.nvmlDeviceGetName(handle),
        scope="GPU board",
        driver=nvml.nvmlSystemGetDriverVersion(),
        mig_mode="disabled" if isinstance(mode, list) else "unsupported",
        no_counter=f"no energy counter: {counter}" if isinstance(counter, Exception) else None,
        no_power=f"no power sensor: {power}" if isinstance(power, Exception) else None,
    )
    if source.no_counter and source.no_power:
        raise MeterUnavailable(f"{uuid}: {source.no_counter}; {source.no_power}")
    return NvmlMeter(nvml, handle, source, now)


def _supported(nvml: Nvml, ask: Callable[[], _T]) -> _T | Exception:
    """The answer, or the error that says that this device never gives one. Other errors are passing ones."""
    never = (nvml.NVML_ERROR_NOT_SUPPORTED, nvml.NVML_ERROR_FUNCTION_NOT_FOUND, nvml.NVML_ERROR_INVALID_ARGUMENT)
    try:
        return ask()
    except nvml.NVMLError as error:
        if error.value in never:
            said: Exception = error
            return said
        raise


def _watts(nvml: Nvml, handle: Any) -> tuple[float | None, float | None]:
    """Instant and average power, as far as the device has them.

    Raises:
        NVMLError: it has neither.
    """
    wanted = [nvml.NVML_FI_DEV_POWER_INSTANT, nvml.NVML_FI_DEV_POWER_AVERAGE]
    fields = nvml.nvmlDeviceGetFieldValues(handle, wanted)
    # milliwatts as an unsigned int: the low bytes of the union, whatever integer a driver says it is
    instant, average = (f.value.uiVal / 1000 if f.nvmlReturn == nvml.NVML_SUCCESS else None for f in fields)
    if instant is None and average is None:
        raise nvml.NVMLError(fields[0].nvmlReturn)
    return instant, average


class NvmlMeter:
    """One GPU."""

    shortest_s = SHORTEST_S

    def __init__(self, nvml: Nvml, handle: Any, source: Source, now: Now) -> None:
        self.source = source
        self._nvml = nvml
        self._handle = handle
        self._now = now
        self._last_mj = 0
        self._epoch = 0

    def energy(self) -> Sample:
        """The total-energy counter; a lower value than before is another epoch (driver reloaded, GPU reset)."""
        began = self._now()
        errors: list[str] = []
        found: int | None = None
        if not self.source.no_counter:
            found = self._ask(
                "energy counter", errors, lambda: self._nvml.nvmlDeviceGetTotalEnergyConsumption(self._handle)
            )
        took = self._now() - began
        if found == 0:
            errors.append("energy counter: 0 mJ")
            found = None
        if found is not None:
            self._epoch += found < self._last_mj
            self._last_mj = found
        joules = None if found is None else found / 1000
        return Sample(began + took / 2, took, joules, self._epoch, error="; ".join(errors) or None)

    def sample(self) -> Sample:
        """Counter, power and throttle reasons."""
        counted = self.energy()
        errors = [counted.error] if counted.error else []
        instant = average = None
        if not self.source.no_power:
            instant, average = self._ask("power", errors, lambda: _watts(self._nvml, self._handle)) or (None, None)
        if instant == 0 or average == 0:
            errors.append("power: 0 W")
            instant = average = None
        throttle = self._ask("throttle reasons", errors, self._throttle)
        return replace(
            counted, instant_w=instant, average_w=average, throttle=throttle, error="; ".join(errors) or None
        )

    def state(self) -> State:
        """Temperature, clocks, power limit and processes."""
        nvml, handle = self._nvml, self._handle
        errors: list[str] = []
        limit = self._ask("power limit", errors, lambda: nvml.nvmlDeviceGetEnforcedPowerLimit(handle))
        processes = self._ask("processes", errors, self._processes)
        return State(
            t=self._now(),
            temperature_c=self._ask("temperature", errors, self._temperature),
            sm_mhz=self._ask("SM clock", errors, lambda: nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_SM)),
            memory_mhz=self._ask(
                "memory clock", errors, lambda: nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_MEM)
            ),
            power_limit_w=None if limit is None else limit / 1000,
            processes=None if processes is None else tuple(pid for pid in processes if _exists(pid)),
            hidden=tuple(pid for pid in processes or () if not _exists(pid)),
            error="; ".join(errors) or None,
        )

    def _ask(self, what: str, errors: list[str], ask: Callable[[], _T]) -> _T | None:
        try:
            return ask()
        except self._nvml.NVMLError as error:
            errors.append(f"{what}: {error}")
            return None

    def _throttle(self) -> int:
        nvml = self._nvml
        return self._newer(nvml.nvmlDeviceGetCurrentClocksEventReasons, nvml.nvmlDeviceGetCurrentClocksThrottleReasons)

    def _temperature(self) -> int:
        nvml = self._nvml
        return self._newer(nvml.nvmlDeviceGetTemperatureV, nvml.nvmlDeviceGetTemperature, _TEMPERATURE_GPU)

    def _newer(self, ask: Callable[..., int], older: Callable[..., int], *arguments: int) -> int:
        """`ask`, or what it was called before the installed driver knew it (CUDA 14 removes the older names)."""
        try:
            return ask(self._handle, *arguments)
        except self._nvml.NVMLError as error:
            if error.value != self._nvml.NVML_ERROR_FUNCTION_NOT_FOUND:
                raise
            return older(self._handle, *arguments)

    def _processes(self) -> list[int]:
        nvml = self._nvml
        listed = [
            *nvml.nvmlDeviceGetComputeRunningProcesses(self._handle),
            *nvml.nvmlDeviceGetGraphicsRunningProcesses(self._handle),
        ]
        return sorted({int(process.pid) for process in listed})


def _exists(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()
