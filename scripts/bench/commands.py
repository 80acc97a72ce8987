"""Our own commands as somebody runs them: how long they take, and the memory of all their processes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.memory import Peak

ROOT = Path(__file__).resolve().parent.parent.parent


class RunFailedError(RuntimeError):
    """A command did not end as it should; one line."""


@dataclass(frozen=True, slots=True)
class Ran:
    """A command that was run."""

    wall_s: float
    peak_mib: float
    out: str


def run(
    arguments: Sequence[str],
    folder: Path,
    *,
    codes: Sequence[int] = (0,),
    without: str | None = None,
    **environment: str,
) -> Ran:
    """`python …` in `folder`.

    Args:
        arguments: after `python`.
        folder: where.
        codes: the exit codes that are no failure.
        without: a word in the command line of processes whose memory does not count.
        environment: more variables.

    Raises:
        RunFailedError: it ended with a code other than `codes`.
    """
    paths = os.pathsep.join([str(ROOT), str(ROOT / "scripts")])
    more: Mapping[str, str] = {"PYTHONPATH": paths, "HF_HUB_OFFLINE": "1", **environment}
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, *arguments],
        cwd=folder,
        env=os.environ | more,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    with Peak(process.pid, without) as peak:
        out, _ = process.communicate()
    wall_s = time.perf_counter() - began
    if process.returncode not in codes:
        last = " / ".join(out.strip().splitlines()[-3:])
        raise RunFailedError(f"{' '.join(arguments[:4])} … ended with {process.returncode}: {last}")
    return Ran(wall_s, peak.mib, out)
