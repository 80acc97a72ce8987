"""`pytest --energy` and `paramatrix energy`: what is measured, what is written, budgets, and a run that is killed."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import pytest

from harness.energy.budget import BudgetError
from harness.energy.budget import read as read_budget
from harness.energy.measured import read
from harness.energy.quality import Quality
from tests import projects
from tests.declared_toy import MATRIX
from tests.toys import marked

pytest_plugins = ["pytester"]

SHORT = ("--energy-window", "0.05", "--energy-repeats", "2", "--energy-idle", "0.05", "--energy-warm-up", "0.05")
PASSED = {"pytorch-decoder.top_k=1", "pytorch-decoder.top_k=5"}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    for name, value in projects.environment(TOY_FOLDER=str(tmp_path)).items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    yield
    assert marked(f"TOY_FOLDER={tmp_path}") == []


@pytest.fixture
def toy(pytester: pytest.Pytester) -> pytest.Pytester:
    projects.make(pytester.path)
    return pytester


def lines(pytester: pytest.Pytester) -> list[str]:
    return (pytester.path / "reports" / "energy.jsonl").read_text(encoding="utf-8").splitlines()


def budget(pytester: pytest.Pytester, text: str) -> str:
    path = pytester.path / "budget.yaml"
    path.write_text(text, encoding="utf-8")
    return f"--energy-budget={path}"


def test_cells_that_passed_are_measured_against_their_controls_and_nothing_is_judged(toy: pytest.Pytester) -> None:
    toy.runpytest_subprocess()
    verdicts = (toy.path / "reports" / "results.jsonl").read_bytes()
    result = toy.runpytest_subprocess("--energy", *SHORT)
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(["*2 passed, 3 deselected*"])
    assert (toy.path / "reports" / "results.jsonl").read_bytes() == verdicts
    found = read(toy.path / "reports" / "energy.jsonl")
    assert set(found.cells) == PASSED
    for cell in found.cells.values():
        assert found.runs[cell.run].backends[cell.backend].model == cell.model
        assert [window.role for window in cell.windows if window.role != "idle"].count("control") == 2
        assert {window.round for window in cell.windows if window.role == "control"} == {1, 2}
        assert cell.energy.tokens_per_s is not None
        assert cell.energy.tokens_per_s.versus_control is not None
        assert cell.energy.gross_j is not None or cell.energy.why_missing("gross_j")
        assert (cell.energy.quality is Quality.UNAVAILABLE) == (cell.energy.gross_j is None)
        assert cell.control.tokens_per_s is not None


def test_without_verdicts_all_that_can_run_is_measured_and_the_rest_says_why_not(toy: pytest.Pytester) -> None:
    result = toy.runpytest_subprocess("--energy", *SHORT, "-rsf")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(
        ["SKIPPED*missing_hardware: needs 99 NVIDIA GPUs*", "FAILED*raise*the treated run failed*no such | thing*"]
    )
    found = read(toy.path / "reports" / "energy.jsonl").cells
    assert set(found) == {*PASSED, "pytorch-decoder.top_k=50", "pytorch-passthrough_kwargs=raise"}
    assert found["pytorch-passthrough_kwargs=raise"].windows == []
    assert "no such | thing" in (found["pytorch-passthrough_kwargs=raise"].energy.why_missing("tokens_per_s") or "")


def test_a_named_cell_is_measured_whatever_its_verdict(toy: pytest.Pytester) -> None:
    toy.runpytest_subprocess()
    result = toy.runpytest_subprocess("--energy", *SHORT, "test_cells.py::test_cell[pytorch-decoder.top_k=50]")
    assert result.ret == pytest.ExitCode.OK
    assert set(read(toy.path / "reports" / "energy.jsonl").cells) == {"pytorch-decoder.top_k=50"}


def test_measuring_again_replaces_and_keeps_the_others(toy: pytest.Pytester) -> None:
    toy.runpytest_subprocess("--energy", *SHORT, "-k", "top_k and not 50")
    before = read(toy.path / "reports" / "energy.jsonl").cells
    toy.runpytest_subprocess("--energy", *SHORT, "test_cells.py::test_cell[pytorch-decoder.top_k=5]")
    after = read(toy.path / "reports" / "energy.jsonl").cells
    assert {name for name in after if after[name].run == before[name].run} == set(after) - {"pytorch-decoder.top_k=5"}
    assert set(before) == set(after)


def test_two_at_a_time_are_refused(toy: pytest.Pytester) -> None:
    result = toy.runpytest_subprocess("--energy", "-n", "2")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*one cell at a time*"])


def test_a_kept_budget_passes_and_only_what_it_names_is_measured(toy: pytest.Pytester) -> None:
    limits = budget(toy, "pytorch-decoder.top_k=5: {tokens_per_s: {min: 1}, peak_host_bytes: {max: 2000000}}\n")
    result = toy.runpytest_subprocess(limits, *SHORT)
    assert result.ret == pytest.ExitCode.OK
    assert set(read(toy.path / "reports" / "energy.jsonl").cells) == {"pytorch-decoder.top_k=5"}


def test_a_broken_budget_fails_with_the_figures(toy: pytest.Pytester) -> None:
    limits = budget(toy, "pytorch-decoder.top_k=5: {peak_host_bytes: {max: 1000000}, output_tokens: {min: 1.0e+12}}\n")
    result = toy.runpytest_subprocess(limits, *SHORT)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(
        [
            "*peak_host_bytes is 1.049e+06 B (95% 1.049e+06 to 1.049e+06, 2 windows), expected at most 1e+06, 4.9% off",
            "*output_tokens is * tokens, expected at least 1e+12, 100.0% off*",
        ]
    )
    assert len(lines(toy)) == 2, "what was measured is kept all the same"


def test_a_figure_that_is_missing_does_not_keep_a_budget(toy: pytest.Pytester) -> None:
    limits = budget(toy, "pytorch-decoder.top_k=5: {ttft_p50_s: {max: 9}}\n")
    result = toy.runpytest_subprocess(limits, *SHORT)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["*ttft_p50_s is not known: output came in one piece*"])


def test_a_cell_that_cannot_be_measured_does_not_keep_a_budget(toy: pytest.Pytester) -> None:
    limits = budget(toy, "pytorch-decoder.top_p=0.5: {tokens_per_s: {min: 1}}\n")
    result = toy.runpytest_subprocess(limits, *SHORT)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["*not measured: missing_hardware: needs 99 NVIDIA GPUs*"])


def test_a_config_has_a_budget_by_its_file(toy: pytest.Pytester) -> None:
    (toy.path / "mine.yaml").write_text("model: some/model\nbackend: pytorch\ndecoder: {top_k: 5}\n")
    limits = budget(toy, "mine.yaml: {output_tokens: {min: 1}}\n")
    result = toy.runpytest_subprocess(limits, *SHORT)
    assert result.ret == pytest.ExitCode.OK
    (record,) = read(toy.path / "reports" / "energy.jsonl").cells.values()
    assert record.cell == "pytorch-config=mine.yaml"
    assert record.model == "some/model"
    assert record.energy.why_missing("tokens_per_s.versus_control") == "there is no control"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "expected cell ids or config files with limits*got nothing"),
        ("- a\n", "got a list"),
        ("a: [", "not YAML"),
        ("a: " + "[" * 5000, "nested too deeply"),
        ("a: {gross_j: {max: 1}}\na: {gross_j: {max: 2}}\n", "duplicate key 'a'"),
        ("pytorch-decoder.top_k=5: 3\n", "expected limits*got 3"),
        ("pytorch-decoder.top_k=5: {watts: {max: 1}}\n", "no figure is called 'watts': expected some of gross_j*"),
        ("pytorch-decoder.top_k=5: {gross_j: {most: 1}}\n", "expected {min: number}*got {'most': 1}"),
        ("pytorch-decoder.top_k=5: {gross_j: {max: .nan}}\n", "expected {min: number}*got {'max': nan}"),
        ("pytorch-decoder.top_k=5: {gross_j: {max: 1, min: 2}}\n", "min 2 is above max 1"),
        ("none.yaml: {gross_j: {max: 1}}\n", "none.yaml*cannot be read*"),
    ],
)
def test_a_budget_that_says_nothing_is_refused_with_what_was_expected(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "budget.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(BudgetError) as error:
        read_budget(path, MATRIX)
    assert fnmatch(str(error.value), f"{path}*: *{said.replace('[', '[[]')}*")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("pytorch-decoder.top_k=99: {gross_j: {max: 1}}\n", "no cell is called pytorch-decoder.top_k=99"),
        ("pytorch-decoder.top_k=5: {watts: {max: 1}}\n", "no figure is called 'watts'"),
    ],
)
def test_a_wrong_budget_is_one_clear_error_and_nothing_is_run(toy: pytest.Pytester, text: str, said: str) -> None:
    result = toy.runpytest_subprocess(budget(toy, text), *SHORT)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"*{said}*"])
    assert "Traceback" not in result.stderr.str() + result.stdout.str()
    assert not (toy.path / "reports").exists()


def test_a_run_that_is_killed_leaves_whole_lines_and_no_process(toy: pytest.Pytester, tmp_path: Path) -> None:
    process = projects.start(
        toy.path, "pytest", *SHORT, "--energy", "--energy-window", "1", "-k", "top_k", TOY_FOLDER=str(tmp_path)
    )
    deadline = time.monotonic() + 60
    written = toy.path / "reports" / "energy.jsonl"
    while time.monotonic() < deadline and not (written.exists() and written.read_bytes().count(b"\n") >= 2):
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    records = [json.loads(line)["record"] for line in lines(toy)]
    assert records[:2] == ["run", "energy"]
    assert read(written).unmeasured, "the rest is still to be measured"
    while time.monotonic() < deadline and marked(f"TOY_FOLDER={tmp_path}"):
        time.sleep(0.1)


def test_the_command_measures_and_says_where_the_figures_are(tmp_path: Path) -> None:
    folder = projects.make(tmp_path / "project")
    done = projects.paramatrix(
        folder, "energy", "--window", "0.05", "--repeats", "2", "--warm-up", "0", "--cell", "pytorch-decoder.top_k=5"
    )
    assert done.returncode == 0, done.stderr
    assert "[1/1] pytorch-decoder.top_k=5" in done.stdout
    assert "tokens/s" in done.stdout
    assert f"measured: {folder / 'reports' / 'energy.jsonl'}" in done.stdout
    refused = projects.paramatrix(folder, "energy", "--repeats", "0")
    assert (refused.returncode, refused.stdout.count("Traceback")) == (pytest.ExitCode.USAGE_ERROR, 0)
    assert "repeats=0" in refused.stderr
    endless = projects.paramatrix(folder, "energy", "--window", "inf")
    assert (endless.returncode, endless.stdout.count("Traceback")) == (pytest.ExitCode.USAGE_ERROR, 0)
    assert "window_s = inf: expected finite numbers" in endless.stderr
    (folder / "junk.jsonl").write_text("junk\n")
    junk = projects.paramatrix(folder, "energy", "--results", "junk.jsonl")
    assert junk.returncode == pytest.ExitCode.USAGE_ERROR
    assert "junk.jsonl" in junk.stderr
    assert "Traceback" not in junk.stdout + junk.stderr
    unknown = projects.paramatrix(folder, "energy", "--cell", "pytorch-x=1")
    assert unknown.returncode == 2
    assert "no cell is called pytorch-x=1" in unknown.stderr


def test_real_engines_are_measured(tmp_path: Path, pytorch_python: str) -> None:
    folder = projects.make(tmp_path / "project", launcher=(pytorch_python,), matrix="declared_real.MATRIX")
    cells = ("pytorch-fp_precision=bfloat16", "pytorch-max_output_tokens=1")
    named = [argument for cell in cells for argument in ("--cell", cell)]
    done = projects.paramatrix(folder, "energy", "--window", "0.3", "--repeats", "2", "--warm-up", "2", *named)
    assert done.returncode == 0, done.stdout + done.stderr
    found = read(folder / "reports" / "energy.jsonl").cells
    for cell in cells:
        energy = found[cell].energy
        assert energy.peak_host_bytes is not None
        assert energy.peak_host_bytes.value > 50 << 20
        assert energy.total_tokens is not None
        assert energy.output_tokens is not None
        assert energy.total_tokens.value > energy.output_tokens.value > 0
        windows = [window for window in found[cell].windows if window.role != "idle"]
        assert all(window.end_s - window.start_s >= 0.3 and window.passes > 0 for window in windows)
        assert energy.gross_j is not None or energy.why_missing("gross_j")
