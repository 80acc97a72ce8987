"""Real vLLM engines that crash, hang, are killed and leak: each ends as one cell's outcome, and the next cell runs."""

from __future__ import annotations

import json
import os
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from harness import sharedmemory
from harness.declare import (
    WITHHELD,
    Column,
    Matrix,
    OutputRule,
    Parameter,
    Probe,
    Scope,
    Seen,
    Shown,
    Value,
    Withheld,
    Workload,
)
from harness.experiment import Experiment, Result
from harness.host import BackendHost, Limits
from harness.jsontypes import JSON
from harness.launcher import Launcher
from harness.plan import build
from harness.variants import Variants
from harness.verdict import Cause
from tests import vllm_faults
from tests.interpreters import ROOT
from tests.test_processes import until_gone
from tests.toys import alive, descendants, marked

PATIENT = Limits(start_s=300, load_s=120, generate_s=120)
BASE: Mapping[str, JSON] = {
    "fp_precision": "float32",
    "vllm.enforce_eager": True,
    "vllm.max_model_len": 512,
    "vllm.kv_cache_memory_bytes": 64 << 20,
    "decoder.do_sample": False,
}
TENSOR_PARALLEL: Mapping[str, JSON] = {"vllm.tensor_parallel_size": 2}
"""Its processes keep two cores busy while they wait for each other: beside other tests they exceed any short limit."""
STREAMED: Mapping[str, JSON] = {"streaming": True}
WORK = Workload("sum", ("7 plus 8 is",), max_new_tokens=4)


