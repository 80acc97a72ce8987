"""Several workers, and what dies among them: every cell has one verdict, whatever happens to who judges it."""

from __future__ import annotations

import json
import os
import re
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from harness.slots.machine import Machine
from harness.store import Results
from harness.verdict import Cause
from tests import fake_smi, projects, toys
from tests.toys import marked

pytestmark = pytest.mark.faults

_OUTCOME = re.compile(r"^\[(gw\d+)\].* (?:PASSED|FAILED|UNCERTAIN|SKIPPED|ERROR) .*\[pytorch-(.*)\]", re.MULTILINE)


@dataclass(frozen=True)
class Done:
    """A run that is over."""

    code: int
    out: str
    results: Results
    noted: list[dict[str, Any]]

    @property
    def causes(self) -> dict[str, Cause]:
        return {name.partition("-")[2].rpartition("=")[2]: cell.cause for name, cell in self.results.cells.items()}

    @property
    def told(self) -> list[tuple[str, str]]:
        """(worker, row) of each outcome on the terminal, in order."""
        return _OUTCOME.findall(self.out)


def measure(folder: Path, matrix: str, workers: int | str, **more: str) -> Done:
    """Run a matrix of `declared_slots` in a project, whose limits a hang is to reach soon."""
    if not folder.exists():
        projects.make(folder, matrix=f"declared_slots.{matrix}")
        config = folder / "pyproject.toml"
        config.write_text(config.read_text().replace("load_s = 120", "load_s = 8"))
    (folder / "noted").unlink(missing_ok=True)
    process = projects.start(
        folder, "pytest", "-v", "--matrix-fresh", "-n", str(workers), TOY_FOLDER=str(folder), **more
    )
    out, err = process.communicate(timeout=600)
    assert marked(f"TOY_FOLDER={folder}") == [], "nothing is left running"
    noted = folder / "noted"
    lines = noted.read_text(encoding="utf-8").splitlines() if noted.exists() else []
    return Done(process.returncode, out + err, projects.results(folder), [json.loads(line) for line in lines])


# Things that die ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def faults(tmp_path_factory: pytest.TempPathFactory) -> Done:
    """A run with two workers, in which workers die, an engine crashes, and one hangs."""
    return measure(tmp_path_factory.mktemp("faults") / "project", "FAULTS", 2)


def test_every_cell_has_its_record_and_its_outcome_is_told_once(faults: Done) -> None:
    assert faults.results.unmeasured == []
    assert len(faults.results.cells) == 10, faults.out
    assert Counter(row for _, row in faults.told) == Counter(
        name.removeprefix("pytorch-") for name in faults.results.cells
    )


def test_a_cell_whose_worker_was_killed_is_judged_by_the_next_one(faults: Done) -> None:
    assert faults.causes["dies-once"] is faults.causes["a"]
    at_it = [noted["worker"] for noted in faults.noted if noted["name"] == "dies-once"]
    assert len(set(at_it)) == 2, "the one that was killed, and the one after it"


def test_a_cell_at_which_two_workers_died_is_a_fault_of_the_harness_and_fails_the_run(faults: Done) -> None:
    assert faults.causes["dies-always"] is Cause.HARNESS_ERROR
    at_it = [noted["worker"] for noted in faults.noted if noted["name"] == "dies-always"]
    assert len(at_it) == len(set(at_it)) == 2
    assert faults.code == pytest.ExitCode.TESTS_FAILED


def test_a_crash_and_a_hang_of_an_engine_cost_no_worker(faults: Done) -> None:
    assert faults.causes["crashes"] is Cause.CRASHED
    assert faults.causes["hangs"] is Cause.TIMED_OUT
    assert faults.out.count("replacing crashed worker") == 4, "two cells that kill once, one that kills twice"


def test_a_cell_that_takes_all_slots_is_judged_though_its_worker_was_killed(faults: Done) -> None:
    assert faults.causes["wide-dies-once"] is faults.causes["wide"] is faults.causes["a"]


def test_a_run_whose_workers_may_not_be_replaced_is_not_green_when_cells_are_left(tmp_path: Path) -> None:
    folder = projects.make(tmp_path / "project", matrix="declared_slots.FAULTS")
    process = projects.start(folder, "pytest", "-n", "2", "--max-worker-restart=0", TOY_FOLDER=str(folder))
    out, err = process.communicate(timeout=600)
    assert projects.results(folder).unmeasured != []
    assert process.returncode == pytest.ExitCode.TESTS_FAILED, out + err


