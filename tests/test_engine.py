"""Hosts and engines that misbehave, with a toy backend in real processes: what is reported, and what survives."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness import engineprocess, sharedmemory
from harness.failure import Failure, blamed_cause, outside_cause, short_of_memory
from harness.host import Attempt, BackendHost, Limits
from harness.jsontypes import JSON
from harness.launcher import HostUnavailable, Launcher
from harness.verdict import Cause
from harness.wire import Wire
from tests.test_processes import until_gone
from tests.toy_backend import UNREAD
from tests.toys import TOY_HOST, alive, marked, run, toy_host

PHASES = ("load", "generate")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where toy engines leave word of themselves; also marks their processes."""
    monkeypatch.setenv("TOY_FOLDER", str(tmp_path))
    return tmp_path


@pytest.fixture
def host(folder: Path) -> Iterator[BackendHost]:
    with toy_host() as made:
        yield made
    assert marked(f"TOY_FOLDER={folder}") == []


def ask(host: BackendHost, phase: str, what: str, *, fresh: bool = False, **request: JSON) -> Attempt:
    """Have the toy do `what` in a phase."""
    engine: dict[str, JSON] = {"load": what} if phase == "load" else {}
    job: dict[str, JSON] = {"generate": what, **request} if phase == "generate" else {**request}
    return host.observe(run(engine, job), model="toy", cache_dir=None, fresh=fresh)


def failure(attempt: Attempt) -> Failure:
    assert attempt.seen is None
    assert attempt.failure is not None
    return attempt.failure


def assert_works(host: BackendHost) -> None:
    """The next run on another engine is as good as ever."""
    seen = host.observe(run({"which": "another"}), model="toy", cache_dir=None, fresh=False).seen
    assert seen is not None
    assert seen.read_back["applied"] is True


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize(
    ("what", "told_as"),
    [
        ("segfault", ("crashed", "SIGSEGV")),
        ("kill:SIGKILL", ("crashed", "SIGKILL")),
        ("kill:SIGTERM", ("crashed", "SIGTERM")),
        ("exit:0", ("crashed", "exited")),
        ("exit:7", ("crashed", "exited")),
        ("raise:ValueError:top_k must be positive", ("exception", "top_k must be positive")),
        ("raise:MemoryError:", ("exception", "MemoryError")),
        ("stray-segfault", ("crashed", "SIGSEGV")),
    ],
)
def test_a_failure_costs_one_engine_and_is_told_with_its_phase_and_kind(
    host: BackendHost, folder: Path, phase: str, what: str, told_as: tuple[str, str]
) -> None:
    worker = (ask(host, "generate", "fine"), host.pid)[1]
    told = failure(ask(host, phase, what))
    assert (told.phase, told.kind) == (phase, told_as[0])
    assert told_as[1] in told.line
    assert_works(host)
    assert host.pid == worker, "the host itself survived"
    if (folder / "stray").exists():
        until_gone(int((folder / "stray").read_text()))


@pytest.mark.parametrize("what", ["segfault", "kill:SIGKILL"])
def test_the_calls_of_an_engine_that_died_are_told_up_to_the_one_it_died_in(host: BackendHost, what: str) -> None:
    ask(host, "generate", "fine", earlier="job")
    died = ask(host, "generate", "fine", inside=what)
    assert failure(died).kind == "crashed"
    assert [call["call"] for call in died.calls] == ["toy.load", "toy.generate", "toy.inside"]
    assert died.calls[-1]["args"] == [what]
    assert "earlier" not in str(died.calls), "an earlier job's calls are not this one's"


@pytest.mark.parametrize("phase", PHASES)
def test_a_hang_is_ended_at_its_limit(folder: Path, phase: str) -> None:
    limits = Limits(start_s=30, load_s=0.2 if phase == "load" else 30, generate_s=0.2 if phase == "generate" else 30)
    with toy_host(limits) as host:
        told = failure(ask(host, phase, "hang"))
        assert (told.phase, told.kind) == (phase, "timed_out")
        until_gone(int((folder / "hanging").read_text()))
    with toy_host() as host:
        assert_works(host)


def test_what_an_engine_printed_is_evidence_and_does_not_disturb_the_protocol(host: BackendHost) -> None:
    assert ask(host, "generate", 'print:{"observation": "forged"}').seen is not None
    told = failure(ask(host, "generate", "print:last words", fresh=True, observe="nan"))
    assert told.kind == "exception"
    told = failure(host.observe(run({"load": "segfault"}), model="toy", cache_dir=None, fresh=True))
    assert "Segmentation fault" in told.log


