"""pytest on the surface: outcomes, exit codes, selection, xdist, reports, and a run that is killed."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness import processes
from harness.store import read
from harness.verdict import Cause, Outcome
from tests import projects
from tests.test_processes import until_gone
from tests.toys import marked

pytest_plugins = ["pytester"]

TOY_CELLS = {
    "pytorch-passthrough_kwargs=raise": Cause.REJECTED,
    "pytorch-decoder.top_k=1": Cause.CONFIRMED,
    "pytorch-decoder.top_k=5": Cause.CONFIRMED,
    "pytorch-decoder.top_k=50": Cause.NO_EFFECT,
    "pytorch-decoder.top_p=0.5": Cause.MISSING_HARDWARE,
}
REAL_CELLS = {
    "pytorch-fp_precision=bfloat16": Cause.CONFIRMED,
    "pytorch-max_output_tokens=1": Cause.CONFIRMED,
    "pytorch-decoder.temperature=0.0": Cause.REJECTED,
    "pytorch-decoder.top_p=0.9": Cause.NO_EFFECT,
    "pytorch-decoder.top_k=5": Cause.MISSING_HARDWARE,
}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """What `pytester` hands to the pytest it starts; afterwards no process of it is left."""
    for name, value in projects.environment(TOY_FOLDER=str(tmp_path)).items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    yield
    assert marked(f"TOY_FOLDER={tmp_path}") == []


@pytest.fixture
def toy(pytester: pytest.Pytester) -> pytest.Pytester:
    projects.make(pytester.path)
    return pytester


def causes(pytester: pytest.Pytester) -> dict[str, Cause]:
    return {name: cell.cause for name, cell in projects.results(pytester.path).cells.items()}


def lines(pytester: pytest.Pytester) -> list[str]:
    return (pytester.path / "reports" / "results.jsonl").read_text(encoding="utf-8").splitlines()


def test_a_run_that_judged_all_cells_is_green_though_cells_failed_and_every_outcome_shows(toy: pytest.Pytester) -> None:
    result = toy.runpytest_subprocess("-v")
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(
        [
            "*passthrough_kwargs=raise* FAILED*",
            "*top_k=1* PASSED*",
            "*top_k=50* UNCERTAIN*",
            "*top_p=0.5* SKIPPED*",
            "*1 failed, 2 passed, 1 skipped, 1 uncertain*",
        ]
    )
    assert causes(toy) == TOY_CELLS
    assert projects.results(toy.path).unmeasured == []


def test_uncertain_has_a_letter_of_its_own(toy: pytest.Pytester) -> None:
    toy.runpytest_subprocess().stdout.re_match_lines([r"test_cells\.py F\.\.us "])


def test_the_reasons_are_in_the_summary(toy: pytest.Pytester) -> None:
    toy.runpytest_subprocess("-ra").stdout.fnmatch_lines(
        ["SKIPPED*missing_hardware: needs 99 NVIDIA GPUs, found *", "FAILED*"]
    )


TELLS = """
import gc
from harness.records import CellRecord

def pytest_unconfigure(config):
    gc.collect()
    reports = [one for many in config.pluginmanager.get_plugin("terminalreporter").stats.values() for one in many]
    records = sum(isinstance(one, CellRecord) for one in gc.get_objects())
    told = sum(hasattr(one, "paramatrix") for one in reports)
    print(f"{len(reports)} reports, {told} with a record; {records} records")
