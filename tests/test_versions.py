"""A backend in another version: its own environment, its own results, and never under another's name."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from harness.project import Project, ProjectError, find, parse_versions
from harness.store import read
from harness.verdict import Cause
from tests import projects
from tests.projects import ROOT, TOY, paramatrix

THERE = pytest.__version__
"""The toy backend's only distribution is pytest: its version is the one that the toy has."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A project whose toy is reached as two versions, only one of which it is, and not at all as the default."""
    folder = projects.make(tmp_path / "project", launcher=("/no/such/python",))
    file = folder / "pyproject.toml"
    command = ", ".join(f'"{word}"' for word in TOY)
    versions = f'"pytorch-{THERE}" = [{command}]\n"pytorch-0.0.1" = [{command}]\n'
    file.write_text(file.read_text().replace("[tool.paramatrix.limits]", f"{versions}\n[tool.paramatrix.limits]"))
    return folder


@pytest.fixture
def project(folder: Path) -> Project:
    (folder / "requirements" / "pytorch-2.0").mkdir(parents=True)
    return find(folder)


def refused(folder: Path, *arguments: str) -> str:
    done = paramatrix(folder, *arguments)
    assert done.returncode == 2, done.stdout + done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert not (folder / "reports").exists(), "nothing was measured"
    return done.stderr.strip().removeprefix("paramatrix: ")


def test_a_version_has_an_environment_requirements_and_reports_of_its_own(project: Project, folder: Path) -> None:
    other = project.at({"pytorch": "2.0"})
    assert other.environment("pytorch") == folder / ".venvs" / "pytorch-2.0"
    assert other.requirement_folder("pytorch") == folder / "requirements" / "pytorch-2.0"
    assert other.results == folder / "reports" / "pytorch-2.0" / "results.jsonl"
    assert project.environment("pytorch") == folder / ".venvs" / "pytorch"
    assert project.results == folder / "reports" / "results.jsonl"
    assert project.at({}) == project


def test_the_default_version_s_launcher_never_starts_another_version(project: Project, folder: Path) -> None:
    assert project.launcher("pytorch").command == ("/no/such/python",)
    python = str(folder / ".venvs" / "pytorch-2.0" / "bin" / "python")
    assert project.at({"pytorch": "2.0"}).launcher("pytorch").command == (python,)
    assert project.at({"pytorch": THERE}).launcher("pytorch").command == TOY


def test_an_unknown_version_says_which_there_are_and_how_to_add_one(project: Project, folder: Path) -> None:
    there = ", ".join(sorted(["0.0.1", "2.0", THERE]))
    with pytest.raises(ProjectError) as caught:
        project.at({"pytorch": "3.0"})
    assert str(caught.value) == (
        f"no version 3.0 of pytorch: there are {there} besides the default one. "
        "Add the folder requirements/pytorch-3.0 with pinned requirement files."
    )
    with pytest.raises(ProjectError, match=r"no version 3\.0 of vllm: there are none besides the default one"):
        project.at({"vllm": "3.0"})
    script = folder / "scripts" / "pin_pytorch.py"
    script.parent.mkdir()
    script.touch()
    with pytest.raises(ProjectError) as caught:
        project.at({"pytorch": "3.0"})
    assert str(caught.value).endswith("`.venv/bin/python scripts/pin_pytorch.py 3.0` adds requirements/pytorch-3.0.")


def test_versions_are_read_as_backend_and_version() -> None:
    assert parse_versions([]) == {}
    assert parse_versions(["vllm=0.31.0", "pytorch=2.13.0+cpu"]) == {"vllm": "0.31.0", "pytorch": "2.13.0+cpu"}
    assert parse_versions(["vllm=0.31.0", "vllm=0.31.0"]) == {"vllm": "0.31.0"}


@pytest.mark.parametrize(
    "text", ["", "vllm", "vllm=", "=1", "gguf=1.0", "vllm=../1", "vllm=1/2", "vllm=1 2", "vllm=1-2"]
)
def test_what_is_no_version_is_told_what_one_looks_like(text: str) -> None:
    with pytest.raises(
        ProjectError, match=re.escape(f"version {text!r}: expected BACKEND=VERSION, like pytorch=1.2.3")
    ):
        parse_versions([text])


def test_one_backend_in_two_versions_is_two_runs() -> None:
    with pytest.raises(ProjectError, match=r"vllm in two versions, 1\.0 and 2\.0: measure one after the other"):
        parse_versions(["vllm=1.0", "vllm=2.0"])


