"""The command: what is wrong is said in one line, with the mend, a non-zero exit, and nothing is lost."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.environments import has_nvidia_gpu
from harness.project import ProjectError, find
from harness.store import Writer, read
from harness.verdict import Cause
from tests import projects
from tests.projects import paramatrix

ROOT = projects.ROOT


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose whole matrix was run once by the command."""
    folder = projects.make(tmp_path_factory.mktemp("cli") / "project")
    done = paramatrix(folder, "run")
    assert done.returncode == 0, done.stderr
    assert "[5/5]" in done.stdout
    assert "pytorch: 5 cells: 2 passed, 1 failed, 1 uncertain, 1 not run" in done.stdout
    assert f"evidence: {folder / 'reports' / 'results.jsonl'}" in done.stdout
    assert f"page:     {folder / 'reports' / 'parameter-support-matrix.md'}" in done.stdout
    return folder


@pytest.fixture
def project(measured: Path) -> Iterator[Path]:
    """The measured project; whatever a test does to its results is undone before the next."""
    reports = measured / "reports"
    kept = {path: path.read_bytes() for path in reports.iterdir()}
    yield measured
    for path in set(reports.iterdir()) - set(kept):
        path.unlink()
    for path, data in kept.items():
        path.write_bytes(data)


def refused(folder: Path, *arguments: str, **more: str) -> str:
    """The one line that is said."""
    before = {path: path.read_bytes() for path in (folder / "reports").glob("*") if path.is_file()}
    done = paramatrix(folder, *arguments, **more)
    assert done.returncode not in {0, 1}, done.stdout + done.stderr
    told = done.stderr.strip().splitlines()
    assert len(told) == 1, done.stderr
    assert "Traceback" not in done.stdout
    after = {path: path.read_bytes() for path in (folder / "reports").glob("*") if path.is_file()}
    assert after == before, "nothing is lost, nothing is changed"
    return told[0]


@pytest.mark.parametrize("command", ["run", "cases", "setup"])
def test_an_unknown_backend_is_named_with_those_that_exist(project: Path, command: str) -> None:
    assert refused(project, command, "--backends", "pytorch,gguf") == (
        "paramatrix: unknown backend gguf: expected some of pytorch, vllm, tensorrt"
    )


@pytest.mark.parametrize("command", ["run", "cases", "plan"])
def test_a_list_of_backends_that_names_none_is_refused(project: Path, command: str) -> None:
    told = refused(project, command, "--backends", ",")
    assert told == "paramatrix: ',' names no backend: expected some of pytorch, vllm, tensorrt"


@pytest.mark.parametrize("workers", ["0", "-3", "two", "999999999999"])
def test_a_number_of_slots_that_cannot_be_meant_is_refused(project: Path, workers: str) -> None:
    told = refused(project, "run", f"--workers={workers}")
    assert told.startswith(f"paramatrix: --workers {workers}: expected auto (all slots there are), or how many: ")


@pytest.mark.parametrize("repeat", ["0", "-3", "1000", "999999999999"])
def test_a_number_of_repeats_that_cannot_be_meant_is_refused(project: Path, repeat: str) -> None:
    told = refused(project, "run", f"--repeat={repeat}")
    assert (
        told == f"paramatrix: --repeat {repeat}: expected how often to judge every cell: a whole number from 1 to 999"
    )


@pytest.mark.parametrize(
    ("model", "found"),
    [("/no/such/model", "no such folder"), (".", "a folder without one"), ("~/none", "no such folder")],
)
def test_a_model_that_cannot_be_read_is_named(project: Path, model: str, found: str) -> None:
    for command in ("run", "cases"):
        told = refused(project, command, "--model", model)
        assert "expected a model folder with a config.json or a hub id like org/name" in told
        assert told.endswith(f"found {found}")


def test_a_model_folder_that_links_to_itself_is_told_in_one_line(project: Path, tmp_path: Path) -> None:
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    for model in (str(loop), "~nobody-at-all/model"):
        for command in ("cases", "run"):
            assert refused(project, command, "--model", model).endswith("found no such folder")


def test_a_torn_last_line_is_named_and_repaired(project: Path) -> None:
    results = project / "reports" / "results.jsonl"
    whole = results.read_bytes()
    results.write_bytes(whole + b'{"record":"cell","run"')
    told = refused(project, "report")
    assert f"results.jsonl:{whole.count(bytes([10])) + 1}: the last line is torn" in told
    assert "`paramatrix repair`" in told
    done = paramatrix(project, "repair")
    assert done.returncode == 0
    assert results.read_bytes() == whole
    assert (project / "reports" / "results.jsonl.torn").read_bytes() == b'{"record":"cell","run"\n'
    assert "nothing was torn" in paramatrix(project, "repair").stdout
    assert paramatrix(project, "report").returncode == 0


