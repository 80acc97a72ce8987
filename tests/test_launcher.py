"""Hosts behind other commands than an interpreter of this project's: wrappers, containers, a stand-in of a library."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness.host import BackendHost, Limits
from harness.launcher import HostUnavailable
from harness.processes import running
from harness.project import Project, ProjectError, find
from harness.records import BackendInfo
from harness.scratch import MARK
from harness.verdict import Cause, Outcome
from tests import projects
from tests.interpreters import ROOT
from tests.projects import paramatrix
from tests.test_contract_tensorrt import STANDIN
from tests.toys import TOY_HOST

DOCKER = '''#!{python}
"""Plays `docker run`: of the caller's environment it keeps what -e names, and starts PROGRAM in another folder."""
import json, os, sys
words, own, mounts = sys.argv[1:], {{}}, []
assert words.pop(0) == "run", sys.argv
flags = []
while words[0].startswith("-"):
    option = words.pop(0)
    if option in ("--rm", "--init", "-i"):
        flags.append(option)
        continue
    value = words.pop(0)
    if option == "-e":
        name, stated, text = value.partition("=")
        own |= {{name: text}} if stated else {{name: os.environ[name]}} if name in os.environ else {{}}
    if option == "-v":
        mounts.append(value)
    if option == "--entrypoint":
        program = value
image = words.pop(0)
with open({log!r}, "a") as log:
    told = {{"image": image, "flags": flags, "mounts": mounts, "program": program, "environment": own, "words": words}}
    print(json.dumps(told), file=log)