@pytest.mark.parametrize("what", ["nan", "object"])
def test_an_observation_that_json_cannot_carry_is_the_harness_s_fault_not_the_parameter_s(
    host: BackendHost, what: str
) -> None:
    told = failure(ask(host, "generate", "fine", observe=what))
    assert outside_cause(told) is Cause.HARNESS_ERROR
    assert_works(host)


def test_text_that_is_no_text_arrives_as_text(host: BackendHost) -> None:
    seen = ask(host, "generate", "fine", observe="surrogate").seen
    assert seen is not None
    assert seen.observation["resolved"] == {"text": "a?b"}


def test_a_big_observation_arrives(host: BackendHost) -> None:
    seen = ask(host, "generate", "fine", observe="big").seen
    assert seen is not None
    assert len(str(seen.observation["resolved"]["text"])) == 8 << 20


@pytest.mark.parametrize("phase", PHASES)
def test_a_setting_that_the_adapter_never_reads_is_the_harness_s_fault(host: BackendHost, phase: str) -> None:
    unread: dict[str, JSON] = {UNREAD: 1}
    wanted = run(unread, {}) if phase == "load" else run({}, unread)
    told = failure(host.observe(wanted, model="toy", cache_dir=None, fresh=False))
    assert (told.phase, told.kind) == (phase, "not_forwarded")
    assert UNREAD in told.message
    assert outside_cause(told) is Cause.HARNESS_ERROR


def test_runs_with_equal_engine_settings_share_an_engine_until_a_fresh_one_is_wanted(host: BackendHost) -> None:
    attempts = [ask(host, "generate", "fine", fresh=fresh) for fresh in (False, False, True)]
    assert [attempt.new_engine for attempt in attempts] == [True, False, True]
    pids = [attempt.seen.read_back["pid"] for attempt in attempts if attempt.seen]
    assert pids[0] == pids[1] != pids[2]
    assert attempts[1].load_s == 0


def test_an_engine_that_failed_is_not_used_again(host: BackendHost) -> None:
    ask(host, "generate", "fine")
    failure(ask(host, "generate", "raise:ValueError:no"))
    assert ask(host, "generate", "fine").new_engine


def test_no_more_engines_are_kept_than_asked_for() -> None:
    with toy_host(keep=2) as host:
        pids = []
        for name in "abc":
            seen = host.observe(run({"which": name}), model="toy", cache_dir=None, fresh=False).seen
            assert seen is not None
            pids.append(int(str(seen.read_back["pid"])))
        assert [alive(pid) for pid in pids] == [False, True, True]


def test_an_engine_that_finds_too_little_memory_beside_a_kept_one_loads_alone(host: BackendHost) -> None:
    kept = ask(host, "generate", "fine").seen
    assert kept is not None
    crowded = run({"load": "crowded"})
    told = failure(host.observe(crowded, model="toy", cache_dir=None, fresh=False))
    assert short_of_memory(told)
    pid = int(str(kept.read_back["pid"]))
    assert alive(pid)
    attempt = host.observe(crowded, model="toy", cache_dir=None, fresh=False, alone=True)
    assert attempt.failure is None
    assert attempt.new_engine
    until_gone(pid)


def test_an_engine_that_died_while_nobody_used_it_is_replaced_without_blame(host: BackendHost) -> None:
    first = ask(host, "generate", "fine")
    assert first.seen is not None
    pid = int(str(first.seen.read_back["pid"]))
    os.kill(pid, signal.SIGKILL)
    until_gone(pid)
    again = ask(host, "generate", "fine")
    assert again.failure is None
    assert again.new_engine


@pytest.mark.parametrize("what", ["stray", "stray-session"])
def test_a_child_that_an_engine_leaves_behind_ends_with_the_engine(host: BackendHost, folder: Path, what: str) -> None:
    assert ask(host, "generate", what).seen is not None
    stray = int((folder / "stray").read_text())
    assert alive(stray)
    assert ask(host, "generate", "fine", fresh=True).seen is not None  # ends the engine before it
    until_gone(stray)


def test_the_end_of_one_engine_leaves_the_helpers_of_another_alone(host: BackendHost, folder: Path) -> None:
    assert ask(host, "generate", "orphan").seen is not None
    helper = int((folder / "stray").read_text())
    for fresh in (False, True):  # the second time, another engine is ended
        assert host.observe(run({"which": "another"}), model="toy", cache_dir=None, fresh=fresh).seen is not None
    told = failure(
        host.observe(run({"which": "another"}, {"generate": "segfault"}), model="toy", cache_dir=None, fresh=False)
    )
    assert told.kind == "crashed"
    assert alive(helper)


