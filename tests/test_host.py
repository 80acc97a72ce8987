"""Real engines of the real library that crash, hang and leak: each costs one engine and is told as what it was.

A tiny model that brings its own code misbehaves as its config.json says.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.declare import Workload
from harness.failure import Failure, blamed_cause, outside_cause
from harness.host import Attempt, BackendHost, Limits
from harness.jsontypes import JSON
from harness.launcher import Launcher
from harness.plan import Run
from harness.verdict import Cause
from tests.interpreters import ROOT
from tests.test_processes import until_gone
from tests.toys import alive, descendants, marked

PATIENT = Limits(start_s=300, load_s=120, generate_s=120)
PHASES = ("load", "generate")
CONFIGURATION = """
from transformers import Qwen2Config


class TinyConfig(Qwen2Config):
    model_type = "paramatrix_misbehaving"
"""
MODELING = """
import ctypes
import os
import pathlib
import subprocess
import sys
import time

import torch
from transformers import Qwen2ForCausalLM

from .configuration_tiny import TinyConfig


def misbehave(config, phase):
    if config.misbehaves_in != phase:
        return
    how, folder = config.misbehaves_how, pathlib.Path(os.environ["TOY_FOLDER"])
    if how == "segfault":
        ctypes.string_at(0)
    elif how == "exception":
        raise ValueError(f"this model cannot {phase}")
    elif how == "memory":
        torch.empty(1 << 50, dtype=torch.uint8, device="cpu")
    elif how == "hang":
        (folder / "hanging").write_text(str(os.getpid()))
        time.sleep(600)
    elif how == "stray" and not (folder / "stray").exists():
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
        (folder / "stray").write_text(str(child.pid))


class TinyForCausalLM(Qwen2ForCausalLM):
    config_class = TinyConfig

    def __init__(self, config):
        misbehave(config, "load")
        super().__init__(config)

    def forward(self, *args, **kwargs):
        misbehave(self.config, "generate")
        return super().forward(*args, **kwargs)
"""


def build(folder: Path, phase: str, how: str) -> Path:
    """A model folder whose code misbehaves in a phase."""
    shutil.copytree(ROOT / "models" / "tiny", folder)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config |= {
        "model_type": "paramatrix_misbehaving",
        "auto_map": {
            "AutoConfig": "configuration_tiny.TinyConfig",
            "AutoModelForCausalLM": "modeling_tiny.TinyForCausalLM",
        },
        "misbehaves_in": phase,
        "misbehaves_how": how,
    }
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (folder / "configuration_tiny.py").write_text(CONFIGURATION, encoding="utf-8")
    (folder / "modeling_tiny.py").write_text(MODELING, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where models and their processes leave word; also marks the processes, and keeps the home folder clean."""
    made = tmp_path_factory.mktemp("host")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TOY_FOLDER", str(made))
        patch.setenv("HF_HOME", str(made / "hf"))
        patch.setenv("HF_HUB_OFFLINE", "1")
        yield made


@pytest.fixture(scope="module")
def shared(pytorch_python: str, folder: Path) -> Iterator[BackendHost]:
    host = BackendHost("pytorch", Launcher((pytorch_python,)), PATIENT)
    yield host
    host.close()
    assert marked(f"TOY_FOLDER={folder}") == [], "a process survived its host"


@pytest.fixture
def host(shared: BackendHost, folder: Path) -> BackendHost:
    """One host for all tests: that it goes on after each is what they show."""
    shared.limits = PATIENT
    for name in ("hanging", "stray"):
        (folder / name).unlink(missing_ok=True)
    return shared


def run(model: Path, **engine: JSON) -> Run:
    settings: dict[str, JSON] = {"fp_precision": "float32", "pytorch.trust_remote_code": True, **engine}
    work = Workload("sum", ("7 plus 8 is",), max_new_tokens=4)
    return Run("pytorch", str(model), None, settings, {"decoder.do_sample": False}, work, frozenset())


def observe(host: BackendHost, wanted: Run) -> Attempt:
    return host.observe(wanted, model=wanted.model, cache_dir=None, fresh=False)


