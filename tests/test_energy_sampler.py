"""The sampler as a process of its own: what it answers, and that nobody outlives or waits for anybody."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.energy.client import Sampler
from harness.energy.meters import Missing
from harness.energy.quality import Flag, Quality
from harness.energy.windows import Window
from tests.projects import ROOT

SIMULATED = """
import sys, time
from harness.energy import sampler
from tests.simulated_device import Gpu, Load, SimulatedNvml
gpu = Gpu(Load([(time.monotonic() - 100, 200.0)]), processes=((0, 1e12, %d),))
sys.exit(sampler.main(sys.argv[1:], SimulatedNvml([gpu], time.monotonic)))
"""


PARENT = """
import sys
from harness.energy.client import Sampler
sampler = Sampler(["nvml"], command=sys.argv[1:])
sampler.unavailable()
print(sampler.pid, flush=True)
input()
"""


def simulated(pid: int = os.getpid()) -> list[str]:
    """A command that is the real sampler over a simulated GPU, which draws 200 W for ever."""
    return [sys.executable, "-c", SIMULATED % pid]


@pytest.fixture
def sampler() -> Iterator[Sampler]:
    started = Sampler(["nvml"], command=simulated())
    yield started
    started.close()


def test_a_process_of_its_own_measures_a_window_by_the_clock_that_all_share(sampler: Sampler) -> None:
    assert sampler.unavailable() is None
    start = time.monotonic()
    window = Window(start, start + 0.4)
    reading = sampler.read(window, own=[os.getpid()])
    assert isinstance(reading.energy_j, float)
    assert isinstance(reading.uncertainty_j, float)
    assert abs(reading.energy_j - 80.0) <= reading.uncertainty_j + 0.002
    assert [note.flag for note in reading.notes] == [Flag.SHORT_WINDOW]
    assert sampler.sources[0].name == "Simulated GPU"
    assert sampler.cpu_s > 0
    assert Flag.FOREIGN_PROCESS in {note.flag for note in sampler.read(window).notes}


def test_on_this_machine_there_is_a_figure_or_the_reason_why_there_is_none() -> None:
    started = Sampler(["rapl"])
    try:
        reason = started.unavailable()
        start = time.monotonic()
        reading = started.read(Window(start, start + 0.3))
        if reason is None:
            assert isinstance(reading.energy_j, float)
            assert reading.energy_j > 0
        else:
            assert reading.energy_j == Missing(reason)
            assert reading.quality is Quality.UNAVAILABLE
            assert "RAPL" in reason or "powercap" in reason
    finally:
        started.close()


def test_a_machine_without_nvidia_driver_says_so() -> None:
    started = Sampler(["nvml"])
    reason = started.unavailable()
    started.close()
    if reason is None:
        assert started.sources[0].kind == "nvml"
    else:
        assert "NVML" in reason


def test_a_meter_that_nobody_knows_is_refused_with_what_is_known() -> None:
    started = Sampler(["wattmeter"])
    assert "expected nvml, nvml:UUID or rapl" in (started.unavailable() or "")
    started.close()


def test_a_sampler_that_is_lost_leaves_a_reason_and_no_figure(sampler: Sampler) -> None:
    assert sampler.unavailable() is None
    assert sampler.pid is not None
    os.kill(sampler.pid, signal.SIGKILL)
    reading = sampler.read(Window(time.monotonic(), time.monotonic() + 0.1))
    assert isinstance(reading.energy_j, Missing)
    assert "the sampler was lost" in reading.energy_j.reason
    assert sampler.read(Window(1.0, 2.0)).energy_j == reading.energy_j


def test_a_command_that_cannot_be_started_leaves_a_reason() -> None:
    started = Sampler(["nvml"], command=["/nonexistent/python"])
    assert "cannot be started" in (started.unavailable() or "")
    started.close()


def test_a_sampler_that_says_nonsense_leaves_a_reason() -> None:
    started = Sampler(["nvml"], command=[sys.executable, "-c", 'print(\'{"event":"ready","meters":[{}]}\')'])
    assert "cannot be understood" in (started.unavailable() or "")
    started.close()


def test_what_a_sampler_printed_before_it_died_is_the_reason() -> None:
    started = Sampler(["nvml"], command=[sys.executable, "-c", "raise SystemExit('out of luck')"])
    assert "out of luck" in (started.unavailable() or "")
    started.close()


def test_after_it_was_closed_it_measures_nothing(sampler: Sampler) -> None:
    assert sampler.unavailable() is None
    sampler.close()
    sampler.close()
    assert sampler.pid is None
    assert sampler.read(Window(1.0, 2.0)).energy_j == Missing("the sampler was closed")


def test_a_sampler_dies_with_its_parent(tmp_path: Path) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, *simulated()],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert parent.stdout is not None
    pidfd = os.pidfd_open(int(parent.stdout.readline()))
    try:
        parent.kill()
        parent.wait()
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        assert poll.poll(60_000), "the sampler outlived its parent"
    finally:
        os.close(pidfd)
        for pipe in (parent.stdin, parent.stdout):
            assert pipe is not None
            pipe.close()


def test_what_samples_beside_an_engine_is_light() -> None:
    heavy = "{'torch', 'numpy', 'pydantic', 'pytest', 'transformers'}"
    code = f"import sys, harness.energy.sampler; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.stdout.strip() == "[]"