def test_a_helper_that_has_lost_its_parent_ends_with_its_engine(host: BackendHost, folder: Path) -> None:
    assert ask(host, "generate", "orphan").seen is not None
    helper = int((folder / "stray").read_text())
    assert alive(helper)
    assert ask(host, "generate", "fine", fresh=True).seen is not None
    until_gone(helper)


@pytest.mark.parametrize("what", ["share", "share-tracked"])
def test_shared_memory_of_an_engine_that_was_killed_is_removed(host: BackendHost, folder: Path, what: str) -> None:
    assert ask(host, "load", what).seen is not None
    shared = sharedmemory.FOLDER / (folder / "shared").read_text()
    assert shared.exists()
    assert_works(host)
    assert shared.exists(), "its engine lives"
    assert ask(host, "load", what, fresh=True).seen is not None
    assert not shared.exists()


def test_shared_memory_of_an_engine_that_crashed_while_loading_is_removed(host: BackendHost, folder: Path) -> None:
    failure(ask(host, "load", "share-segfault"))
    assert not (sharedmemory.FOLDER / (folder / "shared").read_text()).exists()


def test_files_and_sockets_in_the_temporary_folder_go_with_the_engine(host: BackendHost, folder: Path) -> None:
    before = set(Path(tempfile.gettempdir()).glob("toy*"))
    assert ask(host, "load", "leave-files").seen is not None
    left = Path((folder / "socket").read_text())
    assert left.exists()
    assert ask(host, "load", "leave-files", fresh=True).seen is not None
    assert not left.exists()
    assert set(Path(tempfile.gettempdir()).glob("toy*")) == before


def test_a_port_that_an_engine_listened_on_is_free_for_the_next(host: BackendHost) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    assert ask(host, "load", f"listen:{port}").seen is not None
    assert ask(host, "load", f"listen:{port}", fresh=True).seen is not None


def test_a_port_that_another_program_holds_is_the_environment_s(host: BackendHost) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        told = failure(ask(host, "load", f"listen:{taken.getsockname()[1]}"))
    assert outside_cause(told) is Cause.ENVIRONMENT


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize(
    ("raises", "cause"),
    [
        ("ValueError:no such kernel", None),
        ("ImportError:libcudart.so.12: cannot open shared object file", Cause.ENVIRONMENT),
        ("ModuleNotFoundError:No module named 'ray'", Cause.MISSING_PACKAGE),
    ],
)
def test_an_error_that_points_at_a_child_is_judged_by_what_the_child_raised(
    host: BackendHost, phase: str, raises: str, cause: Cause | None
) -> None:
    told = failure(ask(host, phase, f"child-raises:{raises}"))
    assert told.kind == "exception"
    assert told.line == raises.replace(":", ": ", 1)
    assert outside_cause(told) is cause
    assert "Engine core initialization failed" in told.message
    assert "Triton is not installed" in told.log


def test_an_error_that_follows_the_death_of_a_helper_is_a_crash(host: BackendHost) -> None:
    wanted = run({"load": "stray"}, {"generate": "lose-stray"})
    told = failure(host.observe(wanted, model="toy", cache_dir=None, fresh=False))
    assert told.type == "AssertionError"
    assert told.line == "Worker proc W-1 died unexpectedly (exit code: -9)"
    assert blamed_cause(told) is Cause.CRASHED


def test_an_error_while_all_helpers_live_stands_as_it_is(host: BackendHost) -> None:
    said = "print:Worker proc W-1 died unexpectedly (exit code: -9)"
    assert host.observe(run({"load": "stray"}, {"generate": said}), model="toy", cache_dir=None, fresh=False).seen
    wanted = run({"load": "stray"}, {"generate": "raise:ValueError:no"})
    assert failure(host.observe(wanted, model="toy", cache_dir=None, fresh=False)).line == "ValueError: no"


def test_what_an_earlier_run_printed_explains_nothing_about_this_one(host: BackendHost) -> None:
    old = 'Traceback (most recent call last):\n  File "x.py", line 1, in f\nImportError: libx.so: cannot open'
    assert ask(host, "generate", f"print:{old}").seen is not None
    told = failure(ask(host, "generate", "raise:RuntimeError:refused, see root cause above"))
    assert told.root == ""
    assert outside_cause(told) is None