def assert_works(host: BackendHost) -> Attempt:
    """Another engine of the same host answers the sum."""
    plain = Run("pytorch", "tiny", None, {"fp_precision": "float32"}, {}, run(Path()).workload, frozenset())
    attempt = host.observe(plain, model=str(ROOT / "models" / "tiny"), cache_dir=None, fresh=False)
    assert attempt.seen is not None, attempt.failure
    assert attempt.seen.observation["outputs"][0]["text"].split()[0] == "15"
    return attempt


def failure(attempt: Attempt) -> Failure:
    assert attempt.failure is not None
    assert attempt.seen is None
    return attempt.failure


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize(
    ("how", "kind", "cause"),
    [
        ("segfault", "crashed", Cause.CRASHED),
        ("exception", "exception", Cause.REJECTED),
        ("memory", "exception", Cause.OUT_OF_MEMORY),
        ("hang", "timed_out", Cause.TIMED_OUT),
    ],
)
def test_a_real_engine_that_fails_costs_one_engine_and_is_told_as_what_it_was(  # noqa: PLR0917
    host: BackendHost, folder: Path, tmp_path: Path, phase: str, how: str, kind: str, cause: Cause
) -> None:
    kept = assert_works(host)
    worker = host.pid
    assert worker is not None
    before = descendants(worker)
    if how == "hang":
        short = {"load": Limits(load_s=3), "generate": Limits(load_s=120, generate_s=3)}
        host.limits = short[phase]
    told = failure(observe(host, run(build(tmp_path / "model", phase, how))))
    assert (told.phase, told.kind) == (phase, kind)
    assert outside_cause(told) is None
    assert blamed_cause(told) is cause
    if how == "exception":
        assert told.line == f"ValueError: this model cannot {phase}"
        assert "modeling_tiny.py" in told.traceback
    if how == "segfault":
        assert "SIGSEGV" in told.message
        assert "modeling_tiny.py" in told.log, "where it happened is in the log"
    if how == "hang":
        until_gone(int((folder / "hanging").read_text()))
    host.limits = PATIENT
    again = assert_works(host)
    assert kept.seen is not None
    assert not again.new_engine, "the other engine went on"
    assert host.pid == worker, "and so did the host"
    assert descendants(worker) == before


def test_a_child_that_a_real_engine_leaves_behind_does_not_outlive_it(
    host: BackendHost, folder: Path, tmp_path: Path
) -> None:
    wanted = run(build(tmp_path / "model", "load", "stray"))
    assert observe(host, wanted).seen is not None
    stray = int((folder / "stray").read_text())
    assert alive(stray)
    assert host.observe(wanted, model=wanted.model, cache_dir=None, fresh=True).seen is not None
    until_gone(stray)
    assert_works(host)


def test_a_real_worker_killed_from_outside_is_started_again_and_asked_once_more(
    host: BackendHost, folder: Path, tmp_path: Path
) -> None:
    wanted = run(build(tmp_path / "model", "load", "stray"))
    assert observe(host, wanted).seen is not None
    worker = host.pid
    assert worker is not None
    before = descendants(worker)
    os.kill(worker, signal.SIGKILL)
    until_gone(worker)
    assert assert_works(host).new_engine
    assert host.pid not in {worker, None}
    until_gone(*before, int((folder / "stray").read_text()))


def test_when_the_client_vanishes_in_the_middle_of_a_hang_everything_ends(
    pytorch_python: str, folder: Path, tmp_path: Path
) -> None:
    host = BackendHost("pytorch", Launcher((pytorch_python,)), PATIENT)
    host.start()
    assert host._process is not None
    assert host._process.stdin is not None
    assert host._wire is not None
    wanted = run(build(tmp_path / "model", "load", "hang"))
    engine: JSON = {"key": "k", "model": wanted.model, "cache_dir": None, "settings": wanted.engine}
    (folder / "hanging").unlink(missing_ok=True)
    host._wire.send({"engine": engine, "job": {}, "limits": {"load_s": 600, "generate_s": 600}})
    deadline = time.monotonic() + 120
    while not (folder / "hanging").exists():
        assert time.monotonic() < deadline, "the model was never loaded"
        time.sleep(0.02)
    host._process.stdin.close()
    assert host._process.wait(30) == 0
    until_gone(int((folder / "hanging").read_text()))
    host.close()
