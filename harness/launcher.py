"""How the host of a backend is started, and what its interpreter says of itself when asked."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from harness.failure import one_line
from harness.gpus import ORDER
from harness.jsontypes import JSON
from harness.scratch import MARK
from harness.slots.share import Share


class HostUnavailable(RuntimeError):
    """The backend host cannot be started; the message says why and how to mend it."""


HARNESS_ROOT: Final = Path(__file__).parent.parent


HUGE_PAGES: Final = "glibc.malloc.hugetlb=1"
"""Lets large allocations have huge pages where the machine offers them on request: 6 GiB of zeros take 0.8 s
instead of 3.8 s (2-core AMD EPYC VM, 2026-11-21), and caches of a share of the memory are that large."""


@dataclass(frozen=True, slots=True)
class Launcher:
    """How to run `python -m harness.worker` for one backend."""

    command: tuple[str, ...]
    """What stands before `-m harness.worker`: an interpreter, or `docker run … python`."""
    root: Path = HARNESS_ROOT
    """Put on PYTHONPATH, so that the interpreter finds `harness`."""
    version: str | None = None
    """What one of the backend's packages must be, where a version was asked for."""

    def missing(self) -> str | None:
        """Why the command cannot be started at all, or None."""
        if shutil.which(self.command[0]) is None:
            return f"{self.command[0]} does not exist"
        return None

    def popen(
        self, arguments: list[str], stderr: int, cwd: Path, mark: str = "", share: Share | None = None
    ) -> subprocess.Popen[bytes]:
        """Start the worker with private pipes, in a process group of its own, on `share` or on all of the machine.

        Raises:
            HostUnavailable: the command cannot be started.
        """
        found = shutil.which(self.command[0])
        if found is None:
            raise HostUnavailable(f"{self.command[0]} does not exist")
        path = os.pathsep.join(filter(None, (str(self.root), os.environ.get("PYTHONPATH"))))
        own = {"PYTHONPATH": path, "PYTHONUNBUFFERED": "1", "TOKENIZERS_PARALLELISM": "false", MARK: mark}
        own["SPT_NOENV"] = "1"  # setproctitle writes titles over the environment, and the mark with it
        if share is not None:
            own |= share.environment()
        try:
            with share.affinity() if share is not None else contextlib.nullcontext():
                threads = str(max(1, len(os.sched_getaffinity(0)) // 2))
                return subprocess.Popen(
                    # absolute, because the worker gets a folder of its own; links are kept: a venv lives by them
                    [str(Path(found).absolute()), *self.command[1:], "-m", "harness.worker", *arguments],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=stderr,
                    cwd=cwd,
                    env={**ORDER, "OMP_NUM_THREADS": threads, "GLIBC_TUNABLES": HUGE_PAGES, **os.environ, **own},
                    start_new_session=True,
                )
        except OSError as error:
            raise HostUnavailable(f"{self.command[0]} cannot be started: {error.strerror}") from error

    def describe(self, backend: str, timeout_s: float = 60.0) -> dict[str, JSON]:
        """The interpreter's snapshot: versions, CPU, memory, GPUs.

        Raises:
            HostUnavailable: the interpreter is missing, cannot run the worker, or has another version.
        """
        snapshot = self._answer("describe", backend, timeout_s, "snapshot")
        self._check_version(snapshot)
        return snapshot

    def interface(self, backend: str, timeout_s: float = 300.0) -> dict[str, JSON]:
        """What the installed libraries offer: see `harness.backends.upstream.Interface`.

        Raises:
            HostUnavailable: the interpreter is missing, cannot run the worker, or cannot import the library.
        """
        found = self._answer("interface", backend, timeout_s, "interface")
        if failed := found.get("failed"):
            raise HostUnavailable(f"the {backend} interface cannot be read: {failed}")
        return found

    def _answer(self, verb: str, backend: str, timeout_s: float, wanted: str) -> dict[str, JSON]:
        """The one JSON object that the worker prints when asked `verb`."""
        with tempfile.TemporaryDirectory(prefix="paramatrix-") as folder:
            process = self.popen([verb, backend], subprocess.PIPE, Path(folder))
            try:
                out, err = process.communicate(timeout=timeout_s)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.communicate()
                raise HostUnavailable(f"{self.command[0]} gave no answer within {timeout_s:g} s") from None
        try:
            answer = json.loads(out.decode().strip().splitlines()[-1])
        except (ValueError, IndexError):
            said = one_line((err or out).decode(errors="replace")[-300:])
            raise HostUnavailable(f"{self.command[0]} gave no {wanted}: {said or 'no answer'}") from None
        if not isinstance(answer, dict):
            raise HostUnavailable(f"expected a JSON object, got {one_line(out.decode(errors='replace'))}")
        return answer

    def _check_version(self, snapshot: Mapping[str, JSON]) -> None:
        """One version must never be measured under another's name."""
        packages = snapshot.get("packages")
        there = {name: str(v) for name, v in packages.items() if v} if isinstance(packages, dict) else {}
        # a build is of the version: 2.13.0+cpu is a 2.13.0
        if self.version and not {self.version} & {part for v in there.values() for part in (v, v.partition("+")[0])}:
            shown = ", ".join(f"{name} {version}" for name, version in there.items()) or "none of its packages"
            raise HostUnavailable(f"{self.command[0]} is asked for as version {self.version}, but has {shown}")
