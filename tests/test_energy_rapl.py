"""CPU energy from trees that look like the kernel's: each package once, over its wraps, or the reason why not."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.energy import rapl
from harness.energy.meters import MeterUnavailable, Missing
from harness.energy.quality import Flag, Quality
from harness.energy.readings import read
from harness.energy.windows import Window
from tests.simulated_device import VirtualClock, job, watch

RANGE_UJ = 262_143_328_850


def zone(root: Path, folder: str, name: str, uj: int = 1_000_000, reach: int | None = RANGE_UJ) -> Path:
    """A power zone; its counter's file."""
    made = root / folder
    made.mkdir(parents=True)
    (made / "name").write_text(f"{name}\n")
    if reach is not None:
        (made / "max_energy_range_uj").write_text(f"{reach}\n")
    (made / "energy_uj").write_text(f"{uj}\n")
    return made / "energy_uj"


def intel(root: Path) -> list[Path]:
    """Two packages with their parts, memory, the platform, and the first package by another way."""
    (root / "intel-rapl").mkdir()
    packages = [zone(root, f"intel-rapl:{i}", f"package-{i}") for i in (0, 1)]
    for i in (0, 1):
        for part, name in enumerate(("core", "uncore", "dram")):
            zone(root, f"intel-rapl:{i}:{part}", name)
    zone(root, "intel-rapl:2", "psys")
    zone(root, "intel-rapl-mmio:0", "package-0")
    return packages


def amd(root: Path) -> list[Path]:
    """An EPYC: its package and the cores in it."""
    package = zone(root, "intel-rapl:0", "package-0", reach=65_532_610_987)
    zone(root, "intel-rapl:0:0", "core", reach=65_532_610_987)
    return [package]


def opened(root: Path, clock: VirtualClock | None = None, hwmon: Path = Path("/nonexistent")) -> rapl.RaplMeter:
    return rapl.open_meter(root, hwmon, clock or VirtualClock())


def add(counter: Path, uj: int, reach: int = RANGE_UJ) -> None:
    counter.write_text(f"{(int(counter.read_text()) + uj) % reach}\n")


def joules(meter: rapl.RaplMeter) -> float:
    sample = meter.energy()
    assert sample.energy_j is not None, sample.error
    return sample.energy_j


@pytest.mark.parametrize(("machine", "names"), [(intel, "package-0, package-1"), (amd, "package-0")])
def test_each_package_counts_once_and_nothing_besides(tmp_path: Path, machine: object, names: str) -> None:
    assert callable(machine)
    packages = machine(tmp_path)
    clock = VirtualClock()
    meter = opened(tmp_path, clock)
    assert meter.source.name == names
    assert joules(meter) == 0.0
    clock.sleep(1.0)
    for counter in tmp_path.glob("*/energy_uj"):
        add(counter, 40_000_000)
    assert joules(meter) == pytest.approx(40.0 * len(packages))


def test_sockets_of_the_older_amd_driver_are_read_where_powercap_has_none(tmp_path: Path) -> None:
    hwmon = tmp_path / "hwmon"
    (hwmon / "hwmon3").mkdir(parents=True)
    (hwmon / "hwmon3" / "name").write_text("amd_energy\n")
    for number, label in ((1, "Ecore000"), (65, "Esocket0"), (66, "Esocket1")):
        (hwmon / "hwmon3" / f"energy{number}_label").write_text(f"{label}\n")
        (hwmon / "hwmon3" / f"energy{number}_input").write_text("5000000\n")
    empty = tmp_path / "powercap"
    empty.mkdir()
    assert opened(empty, hwmon=hwmon).source.name == "Esocket0, Esocket1"
    amd(empty)
    assert opened(empty, hwmon=hwmon).source.name == "package-0"