"""


@pytest.mark.parametrize("arguments", [(), ("-n", "2"), ("--html=page.html",)], ids=["alone", "workers", "html"])
def test_a_record_that_was_told_is_let_go(toy: pytest.Pytester, arguments: tuple[str, ...]) -> None:
    """Of a run of many cells nothing but the file grows: pytest keeps items and reports to the end."""
    toy.makeconftest(TELLS)
    done = toy.runpytest_subprocess("-q", *arguments)
    done.stdout.fnmatch_lines(["15 reports, 0 with a record; [01] records"])


@pytest.mark.parametrize("workers", ["0", "2"])
def test_each_cell_is_written_once_with_and_without_workers(toy: pytest.Pytester, workers: str) -> None:
    result = toy.runpytest_subprocess("-n", workers)
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(["*1 failed, 2 passed, 1 skipped, 1 uncertain*"])
    assert causes(toy) == TOY_CELLS
    cells = [json.loads(line).get("cell") for line in lines(toy)]
    assert sorted(filter(None, cells)) == sorted(TOY_CELLS)
    assert cells[0] is None, "the header stands first"
    assert cells.count(None) == 1


def test_without_xdist_it_works_as_well(toy: pytest.Pytester) -> None:
    assert toy.runpytest_subprocess("-p", "no:xdist").ret == pytest.ExitCode.OK
    assert causes(toy) == TOY_CELLS


def test_collecting_needs_no_backend_and_writes_nothing(pytester: pytest.Pytester) -> None:
    projects.make(pytester.path, launcher=("no/such/python",))
    result = pytester.runpytest_subprocess("--collect-only", "-q")
    assert result.ret == pytest.ExitCode.OK
    assert [line.split("[")[1][:-1] for line in result.outlines if "[" in line] == list(TOY_CELLS)
    assert not (pytester.path / "reports").exists()


def test_without_its_backend_every_cell_says_what_is_missing(pytester: pytest.Pytester) -> None:
    projects.make(pytester.path, launcher=("no/such/python",))
    assert pytester.runpytest_subprocess().ret == pytest.ExitCode.OK
    found = projects.results(pytester.path)
    assert {cell.cause for cell in found.cells.values()} == {Cause.MISSING_PACKAGE}
    assert "`make setup` installs it" in found.cells["pytorch-decoder.top_k=1"].reason


@pytest.mark.parametrize("workers", ["0", "2"])
def test_a_selection_replaces_its_cells_and_keeps_the_others(toy: pytest.Pytester, workers: str) -> None:
    toy.runpytest_subprocess()
    before = projects.results(toy.path)
    assert toy.runpytest_subprocess("-n", workers, "-k", "top_k and not 50", "--matrix-fresh").ret == pytest.ExitCode.OK
    after = projects.results(toy.path)
    assert after.latest is not None
    assert after.latest.narrowed
    assert [plan.cell for plan in after.latest.planned] == ["pytorch-decoder.top_k=1", "pytorch-decoder.top_k=5"]
    moved = {name for name in TOY_CELLS if after.cells[name].run != before.cells[name].run}
    assert moved == {"pytorch-decoder.top_k=1", "pytorch-decoder.top_k=5"}
    assert causes(toy) == TOY_CELLS


def test_an_exact_cell_can_be_named(toy: pytest.Pytester) -> None:
    assert toy.runpytest_subprocess("test_cells.py::test_cell[pytorch-decoder.top_p=0.5]").ret == pytest.ExitCode.OK
    assert set(causes(toy)) == {"pytorch-decoder.top_p=0.5"}


def test_the_last_failed_are_the_cells_that_failed(toy: pytest.Pytester) -> None:
    toy.runpytest_subprocess()
    result = toy.runpytest_subprocess("--lf", "-v", "--matrix-fresh")
    result.stdout.fnmatch_lines(["*passthrough_kwargs=raise* FAILED*", "*1 failed*"])
    result.stdout.no_fnmatch_line("*top_k*")


def test_junit_and_html_reports_are_written(toy: pytest.Pytester) -> None:
    for workers in ("0", "2"):
        result = toy.runpytest_subprocess(
            "-n", workers, "--matrix-fresh", "--junitxml=junit.xml", "--html=report.html", "--self-contained-html"
        )
        assert result.ret == pytest.ExitCode.OK
        suite = ET.parse(toy.path / "junit.xml").getroot()[0]  # noqa: S314 - our own file
        assert (suite.get("tests"), suite.get("failures"), suite.get("skipped")) == ("5", "1", "1")
        told = {
            case.get("name"): {item.get("name"): item.get("value") for item in case.iter("property")}
            for case in suite.iter("testcase")
        }
        assert told["test_cell[pytorch-decoder.top_k=50]"] == {"verdict": "uncertain", "cause": "no_observable_effect"}
        assert "passthrough_kwargs=raise" in (toy.path / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(("matrix", "workers"), [("FAULTY", "2"), ("UNCLEAR", "0")])
def test_a_fault_of_the_harness_is_not_green(pytester: pytest.Pytester, matrix: str, workers: str) -> None:
    """A setting that the adapter never reads; a need that nobody understands."""
    projects.make(pytester.path, matrix=f"declared_toy.{matrix}")
    result = pytester.runpytest_subprocess("-n", workers)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    found = causes(pytester)
    assert found["pytorch-decoder.top_k=1"] is Cause.CONFIRMED
    assert found.get("pytorch-decoder.min_p=0.5", Cause.HARNESS_ERROR) is Cause.HARNESS_ERROR
    assert "pytorch-decoder.top_p=0.5" not in found


def test_a_test_of_the_project_s_own_that_fails_is_not_green(toy: pytest.Pytester) -> None:
    (toy.path / "test_own.py").write_text("def test_own():\n    assert False\n")
    assert toy.runpytest_subprocess().ret == pytest.ExitCode.TESTS_FAILED
    assert causes(toy) == TOY_CELLS


def test_a_run_that_never_began_leaves_the_results_as_they_were(toy: pytest.Pytester) -> None:
    toy.runpytest_subprocess()
    before = lines(toy)
    for workers in ("0", "2"):
        assert toy.runpytest_subprocess("-n", workers, "-k", "and").ret == pytest.ExitCode.USAGE_ERROR
        assert lines(toy) == before
    (toy.path / "test_own.py").write_text("import nobody\n")
    assert toy.runpytest_subprocess().ret == pytest.ExitCode.INTERRUPTED
    assert lines(toy) == before


def test_a_file_that_cannot_be_collected_is_not_green_with_workers_either(toy: pytest.Pytester) -> None:
    """xdist runs what it could collect."""
    (toy.path / "test_own.py").write_text("import nobody\n")
    assert toy.runpytest_subprocess("-n", "2").ret == pytest.ExitCode.TESTS_FAILED
    assert causes(toy) == TOY_CELLS


def test_tests_without_cells_write_no_results(toy: pytest.Pytester) -> None:
    (toy.path / "test_own.py").write_text("def test_own():\n    pass\n")
    assert toy.runpytest_subprocess("test_own.py").ret == pytest.ExitCode.OK
    assert not (toy.path / "reports").exists()


@pytest.mark.parametrize("workers", ["0", "2"])
def test_results_that_cannot_be_written_end_the_run_before_it_begins(toy: pytest.Pytester, workers: str) -> None:
    (toy.path / "reports").write_text("a file where the folder should be")
    result = toy.runpytest_subprocess("-n", workers)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: *results.jsonl: cannot be written: *. Make the folder writable or *"])
    result.stderr.no_fnmatch_line("*Traceback*")
    result.stdout.no_fnmatch_line("*INTERNALERROR*")


def test_a_cell_whose_engine_crashes_its_worker_process_does_not_lose_the_others(toy: pytest.Pytester) -> None:
    declared = (toy.path / "declarations.py").read_text()
    more = """
