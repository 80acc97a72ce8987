"""Whose fault it was, from the fault itself to the record: each kind planted in a cell of a real run."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness import plan
from harness.experiment import Experiment
from harness.host import BackendHost, Limits
from harness.launcher import Launcher
from harness.records import CellRecord
from harness.variants import Variants
from harness.verdict import Cause
from matrix import MATRIX
from tests import projects
from tests.declared_faults import FAULTS

EXPECTED = {
    "library": (Cause.ENVIRONMENT, "libnobodyhasthis.so.9: cannot open shared object file"),
    "disk": (Cause.ENVIRONMENT, "No space left on device"),
    "cache": (Cause.ENVIRONMENT, "File exists: '/dev/null'"),
    "network": (Cause.ENVIRONMENT, "Connection refused"),
    "permission": (Cause.ENVIRONMENT, "Permission denied"),
    "driver": (Cause.ENVIRONMENT, "CUDA driver version is insufficient"),
    "value": (Cause.REJECTED, "unsupported 'Permission denied'"),
    "crash": (Cause.CRASHED, "SIGSEGV"),
    "memory": (Cause.OUT_OF_MEMORY, "MemoryError"),
    "hang": (Cause.TIMED_OUT, "took longer than its limit of 5 s"),
}


def run(folder: Path, declared: str) -> tuple[int, dict[str, CellRecord]]:
    """Exit status and records of a project's whole run."""
    made = projects.make(folder / "project", matrix=f"declared_faults.{declared}")
    settings = made / "pyproject.toml"
    settings.write_text(settings.read_text().replace("generate_s = 120", "generate_s = 5"))
    done = projects.paramatrix(made, "run", "--backends", "pytorch", TOY_FOLDER=str(folder))
    return done.returncode, {record.row.partition("=")[2]: record for record in projects.results(made).measured}


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> dict[str, CellRecord]:
    code, found = run(tmp_path_factory.mktemp("faults"), "MATRIX")
    assert code == 0
    return found


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_told_with_its_cause_and_its_words(name: str, records: dict[str, CellRecord]) -> None:
    cause, words = EXPECTED[name]
    record = records[name]
    assert record.cause is cause, record.reason
    assert words in record.reason


@pytest.mark.parametrize("name", ["value", "crash", "memory", "hang"])
def test_a_cell_that_failed_has_failed_twice_with_a_control_that_ran_between(
    name: str, records: dict[str, CellRecord]
) -> None:
    attempts = records[name].attempts
    assert [attempt.role for attempt in attempts] == ["treated", "control", "treated"]
    assert [attempt.outcome == "ran" for attempt in attempts] == [False, True, False]
    assert all(attempt.new_engine for attempt in attempts[1:])


def test_a_bug_of_the_adapter_is_no_verdict_and_fails_the_run(tmp_path: Path) -> None:
    code, found = run(tmp_path, "WITH_A_BUG")
    assert code == 1
    assert found["bug"].cause is Cause.HARNESS_ERROR


def test_a_cell_whose_control_fails_as_well_is_the_environment_s(tmp_path: Path) -> None:
    code, found = run(tmp_path, "WITHOUT_CONTROL")
    assert code == 0
    assert found["both"].cause is Cause.ENVIRONMENT
    assert found["both"].reason.startswith("the control itself failed: KeyError")


def test_a_compiler_that_is_not_there_is_not_blamed_on_compiling(tmp_path: Path, pytorch_python: str) -> None:
    """The real PyTorch, whose inductor finds no C++ compiler on its path."""
    (cell,) = (
        cell
        for cell in plan.build(MATRIX, models={"pytorch": str(MATRIX.shipped_model)}, backends=["pytorch"])
        if cell.row == "pytorch.torch_compile=True"
    )
    hidden = ("-u", "CXX", "-u", "CC", f"PATH={tmp_path}", f"TORCHINDUCTOR_CACHE_DIR={tmp_path / 'cache'}")
    launcher = Launcher(("/usr/bin/env", *hidden, pytorch_python))
    host = BackendHost("pytorch", launcher, Limits())
    try:
        verdict = Experiment(host, {}, Variants(tmp_path / "variants")).run(cell).verdict
    finally:
        host.close()
    assert verdict.cause is Cause.ENVIRONMENT, verdict
    assert "compiler" in verdict.reason.lower(), verdict
