"""`make bench`: what a run of the matrix costs, and how much of it is upstream's own work.

Runs the whole matrix into a folder of its own, so reports stay as they are.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from harness import store
from harness.host import BackendHost
from harness.plan import build
from harness.project import find
from harness.records import CellRecord

ROOT = Path(__file__).resolve().parent.parent
SLOW = "torch_compile or flex_attention or parallel or num_processes"
"""Compilation and several processes: upstream's own cost, measured apart."""


def measure(expression: str, folder: Path) -> tuple[float, list[CellRecord]]:
    """Run the cells that match; wall seconds and records."""
    results = folder / "results.jsonl"
    command = [sys.executable, "-m", "harness.cli", "run", "--backends", "pytorch", "-k", expression]
    began = time.perf_counter()
    done = subprocess.run([*command, "--results", str(results)], cwd=ROOT, capture_output=True, text=True, check=False)
    wall = time.perf_counter() - began
    if done.returncode != 0:
        sys.exit(f"bench: the run failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return wall, list(store.read(results).cells.values())


def row(name: str, wall: float, cells: list[CellRecord]) -> list[str]:
    """One line of the table."""
    engines = sum(attempt.new_engine for cell in cells for attempt in cell.attempts if attempt.outcome != "reused")
    start = sum(cell.timing.queue_s for cell in cells)
    load = sum(cell.timing.load_s for cell in cells)
    generate = sum(cell.timing.generate_s for cell in cells)
    upstream = sum(cell.timing.upstream_s for cell in cells)
    share = (upstream + start) / wall
    figures = (start, load, generate, upstream, wall)
    return [name, str(len(cells)), str(engines), *(f"{value:.1f}" for value in figures), f"{100 * share:.0f}%"]


def overhead() -> float:
    """Seconds that an engine start costs beyond the load calls made in it: fork, pipes, read-back. Median of 9."""
    project = find(ROOT)
    matrix = project.matrix()
    cell = build(matrix, models={"pytorch": str(matrix.shipped_model)}, backends=["pytorch"])[0]
    host = BackendHost("pytorch", project.launcher("pytorch"), project.limits)
    extra = []
    try:
        for _ in range(9):
            attempt = host.observe(cell.treated, model=cell.treated.model, cache_dir=None, fresh=True)
            extra.append(attempt.load_s - attempt.upstream_load_s)
    finally:
        host.close()
    return sorted(extra)[4]


def main() -> None:
    """Measure and print."""
    table = Table(title="seconds")
    for heading in (
        "run",
        "cells",
        "engines",
        "import",
        "load",
        "generate",
        "in upstream calls",
        "wall",
        "upstream share",
    ):
        table.add_column(heading, justify="left" if heading == "run" else "right")
    parts = {
        "quick cells": f"not ({SLOW})",
        "compiling and multi-process": SLOW,
    }
    with tempfile.TemporaryDirectory() as folder:
        for name, expression in parts.items():
            place = Path(folder) / name.replace(" ", "-")
            place.mkdir()
            table.add_row(*row(name, *measure(expression, place)))
    console = Console(width=120)
    console.print(table)
    console.print("import: of the library, once a run. upstream share: import and upstream calls, of wall time.")
    console.print(
        f"an engine start costs {overhead():.3f} s beyond upstream's own load calls (median of 9)", soft_wrap=True
    )
    console.print(json.dumps(machine()), soft_wrap=True)


def machine() -> dict[str, object]:
    """Where this was measured."""
    snapshot = find(ROOT).launcher("pytorch").describe("pytorch")
    return {key: snapshot[key] for key in ("cpu", "cpus", "python", "packages")}


if __name__ == "__main__":
    main()