from dataclasses import replace
from harness.declare import Value
from tests.declared_toy import PASSES, parameter
KILLS = parameter("passthrough_kwargs", Value({"toy": "segfault"}, label="crash"))
MATRIX = replace(MATRIX, parameters=(KILLS, PASSES))
"""
    (toy.path / "declarations.py").write_text(declared + more)
    assert toy.runpytest_subprocess("-n", "2").ret == pytest.ExitCode.OK
    assert causes(toy)["pytorch-passthrough_kwargs=crash"] is Cause.CRASHED
    assert len(causes(toy)) == 4


# The real library -------------------------------------------------------------------------------------------------


def test_a_small_project_of_one_s_own_measures_the_real_library(pytester: pytest.Pytester, pytorch_python: str) -> None:
    projects.make(pytester.path, launcher=(pytorch_python,), matrix="declared_real.MATRIX")
    result = pytester.runpytest_subprocess()
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(["*1 failed, 2 passed, 1 skipped, 1 uncertain*"])
    found = projects.results(pytester.path)
    assert causes(pytester) == REAL_CELLS
    refused = found.cells["pytorch-decoder.temperature=0.0"]
    assert "strictly positive float" in refused.reason
    assert [made.outcome == "ran" for made in refused.attempts] == [False, True, False]
    passed = found.cells["pytorch-max_output_tokens=1"].evidence
    assert passed.observed is not None
    assert passed.observed["saw"] == "1 tokens"
    assert any("max_new_tokens=1" in argument for argument in passed.observed["forwarded"])
    assert found.cells["pytorch-fp_precision=bfloat16"].evidence.level == "state"
    run = found.runs[refused.run]
    assert run.backends["pytorch"].packages["transformers"]
    assert run.backends["pytorch"].model_hash


def test_two_workers_measure_the_real_library_and_write_each_cell_once(
    pytester: pytest.Pytester, pytorch_python: str
) -> None:
    projects.make(pytester.path, launcher=(pytorch_python,), matrix="declared_real.MATRIX")
    assert pytester.runpytest_subprocess("-n", "2").ret == pytest.ExitCode.OK
    assert causes(pytester) == REAL_CELLS
    assert len(lines(pytester)) == len(REAL_CELLS) + 1


# A run that is killed ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", ["0", "2"])
def test_a_killed_run_leaves_whole_lines_and_no_processes_and_the_next_one_completes(
    tmp_path: Path, workers: str
) -> None:
    folder = projects.make(tmp_path / "project", matrix="declared_toy.HANGING")
    process = projects.start(folder, "pytest", "-n", workers, TOY_FOLDER=str(tmp_path))
    results = folder / "reports" / "results.jsonl"
    deadline = time.monotonic() + 60
    while not ((tmp_path / "hanging").exists() and results.exists() and results.read_bytes().count(b"\n") >= 3):
        assert time.monotonic() < deadline, "the run never came to the cell that hangs"
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    before = marked(f"TOY_FOLDER={tmp_path}")
    assert len(before) >= 3
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    until_gone(*before)
    data = results.read_bytes()
    assert data.endswith(b"\n")
    found = read(results)
    assert [plan.cell for plan in found.unmeasured][-1] == "pytorch-passthrough_kwargs=hang"
    assert found.cells["pytorch-decoder.top_k=1"].verdict is Outcome.PASS

    done = projects.start(folder, "pytest", "-n", workers, TOY_FOLDER=str(tmp_path))
    out, err = done.communicate(timeout=300)
    assert done.returncode == 0, out + err
    assert f"{len(found.cells)} outcomes re-used, {4 - len(found.cells)} to run" in out
    resumed = read(results)
    assert resumed.unmeasured == []
    assert len(resumed.cells) == 4
    assert {name: resumed.cells[name] for name in found.cells} == found.cells


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM], ids=lambda sent: sent.name)
def test_an_interrupted_run_says_so_and_keeps_what_it_measured(tmp_path: Path, sent: signal.Signals) -> None:
    folder = projects.make(tmp_path / "project", matrix="declared_toy.HANGING")
    process = projects.start(folder, "pytest", TOY_FOLDER=str(tmp_path))
    deadline = time.monotonic() + 60
    while not (tmp_path / "hanging").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    before = marked(f"TOY_FOLDER={tmp_path}")
    os.kill(process.pid, sent)
    process.communicate(timeout=300)
    assert process.returncode == pytest.ExitCode.INTERRUPTED
    until_gone(*before)
    assert len(projects.results(folder).cells) == 3


def test_workers_of_a_run_that_is_told_to_end_end_with_it_and_the_next_run_goes_on(tmp_path: Path) -> None:
    folder = projects.make(tmp_path / "project", matrix="declared_toy.HANGING")
    command = ("harness.cli", "run", "--backends", "pytorch", "--workers", "2")
    process = projects.start(folder, *command, TOY_FOLDER=str(tmp_path))
    results = folder / "reports" / "results.jsonl"
    deadline = time.monotonic() + 60
    while not ((tmp_path / "hanging").exists() and results.exists() and results.read_bytes().count(b"\n") >= 3):
        assert time.monotonic() < deadline
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    before = {*processes.tree(process.pid), *marked(f"TOY_FOLDER={tmp_path}")} - {process.pid}
    assert len(before) >= 4, "two workers, and the host and the engine that hang"
    process.terminate()
    process.communicate(timeout=300)
    assert process.returncode == pytest.ExitCode.INTERRUPTED
    assert [pid for pid in before if processes.running(pid)] == [], "it waits for them"
    found = projects.results(folder)
    assert "pytorch-passthrough_kwargs=hang" in {plan.cell for plan in found.unmeasured}

    done = projects.start(folder, *command, TOY_FOLDER=str(tmp_path))
    out, err = done.communicate(timeout=300)
    assert done.returncode == 0, out + err
    assert f"{len(found.cells)} outcomes re-used, {4 - len(found.cells)} to run" in out
    resumed = projects.results(folder)
    assert resumed.unmeasured == []
    assert {name: resumed.cells[name] for name in found.cells} == found.cells
    assert sum(b'"record":"cell"' in line for line in results.read_bytes().splitlines()) == 4


def test_a_disk_that_fills_up_ends_the_run_with_one_line(tmp_path: Path) -> None:
    folder = projects.make(tmp_path / "project")
    projects.start(folder, "pytest").communicate(timeout=300)
    results = folder / "reports" / "results.jsonl"
    limit = results.stat().st_size * 5 // 4
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--matrix-fresh"],
        cwd=folder,
        env=projects.environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )
    assert done.returncode == pytest.ExitCode.INTERNAL_ERROR
    assert "Is the disk full?" in done.stdout + done.stderr
    assert "torn" not in done.stdout + done.stderr
    assert "INTERNALERROR" not in done.stdout
    assert {name: cell.cause for name, cell in read(results).cells.items()} == TOY_CELLS


def test_a_test_that_merely_has_a_cell_as_parameter_records_nothing(toy: pytest.Pytester) -> None:
    (toy.path / "test_cells.py").write_text(
        "import pytest\n"
        "from harness import plan\n"
        "from declarations import MATRIX\n"
        "CELLS = plan.build(MATRIX, models={'pytorch': 'none'}, backends=['pytorch'])\n"
        "@pytest.mark.parametrize('cell', CELLS, ids=lambda cell: cell.id)\n"
        "def test_plan(cell):\n"
        "    assert cell.id\n"
    )
    assert toy.runpytest_subprocess().ret == pytest.ExitCode.OK
    assert not (toy.path / "reports").exists()


@pytest.mark.parametrize("workers", ["0", "2"])
def test_tests_that_are_called_as_cells_are_called_are_no_cells(toy: pytest.Pytester, workers: str) -> None:
    """Neither are they left out because a cell's outcome is re-used, nor is anything written of them."""
    toy.runpytest_subprocess()
    before = lines(toy)
    (toy.path / "test_own.py").write_text(
        f"import pytest\n@pytest.mark.parametrize('name', {list(TOY_CELLS)!r})\ndef test_own(name):\n    assert name\n"
    )
    toy.runpytest_subprocess("test_own.py", f"-n{workers}").assert_outcomes(passed=len(TOY_CELLS))
    assert lines(toy) == before