def test_a_file_that_a_run_is_writing_is_not_repaired(project: Path) -> None:
    """What looks torn may be a line that is being written, and the run would go on in a file that nobody finds."""
    results = project / "reports" / "results.jsonl"
    writer = Writer(results)
    with results.open("ab") as file:
        file.write(b'{"record":"cell","run"')
    assert "another run is writing it" in refused(project, "repair")
    results.write_bytes(results.read_bytes().removesuffix(b'{"record":"cell","run"'))
    writer.close()


def test_a_line_that_is_no_record_is_named(project: Path) -> None:
    results = project / "reports" / "results.jsonl"
    results.write_bytes(results.read_bytes() + b'{"record":"cell"}\n')
    assert "results.jsonl:7: not a results line (" in refused(project, "report")
    assert "results.jsonl:7: not a results line (" in refused(project, "run")


def test_reports_that_cannot_be_written_are_named(project: Path) -> None:
    told = refused(project, "run", "--results", "pyproject.toml/results.jsonl")
    assert "cannot be" in told
    assert "results.jsonl" in told
    told = refused(project, "report", "--out", "pyproject.toml/out")
    assert "cannot be written" in told
    assert "--out" in told
    told = refused(project, "run", "--results", "/proc/results.jsonl")
    assert "cannot be written: " in told


def test_a_name_that_no_file_can_have_is_told_in_one_line(project: Path) -> None:
    for command in (("diff", "reports"), ("plan", "--results"), ("merge", "reports/results.jsonl", "--out")):
        assert refused(project, *command, "x" * 300).endswith(f"{'x' * 300}: File name too long")