@pytest.mark.parametrize("more", [(), ("--workers", "2"), ("--backends", "pytorch")])
def test_a_version_is_measured_into_results_and_pages_of_its_own(folder: Path, more: tuple[str, ...]) -> None:
    done = paramatrix(folder, "run", "--version", f"pytorch={THERE}", *more)
    assert done.returncode == 0, done.stderr
    own = folder / "reports" / f"pytorch-{THERE}"
    found = read(own / "results.jsonl")
    assert len(found.cells) == 5
    assert {run.backends["pytorch"].packages["pytest"] for run in found.runs.values()} == {THERE}
    assert (own / "parameter-support-matrix.md").exists()
    assert [path.name for path in (folder / "reports").iterdir()] == [own.name], "the default version's stay away"
    (own / "parameter-support-matrix.md").unlink()
    assert paramatrix(folder, "report", "--version", f"pytorch={THERE}").returncode == 0
    assert (own / "parameter-support-matrix.md").exists()


def test_an_environment_that_holds_another_version_is_not_measured_under_this_name(folder: Path) -> None:
    said = refused(folder, "run", "--version", "pytorch=0.0.1")
    assert said == f"{sys.executable} is asked for as version 0.0.1, but has pytest {THERE}"


def test_pytest_itself_takes_a_version_and_believes_no_label(folder: Path) -> None:
    for version in (THERE, "0.0.1"):
        done = projects.start(
            folder, "pytest", "-q", "-k", "top_k", f"--matrix-version=pytorch={version}", "test_cells.py"
        )
        done.communicate(timeout=300)
        assert done.returncode == 0
    good = read(folder / "reports" / f"pytorch-{THERE}" / "results.jsonl")
    assert Cause.CONFIRMED in {cell.cause for cell in good.cells.values()}
    wrong = read(folder / "reports" / "pytorch-0.0.1" / "results.jsonl")
    assert {cell.cause for cell in wrong.cells.values()} == {Cause.MISSING_PACKAGE}
    assert all(f"asked for as version 0.0.1, but has pytest {THERE}" in c.reason for c in wrong.cells.values())
    done = projects.start(folder, "pytest", "-q", "--matrix-version=pytorch=9", "test_cells.py")
    out, err = done.communicate(timeout=300)
    assert done.returncode == pytest.ExitCode.INTERRUPTED
    assert "no version 9 of pytorch: there are" in out
    assert "Traceback" not in out + err


def test_a_version_without_an_environment_says_how_to_make_it(project: Project, folder: Path) -> None:
    del project
    said = refused(folder, "run", "--version", "pytorch=2.0")
    assert re.fullmatch(
        r"no pytorch-2\.0 environment \(.*/\.venvs/pytorch-2\.0/bin/python does not exist\)\. "
        r"`make setup BACKENDS=pytorch VERSIONS=pytorch=2\.0` installs it\.",
        said,
    )


def test_a_version_of_a_column_that_is_not_asked_for_is_told_so(folder: Path) -> None:
    said = refused(folder, "run", "--backends", "vllm", "--version", f"pytorch={THERE}")
    assert said == "a version of pytorch is asked for, but not the column: --backends says vllm"


def test_setup_makes_a_version_s_environment_and_leaves_the_default_one_alone(project: Project, folder: Path) -> None:
    (project.requirements / "pytorch-2.0" / "1-nothing.txt").write_text("# nothing\n")
    done = paramatrix(folder, "setup", "--version", "pytorch=2.0")
    assert done.returncode == 0, done.stderr
    assert f"pytorch-2.0: environment ready in {folder / '.venvs' / 'pytorch-2.0'}" in done.stdout
    assert [path.name for path in (folder / ".venvs").iterdir() if path.is_dir()] == ["pytorch-2.0"]
    again = paramatrix(folder, "setup", "--version", "pytorch=2.0")
    assert (again.returncode, again.stdout) == (0, "")


def test_setup_without_requirements_says_where_it_looked(folder: Path) -> None:
    said = refused(folder, "setup")
    assert (
        said
        == f"{folder / 'requirements'}: no requirements of a backend there: expected a folder named like the backend"
    )


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
@pytest.mark.parametrize(
    ("variables", "words"),
    [
        (["VLLM_VERSION=0.31.0"], "--version 'vllm=0.31.0'"),
        (["VERSIONS=vllm=0.31.0 pytorch=2.0"], "--version 'vllm=0.31.0' --version 'pytorch=2.0'"),
        ([], ""),
    ],
)
def test_make_passes_versions_on_to_setup_and_run(variables: list[str], words: str) -> None:
    for target, verb in (("setup", "setup"), ("matrix", "run --install")):
        command = ["make", "--dry-run", "--no-print-directory", target, *variables]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        (line,) = [line for line in done.stdout.splitlines() if line.startswith(f".venv/bin/paramatrix {verb}")]
        assert line.removeprefix(f".venv/bin/paramatrix {verb}").strip(" \\") == words