@pytest.mark.parametrize("workers", ["0", "2"])
def test_tests_beside_the_cells_are_run_without_planning_any(toy: pytest.Pytester, workers: str) -> None:
    (toy.path / "declarations.py").write_text("raise RuntimeError('planned')\n")
    (toy.path / "own").mkdir()
    (toy.path / "own" / "test_own.py").write_text("def test_one():\n    pass\n\ndef test_two():\n    pass\n")
    toy.runpytest_subprocess("own", f"-n{workers}").assert_outcomes(passed=2)


@pytest.mark.parametrize("named", [(), (".",), ("own/../test_cells.py",), ("own", "test_cells.py::test_cell")])
def test_however_the_cells_are_named_workers_pass_over_those_that_were_judged(
    toy: pytest.Pytester, named: tuple[str, ...]
) -> None:
    toy.runpytest_subprocess()
    before = lines(toy)
    (toy.path / "own").mkdir()
    done = toy.runpytest_subprocess(*named, "-n2", "--dist=each")
    done.stdout.fnmatch_lines(["5 outcomes re-used, 0 to run*"])
    assert lines(toy) == before


@pytest.mark.parametrize("workers", ["0", "2"])
def test_cells_are_judged_in_the_file_that_the_project_names_and_in_no_other(
    toy: pytest.Pytester, workers: str
) -> None:
    (toy.path / "test_more.py").write_text("def test_more(cell, judge_cell):\n    judge_cell(cell)\n")
    done = toy.runpytest_subprocess("test_more.py", f"-n{workers}")
    assert done.ret != 0
    done.stdout.fnmatch_lines(["*test_more.py::test_more judges cells: expected in test_cells.py alone*"])
    assert not (toy.path / "reports").exists()