def test_results_without_a_run_are_neither_accepted_nor_taken_for_a_repeat(project: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty.jsonl"
    empty.touch()
    for command in (("accept", "--results"), ("diff", "reports", "reports", "--repeat")):
        assert f"{empty}: no run is recorded in it" in refused(project, *command, str(empty))


def test_results_that_another_run_is_writing_are_left_to_it(project: Path) -> None:
    writer = Writer(project / "reports" / "results.jsonl")
    try:
        assert "another run is writing it" in refused(project, "run")
    finally:
        writer.close()


def test_a_k_that_matches_nothing_is_told_with_the_number_of_cells(project: Path) -> None:
    told = refused(project, "run", "-k", "top_q")
    assert told == "paramatrix: K='top_q' matches none of the 5 planned cells. `paramatrix cases` lists them."
    assert "matches none" in refused(project, "run", "-k", "top_q", "--workers", "2")


def test_a_k_that_is_no_expression_is_told_so(project: Path) -> None:
    assert "Wrong expression passed to '-k': top_k and: at column 10" in refused(project, "run", "-k", "top_k and")
    assert "Wrong expression passed" in refused(project, "run", "-k", "top_k and", "--workers", "2")


def test_a_cell_that_does_not_exist_is_named(project: Path) -> None:
    told = refused(project, "run", "--cell", "pytorch-decoder.top_k=7")
    assert (
        told == "paramatrix: no cell is called pytorch-decoder.top_k=7. `paramatrix cases` lists the 5 planned cells."
    )


def test_a_missing_environment_says_how_to_make_it(tmp_path: Path) -> None:
    folder = projects.make(tmp_path / "project", launcher=("/no/such/python",))
    told = refused(folder, "run", "--backends", "pytorch")
    assert told == (
        "paramatrix: no pytorch environment (/no/such/python does not exist). "
        "`make setup BACKENDS=pytorch` installs it."
    )
    assert "no backend is installed. `make setup`" in refused(folder, "run")


def test_a_column_that_is_not_installed_is_told_as_not_run_and_replaces_nothing_that_was_judged(tmp_path: Path) -> None:
    folder = projects.make(tmp_path / "project", matrix="declared_toy.ACROSS")
    config, page = folder / "pyproject.toml", folder / "reports" / "parameter-support-matrix.md"
    absent = config.read_text()
    done = paramatrix(folder, "run")
    assert done.returncode == 0, done.stderr
    found = projects.results(folder)
    assert {cell.cause for cell in found.cells.values() if cell.backend == "vllm"} == {Cause.MISSING_PACKAGE}
    assert "| `decoder.top_k=1` | ✅ | ➖ |" in page.read_text()
    assert "not run because: 3 missing_package" in page.read_text()
    assert str(folder) not in (folder / "reports" / "results.jsonl").read_text(), "no folder of this machine"

    config.write_text(
        absent.replace("[tool.paramatrix.launchers]", f"[tool.paramatrix.launchers]\nvllm = {json.dumps(projects.TOY)}")
    )
    assert paramatrix(folder, "run").returncode == 0
    assert "| `decoder.top_k=1` | ✅ | ✅ |" in page.read_text()
    judged = [cell for cell in projects.results(folder).cells.values() if cell.backend == "vllm"]

    config.write_text(absent)
    assert paramatrix(folder, "run").returncode == 0
    assert [cell for cell in projects.results(folder).cells.values() if cell.backend == "vllm"] == judged


def test_setup_leaves_out_what_has_no_requirements_for_this_machine(tmp_path: Path) -> None:
    folder = projects.make(tmp_path / "project")
    file = folder / "pyproject.toml"
    # what has a launcher needs no environment
    file.write_text("".join(line for line in file.read_text().splitlines(True) if not line.startswith("pytorch = ")))
    here, elsewhere = ("cuda", "cpu") if has_nvidia_gpu() else ("cpu", "cuda")
    for backend, machine in (("pytorch", here), ("vllm", elsewhere)):
        files = folder / "requirements" / backend / machine
        files.mkdir(parents=True)
        (files / "1-nothing.txt").write_text("# nothing\n")
    done = paramatrix(folder, "setup")
    assert done.returncode == 0, done.stderr
    lacks = (
        "needs a machine with an NVIDIA GPU, and" if elsewhere == "cuda" else "are for a machine without an NVIDIA GPU"
    )
    (told,) = [line for line in done.stdout.splitlines() if "not installed" in line]
    assert told.startswith(f"vllm: not installed: {folder / 'requirements' / 'vllm'}: ")
    assert lacks in told
    assert [path.name for path in (folder / ".venvs").iterdir() if path.is_dir()] == ["pytorch"]


def test_a_run_installs_first_what_it_is_asked_to(tmp_path: Path) -> None:
    folder = projects.make(tmp_path / "project")
    config = folder / "pyproject.toml"
    own = config.read_text()
    without = "".join(line for line in own.splitlines(True) if not line.startswith("pytorch = "))
    config.write_text(without)
    (folder / "requirements" / "pytorch").mkdir(parents=True)
    (folder / "requirements" / "pytorch" / "1.txt").write_text("no-such-distribution==1\n")
    refused = paramatrix(folder, "run", "--install", "--backends", "pytorch", PIP_NO_INDEX="1")
    assert refused.returncode == 2
    assert "no-such-distribution" in refused.stderr
    assert not (folder / "reports" / "results.jsonl").exists()

    config.write_text(own)
    done = paramatrix(folder, "run", "--install", "--backends", "pytorch")
    assert done.returncode == 0, done.stderr
    assert "pytorch: no environment is made: its host is started by" in done.stdout
    assert projects.results(folder).cells


def test_a_backend_that_cannot_be_installed_keeps_no_other_from_it(tmp_path: Path) -> None:
    folder = projects.make(tmp_path / "project")
    file = folder / "pyproject.toml"
    file.write_text("".join(line for line in file.read_text().splitlines(True) if not line.startswith("pytorch = ")))
    for backend, text in (("pytorch", "no-such-distribution==1\n"), ("vllm", "# nothing\n")):
        (folder / "requirements" / backend).mkdir(parents=True)
        (folder / "requirements" / backend / "1.txt").write_text(text)
    done = paramatrix(folder, "setup", PIP_NO_INDEX="1")
    assert done.returncode == 0, done.stderr
    assert "pytorch: not installed: installing" in done.stderr
    assert "vllm: environment ready" in done.stdout
    asked = paramatrix(folder, "setup", "--backends", "pytorch", PIP_NO_INDEX="1")
    assert asked.returncode == 2
    assert "paramatrix: installing" in asked.stderr


def test_environments_are_made_side_by_side(tmp_path: Path) -> None:
    folder = projects.make(tmp_path / "project")
    file = folder / "pyproject.toml"
    file.write_text("".join(line for line in file.read_text().splitlines(True) if not line.startswith("pytorch = ")))
    for backend in ("pytorch", "vllm"):
        (folder / "requirements" / backend).mkdir(parents=True)
        (folder / "requirements" / backend / "1.txt").write_text("# nothing\n")
    code = """
import sys, threading
from harness import cli, environments
both = threading.Barrier(2, timeout=60)
environments.make = lambda target, files: both.wait() >= 0
sys.argv[1:] = ["setup"]
cli.main()
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env=projects.environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert [line.partition(":")[0] for line in done.stdout.splitlines()] == ["pytorch", "vllm"]


def test_no_project_says_where_one_was_looked_for(tmp_path: Path) -> None:
    assert f"no pyproject.toml with a [tool.paramatrix] table in {tmp_path} or above it" in refused(tmp_path, "cases")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("declarations = 'nobody'", "cannot import the declarations 'nobody'"),
        ("declarations = 'json'", "json.MATRIX should be a harness.declare.Matrix, got None"),
        ("colour = 'red'", "unknown keys colour: expected some of"),
        ("limits = { load_s = 0 }", "load_s = 0: expected seconds above 0 for one of generate_s, load_s, start_s"),
        ("limits = { wait_s = 1 }", "wait_s = 1: expected seconds above 0"),
        ("limits = { load_s = 'long' }", "load_s = 'long': expected seconds above 0"),
        ("launchers = 'python'", "launchers, limits and energy should be tables"),
        ("launchers = { pytorch = 'python3' }", "launchers] pytorch = 'python3': expected a list of words"),
        ("declarations = ", "pyproject.toml cannot be read: Invalid value (at line 2, column 16)"),
    ],
)
def test_a_project_file_that_is_wrong_is_told_what_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, words: str
) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "pyproject.toml").write_text(f"[tool.paramatrix]\n{line}\n")
    with pytest.raises(ProjectError, match=re.escape(words)):
        find(tmp_path).matrix()


def test_a_project_file_that_is_wrong_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[tool.paramatrix]\ncolour = 'red'\n")
    assert "unknown keys colour" in refused(tmp_path, "cases")


def test_missing_results_say_how_to_make_them(tmp_path: Path) -> None:
    folder = projects.make(tmp_path / "project")
    assert "results.jsonl: no such results file. Run `make matrix` first" in refused(folder, "report")
    assert "no such results file" in refused(folder, "repair")


def test_cases_are_listed_one_json_object_a_line(project: Path) -> None:
    done = paramatrix(project, "cases", "--json")
    listed = [json.loads(line) for line in done.stdout.splitlines()]
    assert [case["cell"] for case in listed] == paramatrix(project, "cases").stdout.splitlines()
    assert set(read(project / "reports" / "results.jsonl").planned) == {case["cell"] for case in listed}
    for case in listed:
        assert set(case) >= {"cell", "backend", "parameter", "value", "section", "scope", "settings", "control"}


def test_the_shipped_cases_are_listed() -> None:
    done = paramatrix(ROOT, "cases", "--json")
    listed = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0
    assert len([case for case in listed if case["backend"] == "pytorch"]) >= 90
    assert len({case["cell"] for case in listed}) == len(listed)


def test_reporting_twice_gives_equal_bytes(project: Path, tmp_path: Path) -> None:
    for out in ("one", "two"):
        assert paramatrix(project, "report", "--out", str(tmp_path / out)).returncode == 0
    pages = {path.name: path.read_bytes() for path in (tmp_path / "one").iterdir()}
    assert pages == {path.name: path.read_bytes() for path in (tmp_path / "two").iterdir()}
    page = pages["parameter-support-matrix.md"]
    assert page == (project / "reports" / "parameter-support-matrix.md").read_bytes(), "and those of the run itself"


def test_paths_are_meant_from_where_the_user_stands(project: Path) -> None:
    below = project / "below"
    below.mkdir(exist_ok=True)
    done = paramatrix(below, "run", "-k", "top_k", "--out", "own.jsonl", "--pages", "pages")
    assert done.returncode == 0, done.stderr
    assert len(read(below / "own.jsonl").cells) == 3
    assert (below / "pages" / "parameter-support-matrix.md").exists()
    assert not (project / "own.jsonl").exists()


def test_a_narrowed_run_leaves_the_rest_of_the_page_alone(project: Path) -> None:
    before = read(project / "reports" / "results.jsonl")
    done = paramatrix(project, "run", "--cell", "pytorch-decoder.top_k=1", "--workers", "2", "--fresh")
    assert done.returncode == 0, done.stderr
    after = read(project / "reports" / "results.jsonl")
    assert "pytorch: 5 cells: 2 passed, 1 failed, 1 uncertain, 1 not run" in done.stdout
    assert {name for name, cell in after.cells.items() if cell != before.cells[name]} == {"pytorch-decoder.top_k=1"}


def test_the_backend_s_library_is_never_imported_here() -> None:
    code = "import harness.cli, matrix, sys; print([name for name in ('torch', 'transformers') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