@pytest.mark.parametrize("what", ["fine", "stray-session"])
def test_a_worker_killed_from_outside_is_started_again_and_asked_once_more(
    host: BackendHost, folder: Path, what: str
) -> None:
    first = ask(host, "generate", what)
    assert first.seen is not None
    worker, engine = host.pid, int(str(first.seen.read_back["pid"]))
    assert worker is not None
    os.kill(worker, signal.SIGKILL)
    until_gone(worker)
    again = ask(host, "generate", "fine")
    assert again.failure is None
    assert host.pid != worker
    until_gone(engine)
    if what != "fine":
        until_gone(int((folder / "stray").read_text()))


def test_a_worker_lost_in_the_middle_of_a_run_is_asked_once_more(host: BackendHost) -> None:
    assert ask(host, "generate", "kill-host-once").failure is None


def test_a_run_that_kills_its_host_twice_is_told_so_and_the_next_one_works(host: BackendHost) -> None:
    told = failure(ask(host, "generate", "kill-host"))
    assert told.kind == "host_lost"
    assert outside_cause(told) is Cause.ENVIRONMENT
    assert_works(host)


def _close_stdin(host: BackendHost) -> None:
    assert host._process is not None
    assert host._process.stdin is not None
    host._process.stdin.close()


def test_when_the_client_vanishes_everything_ends(host: BackendHost, folder: Path) -> None:
    assert ask(host, "generate", "stray-session").seen is not None
    before = marked(f"TOY_FOLDER={folder}")
    assert len(before) == 3, "worker, engine, stray"
    _close_stdin(host)
    assert host._process is not None
    assert host._process.wait(20) == 0
    until_gone(*before)


def test_when_the_client_vanishes_a_hanging_engine_is_not_waited_for(host: BackendHost, folder: Path) -> None:
    host.start()
    assert host._wire is not None
    host._wire.send(
        {
            "engine": {"key": "k", "model": "toy", "cache_dir": None, "settings": {"load": "hang"}},
            "job": {},
            "limits": {"load_s": 600, "generate_s": 600},
        }
    )
    deadline = time.monotonic() + 20
    while not (folder / "hanging").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    _close_stdin(host)
    assert host._process is not None
    assert host._process.wait(20) == 0
    until_gone(int((folder / "hanging").read_text()))


def test_closing_twice_is_allowed(host: BackendHost) -> None:
    assert_works(host)
    host.close()
    host.close()


