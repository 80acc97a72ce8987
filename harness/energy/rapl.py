"""CPU packages through the kernel's RAPL counters.

Facts, and where they are from:

- `/sys/class/powercap/intel-rapl:N` are the zones of Intel's processors and, under the same name, of AMD's;
  `energy_uj` counts microjoules up to `max_energy_range_uj` and begins again (the kernel's
  Documentation/power/powercap/powercap.rst).
- A package's sub-zones (`core`, `uncore`) are parts of it, `psys` covers the packages and more, and
  `intel-rapl-mmio:N` is the same package by another way: adding these would count joules twice. `dram` is beside
  its package and not on every machine, so it is left out.
- Before that AMD's sockets were sensors of the `amd_energy` driver (Documentation/hwmon/amd_energy.rst), which left
  the kernel in 2021 and lives on outside it.
- Since Linux 5.10 only root may read `energy_uj` (CVE-2020-8694), and containers mask powercap (moby 83cac3c,
  podman PR #20501).
- A package's energy is of all that runs on it, and there is no power sensor to check the counter against.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from harness.energy.meters import MeterUnavailable, Now, Sample, Source, State

POWERCAP: Final = Path("/sys/class/powercap")
HWMON: Final = Path("/sys/class/hwmon")
PLAUSIBLE_W: Final = 2000.0
"""No package draws as much: a difference that would need it is a counter that was set back, not one that wrapped."""
_TOP: Final = re.compile(r"intel-rapl(-\w+)?:\d+")
_SOCKET: Final = re.compile(r"Esocket\d+")


@dataclass(slots=True)
class Zone:
    """One package's counter, carried over its wraps."""

    name: str
    path: Path
    range_uj: int | None
    """Where the counter begins again; None where it does not."""
    last_uj: int | None = None
    read_at: float = 0.0
    total_uj: int = 0
    """Since the first read."""

    def advance(self, now: float) -> bool:
        """Read on; False when the difference since the last read is not known for certain.

        Raises:
            OSError: the counter cannot be read.
            ValueError: it holds no number.
        """
        found = int(self.path.read_text())
        last, since = self.last_uj, now - self.read_at
        self.last_uj, self.read_at = found, now
        if last is None:
            return True
        grown = found - last
        if grown < 0 and self.range_uj is not None:
            grown += self.range_uj
        if grown < 0 or grown > PLAUSIBLE_W * 1e6 * max(since, 0.1):
            return False
        if self.range_uj is not None and since > self.range_uj / (PLAUSIBLE_W * 1e6):
            return False  # it may have wrapped more than once
        self.total_uj += grown
        return True


class RaplMeter:
    """All CPU packages of the machine, added up."""

    shortest_s = 0.01

    def __init__(self, zones: list[Zone], now: Now) -> None:
        names = ", ".join(zone.name for zone in zones)
        self.source = Source(
            kind="rapl",
            id="packages",
            name=names,
            scope="CPU packages without memory, all that runs on them",
            no_power="RAPL has no power sensor",
            no_state="RAPL tells nothing but energy",
        )
        self._zones = zones
        self._now = now
        self._epoch = 0

    def energy(self) -> Sample:
        """The packages' energy since the first read."""
        began = self._now()
        try:
            certain = [zone.advance(began) for zone in self._zones]
        except (OSError, ValueError) as error:
            return Sample(began, self._now() - began, None, self._epoch, error=f"energy counter: {error}")
        self._epoch += not all(certain)
        took = self._now() - began
        joules = sum(zone.total_uj for zone in self._zones) / 1e6
        return Sample(began + took / 2, took, joules, self._epoch)

    def sample(self) -> Sample:
        """The same: there is nothing else."""
        return self.energy()

    def state(self) -> State:
        """Nothing is known of it."""
        return State(t=self._now())


def open_meter(powercap: Path = POWERCAP, hwmon: Path = HWMON, now: Now = time.monotonic) -> RaplMeter:
    """The meter of this machine's packages.

    Raises:
        MeterUnavailable: there are no counters, or they cannot be read; the message says how to mend that.
    """
    zones = list(_powercap_zones(powercap)) or list(_hwmon_zones(hwmon))
    if not zones:
        raise MeterUnavailable(
            f"no RAPL counters: {powercap} has no intel-rapl package and {hwmon} no amd_energy socket. Virtual "
            "machines seldom have them and containers mask them; on real hardware `modprobe intel_rapl_msr` (AMD too)"
        )
    meter = RaplMeter(zones, now)
    for zone in zones:
        try:
            int(zone.path.read_text())
        except PermissionError:
            raise MeterUnavailable(
                f"{zone.path} cannot be read: permission denied. Since Linux 5.10 only root may (CVE-2020-8694): "
                f"`sudo chmod o+r {zone.path}` until the next start, the same in a udev rule for SUBSYSTEM powercap to "
                "keep it, or CAP_DAC_READ_SEARCH for the interpreter"
            ) from None
        except (OSError, ValueError) as error:
            raise MeterUnavailable(f"{zone.path} cannot be read: {error}") from None
    return meter


def _powercap_zones(root: Path) -> Iterator[Zone]:
    """Package zones, each once: the first of several control types that name it."""
    seen: set[str] = set()
    for folder in sorted(root.glob("intel-rapl*:*")):
        name = _text(folder / "name")
        if _TOP.fullmatch(folder.name) and name.startswith("package-") and name not in seen:
            seen.add(name)
            reach = _text(folder / "max_energy_range_uj")
            yield Zone(name, folder / "energy_uj", int(reach) if reach.isdecimal() else None)


def _hwmon_zones(root: Path) -> Iterator[Zone]:
    for folder in sorted(root.glob("hwmon*")):
        if _text(folder / "name") != "amd_energy":
            continue
        for label in sorted(folder.glob("energy*_label")):
            if _SOCKET.fullmatch(_text(label)):
                # the driver itself carries the counter over its wraps, in 64 bits
                yield Zone(_text(label), label.with_name(label.name.replace("_label", "_input")), None)


def _text(file: Path) -> str:
    try:
        return file.read_text().strip()
    except OSError:
        return ""
