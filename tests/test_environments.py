"""Environments from requirement files: finished where they were interrupted, left alone when they are ready.

The requirements are wheels made here, so nothing is downloaded.
"""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from harness import environments
from harness.environments import SetupError, fingerprint, is_ready, make, not_for, requirement_files
from tests.wheels import wheel

ROOT = Path(environments.__file__).resolve().parent.parent


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")


def requirement(folder: Path, name: str, *wheels: Path) -> Path:
    folder.mkdir(exist_ok=True)
    file = folder / name
    file.write_text("".join(f"{path}\n" for path in wheels))
    return file


def has(target: Path, module: str) -> bool:
    command = [str(target / "bin" / "python"), "-c", f"import {module}"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def test_an_interrupted_installation_is_taken_up_again_and_a_finished_one_is_left_alone(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    target, wheels = tmp_path / "env", tmp_path / "wheels"
    wheels.mkdir()
    first = wheel(wheels, "toyfirst")
    missing = wheels / "toysecond-1.0-py3-none-any.whl"
    # its dependency exists nowhere: only a file that says so is installed without dependencies
    files = [
        requirement(tmp_path / "req", "1-first.txt", first),
        requirement(tmp_path / "req", "2-second.no-deps.txt", missing),
    ]
    assert requirement_files(tmp_path / "req", cuda=False) == files

    with pytest.raises(SetupError, match=r"installing .*2-second\.no-deps\.txt failed \(exit code 1\); mend what"):
        make(target, files)
    assert has(target, "toyfirst")
    assert not is_ready(target, files)
    kept = target / "kept"
    kept.touch()

    wheel(wheels, "toysecond", "exists-nowhere")
    assert make(target, files) is True
    assert has(target, "toysecond")
    assert kept.exists(), "what was there was used"
    assert is_ready(target, files)
    told = capfd.readouterr().out.splitlines()
    assert [line.rpartition("/")[2] for line in told] == ["1-first.txt", "2-second.no-deps.txt"] * 2

    assert make(target, files) is False
    assert capfd.readouterr().out == ""

    files[0].write_text(files[0].read_text() + "# another line\n")
    assert not is_ready(target, files)
    files[0].write_text("exists-nowhere\n")
    with pytest.raises(SetupError, match=r"1-first\.txt failed"):
        make(target, files)
    assert not (target / "paramatrix-ready").exists(), "half an environment is never taken for a whole one"


def test_a_dependency_that_cannot_be_had_fails_where_dependencies_are_wanted(tmp_path: Path) -> None:
    """The other side of `.no-deps`: without it the same wheel is refused. Uses this interpreter's pip, dry."""
    made = wheel(tmp_path, "toysecond", "exists-nowhere")
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--target", str(tmp_path / "t"), str(made)]
    assert subprocess.run(command, capture_output=True, check=False).returncode != 0


def test_an_environment_without_pip_is_made_again(tmp_path: Path) -> None:
    """As an interrupted `python -m venv` leaves it."""
    target = tmp_path / "env"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(target)], check=True)
    (target / "half").touch()
    files = [requirement(tmp_path / "req", "1.txt")]
    assert make(target, files) is True
    assert not (target / "half").exists()
    assert is_ready(target, files)


def test_a_ready_environment_of_another_python_is_not_ready(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = [requirement(tmp_path / "req", "1.txt")]
    (tmp_path / "env").mkdir()
    (tmp_path / "env" / "paramatrix-ready").write_text(fingerprint(files, None))
    assert is_ready(tmp_path / "env", files)
    monkeypatch.setattr(sys, "version", "3.99.0")
    assert not is_ready(tmp_path / "env", files)


def test_two_that_want_the_same_environment_take_turns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = [requirement(tmp_path / "req", "1.txt")]
    target = tmp_path / "env"
    running, most = [0], [0]

    def call(command: list[str], what: str) -> None:
        del what
        running[0] += 1
        most[0] = max(most[0], running[0])
        if "venv" in command:
            (target / "bin").mkdir(parents=True)
        running[0] -= 1

    monkeypatch.setattr(environments, "_call", call)
    answers: list[bool] = []
    threads = [threading.Thread(target=lambda: answers.append(make(target, files))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [False, False, False, True]
    assert most == [1]


def test_an_old_python_is_told_what_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    requirement(tmp_path / "req", "1.txt")
    monkeypatch.setattr(environments, "MINIMUM_PYTHON", (99, 0))
    assert environments.main([str(tmp_path / "env"), str(tmp_path / "req")]) == 1
    told = capsys.readouterr().err
    assert told.startswith("paramatrix: Python 99.0 or newer is needed, this is 3.")
    assert told.count("\n") == 1
    assert not (tmp_path / "env").exists()


def test_requirement_files_are_installed_in_the_order_of_their_names(tmp_path: Path) -> None:
    for name in ("2-b.txt", "1-a.txt", "3-c.no-deps.txt", "notes.md"):
        requirement(tmp_path / "req", name)
    names = [path.name for path in requirement_files(tmp_path / "req", cuda=False)]
    assert names == ["1-a.txt", "2-b.txt", "3-c.no-deps.txt"]


@pytest.mark.parametrize(("cuda", "name"), [(True, "gpu.txt"), (False, "cpu.txt")])
def test_the_files_that_fit_the_machine_are_chosen(tmp_path: Path, cuda: bool, name: str) -> None:
    folder = tmp_path / "req"
    folder.mkdir()
    requirement(folder / "cuda", "gpu.txt")
    requirement(folder / "cpu", "cpu.txt")
    assert [path.name for path in requirement_files(folder, cuda=cuda)] == [name]


@pytest.mark.parametrize(
    ("cuda", "words"),
    [(False, "needs a machine with an NVIDIA GPU, and `nvidia-smi -L` lists none"), (True, "without an NVIDIA GPU")],
)
def test_requirements_for_the_other_kind_of_machine_alone_say_which_one(tmp_path: Path, cuda: bool, words: str) -> None:
    requirement(tmp_path / ("cpu" if cuda else "cuda"), "1.txt")
    with pytest.raises(SetupError, match=f"^{re.escape(str(tmp_path))}: .*{words}"):
        requirement_files(tmp_path, cuda=cuda)


def test_tensorrt_llm_s_requirements_say_that_it_needs_a_gpu() -> None:
    told = not_for(ROOT / "requirements" / "tensorrt", cuda=False)
    assert told is not None
    assert "needs a machine with an NVIDIA GPU" in told
    assert not_for(ROOT / "requirements" / "tensorrt", cuda=True) is None


def test_a_folder_without_requirements_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert environments.main([str(tmp_path / "env"), str(tmp_path)]) == 1
    assert "no requirement files (*.txt) found" in capsys.readouterr().err


def test_the_module_needs_nothing_that_is_not_installed_yet() -> None:
    """It makes the harness's own environment, before there is any dependency."""
    code = "import harness.environments, sys; print([m for m in ('pydantic', 'pytest', 'jinja2') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-S", "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
