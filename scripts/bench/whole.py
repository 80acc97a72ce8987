"""The whole matrix of a backend, run into a folder of its own, so that reports stay as they are."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Final

from bench.commands import RunFailedError
from harness import store
from harness.experiment import REUSED
from harness.host import BackendHost
from harness.plan import build
from harness.project import Project
from harness.records import CellRecord

STARTS: Final = 9


def measure(project: Project, backend: str, expression: str, folder: Path) -> tuple[float, list[CellRecord]]:
    """Run the cells that match; wall seconds and records.

    Raises:
        RunFailedError: the run failed.
    """
    folder.mkdir(parents=True)
    results = folder / "results.jsonl"
    command = [sys.executable, "-m", "harness.cli", "run", "--backends", backend, "-k", expression]
    began = time.perf_counter()
    done = subprocess.run(
        [*command, "--out", str(results)], cwd=project.root, capture_output=True, text=True, check=False
    )
    wall = time.perf_counter() - began
    if done.returncode != 0:
        raise RunFailedError(f"the run of {backend} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return wall, list(store.read(results).cells.values())


def row(name: str, wall: float, cells: list[CellRecord]) -> list[str]:
    """One line of the table."""
    engines = sum(attempt.new_engine for cell in cells for attempt in cell.attempts if attempt.outcome != REUSED)
    start = sum(cell.timing.queue_s for cell in cells)
    load = sum(cell.timing.load_s for cell in cells)
    generate = sum(cell.timing.generate_s for cell in cells)
    upstream = sum(cell.timing.upstream_s for cell in cells)
    share = (upstream + start) / wall
    figures = (start, load, generate, upstream, wall)
    return [name, str(len(cells)), str(engines), *(f"{value:.1f}" for value in figures), f"{100 * share:.0f}%"]


def overhead(project: Project, backend: str) -> float:
    """Seconds that an engine start costs beyond the load calls made in it: fork, pipes, read-back. The median."""
    matrix = project.matrix()
    cell = build(matrix, models={backend: str(matrix.shipped_model)}, backends=[backend])[0]
    host = BackendHost(backend, project.launcher(backend), project.limits)
    extra = []
    try:
        for _ in range(STARTS):
            attempt = host.observe(cell.treated, model=cell.treated.model, cache_dir=None, fresh=True)
            extra.append(attempt.load_s - attempt.upstream_load_s)
    finally:
        host.close()
    return sorted(extra)[STARTS // 2]
