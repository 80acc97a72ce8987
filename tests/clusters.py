"""A cluster that a test module starts, adds nodes to, kills nodes of, and ends."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

from harness import processes
from tests.projects import ROOT, environment

PYTHON = ROOT / ".venvs" / "ray" / "bin" / "python"


class Nodes:
    """The nodes of one cluster."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.address = str(self._read()["address"])
        self.raylets: list[int] = []

    def add(self, cpus: int = 2, gpus: int = 0) -> int:
        """One more node; its raylet's process id."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"add {cpus} {gpus}\n")
        self._process.stdin.flush()
        self.raylets.append(int(str(self._read()["pid"])))
        return self.raylets[-1]

    def _read(self) -> Mapping[str, object]:
        assert self._process.stdout is not None
        while not (line := self._process.stdout.readline()).startswith("{"):
            assert line, "the cluster did not start"
        found: Mapping[str, object] = json.loads(line)
        return found

    def kill(self, raylet: int) -> None:
        """A node's sudden end: its raylet and all that descends from it."""
        self.raylets.remove(raylet)
        for pid in processes.tree(raylet):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def node_of(self, pid: int) -> int:
        """The raylet of the node on which a process runs."""
        return next(raylet for raylet in self.raylets if pid in processes.tree(raylet))

    def supervisor_of(self, pid: int) -> int:
        """The supervisor that a process descends from."""
        found = [one for one in self.supervisors() if b"supervisor" in _command(one) and pid in processes.tree(one)]
        return found[0]

    def supervisors(self) -> set[int]:
        """Supervisors and whatever they have started."""
        return {
            pid
            for raylet in self.raylets
            for pid in processes.tree(raylet)
            if b"harness.cluster.supervisor" in _command(pid) or b"toy_host" in _command(pid)
        }


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


@contextlib.contextmanager
def started(nodes: int, **more: str) -> Iterator[Nodes]:
    """A cluster whose head has no CPUs, and `nodes` nodes with two each. It ends with the block."""
    assert PYTHON.is_file(), f"no interpreter with Ray at {PYTHON}: `make test` makes it"
    process = subprocess.Popen(
        [str(PYTHON), "-m", "tests.ray_nodes"],
        cwd=ROOT,
        env=environment(RAY_USAGE_STATS_ENABLED="0", **more),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        found = Nodes(process)
        for _ in range(nodes):
            found.add()
        yield found
    finally:
        try:
            process.communicate(timeout=30)  # the end of its input is the end of the cluster
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