def test_workers_that_die_before_they_come_to_a_cell_end_the_run(tmp_path: Path) -> None:
    folder = projects.make(tmp_path / "project", matrix="declared_slots.PLAIN")
    (folder / "conftest.py").write_text(
        "import os\n"
        "def pytest_collection_finish(session):\n"
        "    if hasattr(session.config, 'workerinput'):\n"
        "        os._exit(1)\n"
    )
    process = projects.start(folder, "pytest", "-n", "2", TOY_FOLDER=str(folder))
    out, err = process.communicate(timeout=600)
    assert process.returncode == pytest.ExitCode.INTERRUPTED, out + err
    assert "workers in a row died before they came to a cell" in out + err


# Slots --------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Done:
    """The same cells without workers."""
    return measure(tmp_path_factory.mktemp("alone") / "project", "PLAIN", 0)


@pytest.mark.parametrize("workers", [1, 2, 3, 4])
def test_verdicts_are_the_same_however_many_slots_there_are_and_each_cell_has_its_share(
    tmp_path: Path, alone: Done, workers: int
) -> None:
    done = measure(tmp_path / "project", "PLAIN", workers)
    assert done.code == alone.code
    assert done.causes == alone.causes
    machine = Machine.here()
    shares = [list(share.cpus) for share in machine.slots(workers).shares]
    for noted in done.noted:
        if noted["name"] == "wide":
            assert noted["cpus"] == list(machine.cpus)
        else:
            assert noted["cpus"] in shares
    if workers > 1:
        assert Counter(row for _, row in done.told) == Counter(
            name.removeprefix("pytorch-") for name in done.results.cells
        )
        assert len({worker for worker, row in done.told if row.startswith("decoder.top_k")}) == 1, "one engine"
    controls = [
        made.outcome
        for name, cell in done.results.cells.items()
        if "top_k" in name
        for made in cell.attempts
        if made.role == "control"
    ]
    assert controls.count("ran") <= 1, "cells of one key share their control"
    assert "reused" in controls


def test_workers_take_the_controllers_word_for_what_there_is_and_start_hosts_alone(tmp_path: Path) -> None:
    log, host = tmp_path / "log", tmp_path / "host.py"
    host.write_text(
        "import runpy, sys\n"
        f"with open({str(log)!r}, 'a') as log:\n"
        "    print(sys.argv[3], file=log)\n"
        f"runpy.run_path({str(toys.TOY_HOST)!r}, run_name='__main__')\n"
    )
    folder = projects.make(tmp_path / "project", (sys.executable, str(host)), "declared_slots.PLAIN")
    done = measure(folder, "PLAIN", 2)
    assert done.code == pytest.ExitCode.OK, done.out
    started = Counter(log.read_text().split())
    assert started["describe"] == 1, "asked by the controller, and by no worker again"
    assert started["serve"] >= 2


def test_only_gpus_that_were_allotted_are_handed_out_and_told_of(tmp_path: Path) -> None:
    """On a shared node the others are somebody's."""
    path = fake_smi.install(tmp_path / "bin", ["GPU-0", "GPU-1", "GPU-2", "GPU-3"]) + os.pathsep + os.environ["PATH"]
    done = measure(tmp_path / "project", "PLAIN", "auto", PATH=path, CUDA_VISIBLE_DEVICES="3,1")
    assert done.noted
    assert {noted["gpus"] for noted in done.noted} <= {"GPU-3", "GPU-1"}, "each worker has one of the two"
    assert done.results.latest is not None
    assert [gpu["uuid"] for gpu in done.results.latest.backends["pytorch"].gpus] == ["GPU-3", "GPU-1"]


def test_what_took_longest_before_is_done_first(tmp_path: Path) -> None:
    folder = tmp_path / "project"
    measure(folder, "WIDE", 0)
    file = folder / "reports" / "results.jsonl"
    seconds = {"a": 1.0, "b": 90.0, "c": 30.0}
    records = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    for record in records:
        if record["record"] == "cell":
            record["timing"] |= {"wall_s": seconds[record["cell"].rpartition("=")[2]], "queue_s": 0.0}
    file.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    assert [row[-1] for _, row in measure(folder, "WIDE", 2).told] == ["b", "c", "a"]