def test_a_library_that_cannot_be_imported_says_why(host: BackendHost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOY_IMPORT", "raise:ImportError:libxcb.so.1: cannot open shared object file")
    with pytest.raises(HostUnavailable, match="cannot import its library: ImportError: libxcb"):
        host.start()
    assert host.pid is None


def test_a_library_that_crashes_at_import_says_so(host: BackendHost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOY_IMPORT", "segfault")
    with pytest.raises(HostUnavailable, match="did not start"):
        host.start()


def test_a_library_that_takes_for_ever_to_import_is_given_up(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOY_IMPORT", "hang")
    with toy_host(Limits(start_s=1)) as host, pytest.raises(HostUnavailable, match="did not start"):
        host.start()
    assert marked(f"TOY_FOLDER={folder}") == []


def test_a_start_that_failed_is_not_tried_again(
    host: BackendHost, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOY_IMPORT", "raise:ImportError:libxcb.so.1: cannot open shared object file")
    with pytest.raises(HostUnavailable) as first:
        ask(host, "generate", "fine")
    monkeypatch.delenv("TOY_IMPORT")
    with pytest.raises(HostUnavailable) as second:
        ask(host, "generate", "fine")
    assert str(second.value) == str(first.value)
    assert marked(f"TOY_FOLDER={folder}") == []


def scratches(folder: Path) -> set[str]:
    return {path.name for path in folder.glob("paramatrix-*")}


def test_no_folder_is_left_when_a_host_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_short_temporary_folder(tmp_path, monkeypatch)
    with toy_host() as host:
        assert_works(host)
        assert len(scratches(tmp_path)) == 2, "the client's and the worker's"
    assert scratches(tmp_path) == set()


def use_short_temporary_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", None)


def test_what_a_killed_client_and_its_killed_host_leave_goes_at_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_short_temporary_folder(tmp_path, monkeypatch)
    body = """
import os, signal, sys
from tests.test_engine import ask, toy_host
with toy_host() as host:
    ask(host, "generate", "stray-session")
    os.kill(host.pid, signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-c", body], check=False, cwd=Path(__file__).parent.parent)
    stray = int((tmp_path / "stray").read_text())
    assert alive(stray), "nobody could end it"
    left = scratches(tmp_path)
    assert len(left) == 2
    with toy_host() as host:
        assert_works(host)
        assert not left & scratches(tmp_path)
        until_gone(stray)


def test_a_launcher_that_does_not_exist_is_named() -> None:
    launcher = Launcher(("no/such/python",))
    for action in (lambda: launcher.describe("toy"), BackendHost("toy", launcher, Limits()).start):
        with pytest.raises(HostUnavailable, match="no/such/python does not exist"):
            action()


def test_a_launcher_that_cannot_be_started_says_why(tmp_path: Path) -> None:
    broken = tmp_path / "python"
    broken.write_bytes(b"\0not a program")
    broken.chmod(0o755)
    launcher = Launcher((str(broken),))
    for action in (lambda: launcher.describe("toy"), BackendHost("toy", launcher, Limits()).start):
        with pytest.raises(HostUnavailable, match="cannot be started: Exec format error"):
            action()


def test_a_launcher_may_be_named_from_where_the_user_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").symlink_to(sys.executable)
    monkeypatch.chdir(tmp_path)
    snapshot = Launcher(("bin/python", str(TOY_HOST))).describe("toy")
    assert "pytest" in (snapshot["packages"] or {})  # type: ignore[operator]


@pytest.mark.parametrize(
    ("program", "words"), [("print('hello')", "hello"), ("print('[1]')", "JSON object"), ("", "no answer")]
)
def test_a_launcher_that_answers_something_else_is_told_apart(tmp_path: Path, program: str, words: str) -> None:
    fake = tmp_path / "fake.py"
    fake.write_text(program)
    with pytest.raises(HostUnavailable, match=words):
        Launcher((sys.executable, str(fake))).describe("toy")


@pytest.mark.parametrize("linked", [False, True], ids=["plain", "through a symbolic link"])
def test_an_error_raised_in_a_frame_of_the_harness_is_never_blamed_on_the_parameter(
    tmp_path: Path, linked: bool
) -> None:
    root = Launcher(()).root
    if linked:
        (tmp_path / "link").symlink_to(root)
        root = tmp_path / "link"
    host = BackendHost("toy", Launcher((sys.executable, str(TOY_HOST)), root=root), Limits(30, 30, 30))
    try:
        told = failure(ask(host, "generate", "fine", observe="absent"))
    finally:
        host.close()
    assert told.type == "KeyError"
    assert outside_cause(told) is Cause.HARNESS_ERROR


@pytest.mark.parametrize(
    ("sign", "kills", "oom"),
    [("SIGKILL", 1, True), ("SIGKILL", 0, False), ("SIGSEGV", 1, False), ("SIGTERM", 1, False)],
)
def test_only_a_process_that_was_killed_while_the_kernel_killed_for_memory_ran_out_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sign: str, kills: int, oom: bool
) -> None:
    body = f"import os, signal; os.kill(os.getpid(), signal.{sign})"
    (ignored, mine), (answers, held) = os.pipe(), os.pipe()
    child = subprocess.Popen([sys.executable, "-c", body], start_new_session=True)
    handle = engineprocess.EngineProcess("key", child.pid, Wire(answers, mine), tmp_path, oom_kills_before=5)
    monkeypatch.setattr(engineprocess, "oom_kills", lambda: 5 + kills)
    client, other = os.pipe()
    told = handle.ask({}, 30, "load", client=client)["failure"]
    child.wait()
    for fd in (client, other, ignored, held):
        os.close(fd)
    assert isinstance(told, dict)
    assert told["oom_killed"] is oom
    assert sign in str(told["message"])


def test_an_error_that_points_at_another_process_waits_for_no_words_where_there_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Transformers says "due to the following error: …" of itself."""
    (requests, mine), (answers, its) = os.pipe(), os.pipe()
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, start_new_session=True)
    handle = engineprocess.EngineProcess("key", child.pid, Wire(answers, mine), tmp_path)
    facts: dict[str, JSON] = {"type": "ImportError", "message": "not usable due to the following error: no flash_attn"}
    Wire(requests, its).send({"phase": "load", "failure": facts})
    monkeypatch.setattr(time, "sleep", lambda _: pytest.fail("it waits"))
    client, other = os.pipe()
    told = handle.ask({}, 30, "load", client=client)["failure"]
    child.communicate(b"\n")
    for fd in (client, other, requests, mine, answers, its):
        os.close(fd)
    assert told == facts
