"""Ending process trees, tried on real ones."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness import processes
from tests.toys import alive

SLEEP = "import time; time.sleep(600)"


def script(body: str, *arguments: str) -> subprocess.Popen[str]:
    """A Python process that leads a group and prints when it is set up."""
    return subprocess.Popen(
        [sys.executable, "-c", body, *arguments], stdout=subprocess.PIPE, text=True, start_new_session=True
    )


def until_gone(*pids: int, limit_s: float = 20) -> None:
    deadline = time.monotonic() + limit_s
    while any(alive(pid) for pid in pids):
        assert time.monotonic() < deadline, f"still alive: {[pid for pid in pids if alive(pid)]}"
        time.sleep(0.01)


def told(process: subprocess.Popen[str]) -> list[int]:
    assert process.stdout is not None
    pids = [int(word) for word in process.stdout.readline().split()]
    process.stdout.close()
    return pids


def test_ending_a_group_ends_grandchildren_too() -> None:
    body = f"""
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", '''
import subprocess, sys
grandchild = subprocess.Popen([sys.executable, "-c", "{SLEEP}"])
print(grandchild.pid, flush=True)
grandchild.wait()
'''], stdout=subprocess.PIPE, text=True)
print(child.pid, child.stdout.readline().strip(), flush=True)
child.wait()
"""
    leader = script(body)
    child, grandchild = told(leader)
    status = processes.end(leader.pid)
    leader.wait()
    assert os.WTERMSIG(status) == signal.SIGTERM
    until_gone(child, grandchild)


def test_a_group_that_ignores_the_polite_signal_is_killed() -> None:
    leader = script("import signal, time; signal.signal(15, signal.SIG_IGN); print(0, flush=True); time.sleep(600)")
    told(leader)
    status = processes.end(leader.pid, patience_s=0.05)
    leader.wait()
    assert processes.describe_status(status) == "ended by SIGKILL"


def test_a_process_that_ended_before_keeps_the_status_it_died_of() -> None:
    leader = script("import os; os.kill(os.getpid(), 11)")
    told_nothing = leader.stdout
    assert told_nothing is not None
    assert told_nothing.read() == ""  # end of file: it is dead or dying
    told_nothing.close()
    status = processes.end(leader.pid)
    leader.wait()
    assert processes.describe_status(status) == "ended by SIGSEGV"


@pytest.mark.parametrize(
    ("status", "words"), [(0, "exited with code 0"), (3 << 8, "exited with code 3"), (9, "ended by SIGKILL")]
)
def test_a_status_is_told_in_words(status: int, words: str) -> None:
    assert processes.describe_status(status) == words


def in_a_process_of_its_own(body: str, *arguments: str) -> str:
    """What a script prints that may change its own process: adopt orphans, sweep."""
    done = subprocess.run(
        [sys.executable, "-c", body, *arguments], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


SWEEP = """
import os, subprocess, sys
from harness import processes
processes.adopt_orphans()
keep = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
# a child that starts a process in a session of its own, which starts another, and leaves
tree = '''
import os, subprocess, sys
if os.fork() == 0:
    os.setsid()
    os.fork()
    print(os.getpid(), flush=True)
    import time; time.sleep(600)
'''
child = subprocess.Popen([sys.executable, "-c", tree], stdout=subprocess.PIPE, text=True)
orphans = {int(child.stdout.readline()) for _ in range(2)}
child.wait()
ended = set(processes.sweep(keep=[keep.pid]))
still = [pid for pid in orphans if os.path.exists(f"/proc/{pid}")]
print(orphans <= ended, still, keep.poll())
keep.kill()
keep.wait()
print(processes.sweep(keep=()))
"""


def test_a_sweep_ends_orphans_that_left_the_session_and_keeps_what_it_is_told_to() -> None:
    assert in_a_process_of_its_own(SWEEP).splitlines() == ["True [] None", "[]"]


TRACKED = """
import subprocess, sys
from pathlib import Path
from harness import processes
processes.adopt_orphans()
engine = subprocess.Popen([sys.executable, "-c", '''
import os, time
from multiprocessing import shared_memory
from tests import toy_leftovers
memory = shared_memory.SharedMemory(create=True, size=64)
toy_leftovers.until_tracked()
if os.fork() == 0:  # holds the tracker's pipe, and outlives the engine
    time.sleep(600)
print(memory.name, flush=True)
os.kill(os.getpid(), 9)
'''], stdout=subprocess.PIPE, text=True)
name = engine.stdout.readline().strip()
engine.wait()
print(len(processes.sweep(keep=())), Path("/dev/shm", name).exists())
"""


def test_a_sweep_lets_the_resource_tracker_remove_what_the_dead_left() -> None:
    assert in_a_process_of_its_own(TRACKED).splitlines() == ["2 False"]


def test_the_tree_of_a_process_is_all_that_descends_from_it() -> None:
    body = f"""
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", '''
import subprocess, sys
grandchild = subprocess.Popen([sys.executable, "-c", "{SLEEP}"], start_new_session=True)
print(grandchild.pid, flush=True)
grandchild.wait()
'''], stdout=subprocess.PIPE, text=True)
print(child.pid, child.stdout.readline().strip(), flush=True)
child.wait()
"""
    leader = script(body)
    child, grandchild = told(leader)
    try:
        assert processes.tree(leader.pid) == {leader.pid, child, grandchild}
    finally:
        for pid in (grandchild, child, leader.pid):
            os.kill(pid, signal.SIGKILL)
        leader.wait()
    assert processes.tree(leader.pid) == {leader.pid}


def test_a_process_dies_with_its_parent_however_that_ends() -> None:
    body = """
import os, subprocess, sys
child = subprocess.Popen([sys.executable, "-c", '''
import time
from harness import processes
processes.die_with_parent()
print(1, flush=True)
time.sleep(600)
'''], stdout=subprocess.PIPE, text=True)
child.stdout.readline()
print(child.pid, flush=True)
os.kill(os.getpid(), 9)
"""
    parent = script(body)
    (child,) = told(parent)
    parent.wait()
    until_gone(child)


def test_processes_are_found_by_the_mark_they_inherit() -> None:
    mark = f"TOY_MARK=test-{os.getpid()}"
    name, _, value = mark.partition("=")
    body = """
import os, time
child = os.fork()
if child:
    print(child, flush=True)
else:
    os.setsid()
time.sleep(600)
"""
    bystander, own = (
        script(SLEEP),
        subprocess.Popen(
            [sys.executable, "-c", body], stdout=subprocess.PIPE, text=True, env=os.environ | {name: value}
        ),
    )
    (child,) = told(own)
    try:
        assert set(processes.end_marked(mark)) == {own.pid, child}
        own.wait()
        until_gone(child)
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()
        assert bystander.stdout is not None
        bystander.stdout.close()


def test_waiting_for_a_child_gives_up_in_time() -> None:
    child = script(SLEEP)
    try:
        assert processes.reap(child.pid, 0.01) is None
    finally:
        child.kill()
        child.wait()
        assert child.stdout is not None
        child.stdout.close()


def test_this_machine_tells_a_process_its_children() -> None:
    """Without /proc/…/children a sweep would find nothing, and say nothing."""
    assert Path("/proc/self/task", str(os.getpid()), "children").exists()