@settings(deadline=None)
@given(
    begin=st.integers(0, RANGE_UJ - 1),
    steps=st.lists(st.integers(0, 150_000_000), min_size=1, max_size=30),
)
def test_a_counter_that_begins_again_loses_nothing(begin: int, steps: list[int]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        counter = zone(Path(folder), "intel-rapl:0", "package-0", begin)
        clock = VirtualClock()
        meter = opened(Path(folder), clock)
        joules(meter)
        for step in steps:
            clock.sleep(0.1)
            add(counter, step)
            sample = meter.energy()
        assert sample.energy_j == pytest.approx(sum(steps) / 1e6)
        assert sample.epoch == 0


def test_a_counter_that_is_set_back_is_no_wrap(tmp_path: Path) -> None:
    counter = zone(tmp_path, "intel-rapl:0", "package-0", 90_000_000_000)
    clock = VirtualClock()
    meter = opened(tmp_path, clock)
    joules(meter)
    clock.sleep(0.1)
    counter.write_text("12\n")
    assert meter.energy().epoch == 1


def test_a_counter_that_may_have_wrapped_twice_unseen_is_not_trusted(tmp_path: Path) -> None:
    counter = zone(tmp_path, "intel-rapl:0", "package-0")
    clock = VirtualClock()
    meter = opened(tmp_path, clock)
    joules(meter)
    clock.sleep(3600)
    add(counter, 1_000_000)
    assert meter.energy().epoch == 1


def test_a_window_is_measured_over_a_wrap(tmp_path: Path) -> None:
    load = job(1010, 1020, idle_w=30, busy_w=150)
    begin = RANGE_UJ - 1_000_000_000  # begins again in the window
    counter = zone(tmp_path, "intel-rapl:0", "package-0", begin)

    class Machine(VirtualClock):
        def sleep(self, seconds: float) -> None:
            super().sleep(seconds)
            grown = load.energy(self.t) - load.energy(1000)
            counter.write_text(f"{(begin + int(grown * 1e6)) % RANGE_UJ}\n")

    clock = Machine()
    reading = read(watch([opened(tmp_path, clock)], clock, 1022.0), Window(1010.0, 1020.0))
    assert reading.energy_j == pytest.approx(1500, rel=0.01)
    assert int(counter.read_text()) < begin, "the counter did not begin again, so this shows nothing"
    assert (reading.notes, reading.quality) == ((), Quality.MEASURED)
    assert reading.discrepancy == Missing("RAPL has no power sensor")
    assert reading.temperature_c == Missing("RAPL tells nothing but energy")


def test_a_counter_that_vanishes_is_a_gap_with_its_error(tmp_path: Path) -> None:
    zone(tmp_path, "intel-rapl:0", "package-0")
    meter = opened(tmp_path)
    shutil.rmtree(tmp_path / "intel-rapl:0")
    sample = meter.sample()
    assert sample.energy_j is None
    assert "No such file" in (sample.error or "")


def test_a_counter_that_never_moves_has_no_period_and_no_energy(tmp_path: Path) -> None:
    zone(tmp_path, "intel-rapl:0", "package-0")
    clock = VirtualClock()
    reading = read(watch([opened(tmp_path, clock)], clock, 1022.0), Window(1010.0, 1020.0))
    assert isinstance(reading.energy_j, Missing)
    assert Flag.PERIOD_UNKNOWN in {note.flag for note in reading.notes}
    assert reading.quality is Quality.UNAVAILABLE


def test_a_machine_without_counters_says_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(MeterUnavailable, match=r"no RAPL counters.*intel_rapl_msr"):
        opened(tmp_path)
    with pytest.raises(MeterUnavailable, match="no RAPL counters"):
        opened(tmp_path / "nowhere")


@contextmanager
def ordinary_user() -> Iterator[None]:
    """File permissions as somebody without privileges has them."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


def test_a_counter_that_only_root_may_read_says_how_to_mend_that() -> None:
    folder = Path(tempfile.mkdtemp(prefix="powercap-"))
    try:
        folder.chmod(0o755)
        counter = amd(folder)[0]
        counter.chmod(0o400 if os.geteuid() == 0 else 0)
        with ordinary_user(), pytest.raises(MeterUnavailable) as caught:
            opened(folder)
        assert f"sudo chmod o+r {counter}" in str(caught.value)
        assert "CAP_DAC_READ_SEARCH" in str(caught.value)
        assert "udev" in str(caught.value)
    finally:
        shutil.rmtree(folder)