@pytest.fixture(scope="module")
def python() -> str:
    """The vLLM backend's interpreter."""
    path = Path(os.environ.get("PARAMATRIX_VLLM_PYTHON") or ROOT / ".venvs" / "vllm" / "bin" / "python")
    if not path.is_file():
        pytest.skip(f"no vLLM interpreter at {path}: `make setup BACKENDS=vllm` makes it")
    return str(path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where faults leave word; also marks the processes, and brings the faults along."""
    made = tmp_path_factory.mktemp("vllm")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TOY_FOLDER", str(made))
        patch.setenv("HF_HUB_OFFLINE", "1")
        patch.setenv("TORCHINDUCTOR_CACHE_DIR", str(made / "inductor"))
        patch.setenv("PYTHONPATH", str(Path(vllm_faults.__path__[0])))
        # a short path, as sockets are made there; ours alone, so that what is left there is ours
        with tempfile.TemporaryDirectory(prefix="t") as temporary:
            patch.setenv("TMPDIR", temporary)
            patch.setattr(tempfile, "tempdir", None)
            yield made
            assert os.listdir(temporary) == [], "a temporary file was left"  # noqa: PTH208
    tempfile.tempdir = None


@pytest.fixture(scope="module")
def shared(python: str, folder: Path) -> Iterator[BackendHost]:
    host = BackendHost("vllm", Launcher((python,)), PATIENT, keep=2)
    yield host
    host.close()
    assert marked(f"TOY_FOLDER={folder}") == [], "a process survived its host"


@pytest.fixture
def host(shared: BackendHost, folder: Path) -> Iterator[BackendHost]:
    """One host for all tests: that it goes on after each is what they show."""
    shared.limits = PATIENT
    (folder / "hanging").unlink(missing_ok=True)
    before = sharedmemory.names()
    yield shared
    shared.limits = PATIENT
    assert_works(shared)
    left = _left(before)
    assert not left, "shared memory that nobody maps"


def _left(before: frozenset[str]) -> set[str]:
    """What stays with nobody who maps it: what others make or remove just now is not mapped for a moment either."""
    deadline = time.monotonic() + 60
    while True:
        left = {name for name in sharedmemory.names() - before if not _mapped(name)}
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(0.1)


def _mapped(name: str) -> bool:
    everyone = (int(each.name) for each in Path("/proc").iterdir() if each.name.isdigit())
    return name in {held for held, _ in sharedmemory.held_by(everyone)} or name.startswith("sem.")


def effect(run: Seen, control: Seen, value: JSON) -> Shown:
    """Holds where the value was handed to the library: these tests are about runs that fail."""
    del control
    given = any(value in call["kwargs"].values() for call in run.calls if isinstance(call.get("kwargs"), dict))  # type: ignore[union-attr]
    return Shown(given, "given" if given else "not given")


def judged(
    host: BackendHost,
    path: str,
    value: JSON,
    companions: Mapping[str, JSON] | None = None,
    *,
    contrast: JSON | Withheld = WITHHELD,
    model: Path | None = None,
) -> Result:
    """One engine-scoped cell, from plan to verdict."""
    companions = dict(companions or {})
    column = Column(scope=Scope.ENGINE, probe=Probe(says="it is given", effect=effect), output=OutputRule.FREE)
    request = replace(column, scope=Scope.REQUEST)

    def parameter(name: str, tested: Value) -> Parameter:
        columns = {"vllm": request if name.startswith("decoder.") else column}
        return Parameter(name, section="Core", values=(tested,), columns=columns)

    others = {name: given for name, given in {**BASE, **companions}.items() if name != path}
    matrix = Matrix(
        parameters=(
            parameter(path, Value(value, contrast=contrast, companions=companions)),
            *(parameter(name, Value(given)) for name, given in others.items()),
        ),
        excluded=(),
        sections=("Core",),
        base={"vllm": BASE},
        workload=WORK,
        shipped_model=ROOT / "models" / "tiny",
        accelerator_model="org/model",
    )
    cell = build(matrix, models={"vllm": str(model or ROOT / "models" / "tiny")}, backends=["vllm"])[0]
    assert cell.parameter == path
    return Experiment(host, {}, Variants(Path("unused"))).run(cell)


def assert_works(host: BackendHost) -> None:
    """The next cell is judged as if nothing had been."""
    result = judged(host, "vllm.max_num_seqs", 3)
    assert result.verdict.cause is Cause.CONFIRMED, result.verdict.reason
    assert result.treated is not None
    assert result.treated.seen is not None
    assert result.treated.seen.observation["outputs"][0]["text"].split()[0] == "15"


@pytest.mark.parametrize(
    ("fault", "cause", "words"),
    [
        (101, Cause.CRASHED, "ended by SIGSEGV during load"),
        (102, Cause.TIMED_OUT, "load took longer than its limit"),
        (103, Cause.REJECTED, "ValueError: this model cannot be loaded"),
        (104, Cause.CRASHED, "ended by SIGSEGV during generate"),
        (105, Cause.TIMED_OUT, "generate took longer than its limit"),
    ],
)
def test_an_engine_that_fails_is_one_cell_s_outcome(
    host: BackendHost, folder: Path, fault: int, cause: Cause, words: str
) -> None:
    assert_works(host)
    worker = host.pid
    host.limits = {
        102: Limits(load_s=20, generate_s=120),
        105: Limits(load_s=120, generate_s=5),
    }.get(fault, PATIENT)
    result = judged(host, "vllm.max_num_seqs", fault)
    assert result.verdict.cause is cause
    assert words in result.verdict.reason
    assert [made.role for made in result.attempts] == ["treated", "control", "treated"]
    assert host.pid == worker, "the host itself survived"
    if (folder / "hanging").exists():
        until_gone(int((folder / "hanging").read_text().split()[0]))


@pytest.mark.parametrize(
    ("companions", "victim", "words"),
    [
        ({}, "itself", "ended by SIGKILL during generate"),
        pytest.param(TENSOR_PARALLEL, "itself", "died unexpectedly", marks=pytest.mark.alone),
        (STREAMED, "itself", "EngineDeadError"),
        (STREAMED, "its parent", "ended by SIGKILL during generate"),
    ],
    ids=["engine", "worker", "engine core", "parent of an engine core"],
)
def test_what_was_killed_from_outside_is_not_the_parameter_s_fault(
    host: BackendHost, folder: Path, companions: Mapping[str, JSON], victim: str, words: str
) -> None:
    told = folder / "hanging"
    killed: list[int] = []

    def kill() -> None:
        deadline = time.monotonic() + 240
        while not told.exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        working, parent = (int(pid) for pid in told.read_text().split())
        os.kill(parent if victim == "its parent" else working, signal.SIGKILL)
        killed.append(working)

    killer = threading.Thread(target=kill)
    killer.start()
    result = judged(host, "vllm.max_num_seqs", 106, companions)
    killer.join()
    until_gone(*killed)
    assert result.verdict.cause is Cause.FLAKY, result.verdict.reason
    assert result.attempts[0].attempt.failure is not None
    assert words in result.verdict.reason, result.attempts[0].attempt.failure.log
    assert "crashed" in result.verdict.reason
    assert "ran when repeated in a fresh engine" in result.verdict.reason


@pytest.mark.parametrize(
    "companions",
    [
        pytest.param(TENSOR_PARALLEL, id="tensor parallel", marks=pytest.mark.alone),
        pytest.param(STREAMED, id="streamed"),
    ],
)
def test_nothing_of_an_engine_of_several_processes_survives_it(
    host: BackendHost, folder: Path, companions: Mapping[str, JSON]
) -> None:
    assert_works(host)
    assert host.pid is not None
    host.limits = Limits(load_s=120, generate_s=30)
    first = judged(host, "vllm.max_num_seqs", 105, companions)
    assert first.verdict.cause is Cause.TIMED_OUT, first.verdict.reason
    hanging = [int(pid) for pid in (folder / "hanging").read_text().split()]
    host.limits = PATIENT
    for _ in range(2):  # two engines of one process each take the places of those of several
        assert_works(host)
        judged(host, "vllm.max_num_seqs", 4)
    assert not [pid for pid in hanging if alive(pid)]
    assert len(descendants(host.pid)) == 2, "the two engines that are kept"
    own = {path.name.partition("-")[0] for path in Path(tempfile.gettempdir()).iterdir()}
    assert own == {"paramatrix"}, "no sockets, no rendezvous files"


@pytest.mark.parametrize("companions", [{}, STREAMED], ids=["in process", "in another process"])
def test_a_value_that_is_refused_is_the_parameter_s_fault_wherever_it_is_refused(
    host: BackendHost, companions: Mapping[str, JSON]
) -> None:
    result = judged(host, "vllm.block_size", 7, companions)
    assert result.verdict.cause is Cause.REJECTED
    assert "No common block size for 7" in result.verdict.reason


@pytest.mark.parametrize("companions", [{}, STREAMED], ids=["in process", "in another process"])
def test_memory_that_others_have_taken_is_the_environment_s_and_more_than_there_is_the_parameter_s(
    host: BackendHost, companions: Mapping[str, JSON]
) -> None:
    taken = judged(host, "vllm.gpu_memory_utilization", 1.0, {"vllm.kv_cache_memory_bytes": None, **companions})
    assert "is less than desired" in taken.verdict.reason
    assert taken.verdict.cause is Cause.ENVIRONMENT
    beyond = judged(host, "vllm.kv_cache_memory_bytes", 1 << 50, companions, contrast=64 << 20)
    assert beyond.verdict.cause is Cause.OUT_OF_MEMORY, beyond.verdict.reason


def test_a_model_whose_heads_the_backend_cannot_run_blames_no_parameter(host: BackendHost, tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(ROOT / "models" / "tiny", model)
    config = json.loads((model / "config.json").read_text(encoding="utf-8"))
    config |= {"hidden_size": 40, "num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 20}
    (model / "config.json").write_text(json.dumps(config), encoding="utf-8")
    result = judged(host, "vllm.max_num_seqs", 3, {"vllm.load_format": "dummy"}, model=model)
    assert result.verdict.cause is Cause.ENVIRONMENT
    assert "the control itself failed" in result.verdict.reason
    assert "head_dim=20" in result.verdict.reason


@pytest.fixture
def without_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every program but compilers on PATH, and no compiled code from earlier."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for place in filter(None, os.environ["PATH"].split(os.pathsep)):
        for program in Path(place).glob("*"):
            compiler = any(word in program.name for word in ("gcc", "g++", "clang", "c++", "cc"))
            if not compiler and not (programs / program.name).is_symlink():
                (programs / program.name).symlink_to(program)
    monkeypatch.setenv("PATH", str(programs))
    for name in ("CC", "CXX"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "inductor"))
    monkeypatch.setenv("VLLM_CACHE_ROOT", str(tmp_path / "vllm"))


@pytest.mark.usefixtures("folder", "without_compiler")
def test_a_missing_compiler_is_the_environment_s(python: str) -> None:
    host = BackendHost("vllm", Launcher((python,)), PATIENT, keep=2)
    try:
        compiled = {"vllm.enforce_eager": False, "vllm.compilation.mode": 3}
        result = judged(host, "vllm.max_num_seqs", 3, compiled)
        assert "No working C++ compiler found" in result.verdict.reason
        assert result.verdict.cause is Cause.ENVIRONMENT
        assert_works(host)
    finally:
        host.close()