os.chdir("/")
os.execve({program!r}, [{program!r}, *words], {{"PATH": os.environ["PATH"], **own}})
'''


def executable(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A project that has this one's `docker/launch`."""
    made = projects.make(tmp_path / "project", launcher=("docker/launch", "the-image"), matrix="declared_real.MATRIX")
    (made / "docker").mkdir()
    shutil.copy(ROOT / "docker" / "launch", made / "docker" / "launch")
    return made


def test_a_real_host_runs_behind_the_container_launcher(folder: Path, tmp_path: Path, pytorch_python: str) -> None:
    log, hub = tmp_path / "docker.log", tmp_path / "hub"
    text = DOCKER.format(python=sys.executable, program=pytorch_python, log=str(log))
    docker = executable(tmp_path / "bin" / "docker", text)
    done = paramatrix(
        folder,
        *("run", "--backends", "pytorch", "--cell", "pytorch-max_output_tokens=1"),
        PATH=f"{docker.parent}{os.pathsep}{os.environ['PATH']}",
        HF_HOME=str(hub),
        PARAMATRIX_MOUNTS="/models:/more models",
        SECRET="not for the container",  # noqa: S106 - that it stays outside is what is tested
    )
    assert done.returncode == 0, done.stderr
    (cell,) = projects.results(folder).cells.values()
    assert (cell.verdict, cell.cause) == (Outcome.PASS, Cause.CONFIRMED), cell.reason

    started = [json.loads(line) for line in log.read_text().splitlines()]
    assert {call["words"][2] for call in started} == {"describe", "serve"}
    for call in started:
        assert call["image"] == "the-image"
        assert call["program"] == "python3"
        assert call["flags"] == ["--rm", "--init", "-i"]
        assert call["words"][:2] == ["-m", "harness.worker"]
        own, wanted = f"{folder}:{folder}:ro", f"{ROOT}:{ROOT}:ro"
        assert set(call["mounts"]) == {
            own,
            wanted,
            f"{hub}:{hub}",
            "/models:/models:ro",
            "/more models:/more models:ro",
        }
        assert call["environment"]["HF_HOME"] == str(hub)
        assert MARK in call["environment"]
        assert "SECRET" not in call["environment"]


def test_a_launcher_without_a_program_behind_it_is_told(folder: Path, tmp_path: Path) -> None:
    done = paramatrix(
        folder,
        *("run", "--backends", "pytorch", "--cell", "pytorch-max_output_tokens=1"),
        PARAMATRIX_DOCKER="no-such-docker",
        HF_HOME=str(tmp_path / "hub"),
    )
    (cell,) = projects.results(folder).cells.values()
    assert cell.verdict is Outcome.NOT_RUN
    assert "no-such-docker" in cell.reason
    assert "Traceback" not in done.stderr


def test_the_launcher_says_how_it_is_called() -> None:
    done = subprocess.run([ROOT / "docker" / "launch"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, "usage: docker/launch IMAGE ARGUMENTS_OF_PYTHON...\n")


@pytest.fixture
def project(folder: Path) -> Project:
    return find(folder)


def test_a_command_with_a_slash_is_meant_from_the_projects_root(project: Project) -> None:
    assert project.launcher("pytorch").command == (str(project.root / "docker" / "launch"), "the-image")


def test_a_variable_wins_over_the_table(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARAMATRIX_LAUNCHER_PYTORCH", "ssh 'a box' /opt/python")
    monkeypatch.setenv("PARAMATRIX_LAUNCHER_VLLM", "/usr/bin/python3")
    assert project.launcher("pytorch").command == ("ssh", "a box", "/opt/python")
    assert project.launcher("vllm").command == ("/usr/bin/python3",)
    assert project.configured("tensorrt") is None


def test_a_version_has_a_variable_of_its_own(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    (project.requirements / "vllm-0.31.0").mkdir(parents=True)
    monkeypatch.setenv("PARAMATRIX_LAUNCHER_VLLM", "default")
    monkeypatch.setenv("PARAMATRIX_LAUNCHER_VLLM_0_31_0", "other")
    assert project.launcher("vllm").command == ("default",)
    assert project.at({"vllm": "0.31.0"}).launcher("vllm").command == ("other",)


@pytest.mark.parametrize(
    ("text", "says"), [("", "is empty: expected a command"), ("a 'b", "is no command: No closing")]
)
def test_a_variable_without_a_command_is_told(
    project: Project, text: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PARAMATRIX_LAUNCHER_PYTORCH", text)
    with pytest.raises(ProjectError, match=says):
        project.launcher("pytorch")


def test_no_environment_is_made_for_a_backend_that_has_a_launcher(folder: Path) -> None:
    requirements = folder / "requirements" / "pytorch"
    requirements.mkdir(parents=True)
    (requirements / "1.txt").write_text("exists-nowhere\n")
    done = paramatrix(folder, "setup", "--backends", "pytorch")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "pytorch: no environment is made: its host is started by docker/launch the-image\n"


def until(ended: Path, seconds: float = 30.0) -> int:
    """The process id that a file comes to hold."""
    deadline = time.monotonic() + seconds
    while not ended.exists() or not ended.read_text():
        assert time.monotonic() < deadline, f"{ended.name} never came"
        time.sleep(0.02)
    return int(ended.read_text())


def test_a_worker_whose_import_hangs_ends_with_its_caller_where_no_signal_reaches_it(tmp_path: Path) -> None:
    """As in a container whose docker client was killed: it only sees its stdin closed."""
    process = subprocess.Popen(
        ["setsid", sys.executable, str(TOY_HOST), "-m", "harness.worker", "serve", "toy"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TOY_IMPORT": "hang", "TOY_FOLDER": str(tmp_path)},
    )
    worker = until(tmp_path / "hanging")
    assert running(worker)
    process.communicate(timeout=30)  # closes its stdin
    assert not running(worker)


DECLARED = """
from dataclasses import replace
from harness.declare import Column, OutputRule, Parameter, Scope, Value
from tests import declared_toy
from tests.declared_toy import NEVER
ON = Column(Scope.REQUEST, NEVER, OutputRule.FREE)
PARAMETER = Parameter("decoder.top_k", section="Decoder", values=(Value(1), Value(5)), columns={"tensorrt": ON})
MATRIX = replace(declared_toy.MATRIX, parameters=(PARAMETER,), excluded=())
"""


@pytest.fixture
def standin(tmp_path: Path) -> Path:
    """A project whose TensorRT-LLM is the stand-in."""
    folder = projects.make(tmp_path / "project")
    (folder / "declarations.py").write_text(DECLARED)
    table = (folder / "pyproject.toml").read_text()
    heading = "[tool.paramatrix.launchers]"
    (folder / "pyproject.toml").write_text(
        table.replace(heading, f"{heading}\ntensorrt = {json.dumps([sys.executable])}")
    )
    return folder


WITH_STANDIN = {"PYTHONPATH": os.pathsep.join([str(ROOT), str(STANDIN)])}


def test_a_stand_in_of_a_library_is_never_measured(standin: Path) -> None:
    done = paramatrix(standin, "run", "--backends", "tensorrt", **WITH_STANDIN)
    assert done.returncode == 0, done.stderr
    found = projects.results(standin)
    assert len(found.cells) == 2
    for cell in found.cells.values():
        assert (cell.verdict, cell.cause) == (Outcome.NOT_RUN, Cause.MISSING_PACKAGE)
        assert "tensorrt_llm 1.2.1+standin is a stand-in that computes nothing" in cell.reason
        assert cell.evidence.forwarded is None
    (run,) = found.runs.values()
    assert run.backends["tensorrt"].packages == {}
    assert "stand-in" in str(run.backends["tensorrt"].unavailable)


def test_a_host_with_a_stand_in_does_not_start_and_its_interface_is_not_read(
    standin: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", WITH_STANDIN["PYTHONPATH"])
    launcher = find(standin).launcher("tensorrt")
    host = BackendHost("tensorrt", launcher, Limits(start_s=30))
    for ask in (host.start, lambda: launcher.interface("tensorrt"), lambda: launcher.describe("tensorrt")):
        with pytest.raises(HostUnavailable, match="is a stand-in that computes nothing"):
            ask()


def test_no_result_can_name_a_stand_in() -> None:
    with pytest.raises(ValueError, match=r"tensorrt_llm 1\.2\.1\+standin is a stand-in: no result can come from it"):
        BackendInfo(model="m", model_hash=None, packages={"torch": "2.9.1+cu130", "tensorrt_llm": "1.2.1+standin"})
    BackendInfo(model="m", model_hash=None, packages={"torch": "2.9.1+cu130", "tensorrt_llm": "1.2.1"})
