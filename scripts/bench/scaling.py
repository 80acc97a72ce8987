"""The same cells over more slots, with engines that sleep: what the harness itself keeps from being parallel."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from bench import commands, pretend, simulated
from harness import store
from harness.experiment import REUSED

HEADINGS = ("slots", "cells", "engines", "asleep s", "wall s", "cells/min", "times one slot", "peak MiB")


def measure(counts: Sequence[int], folder: Path, fewer: int | None = None) -> Iterator[list[str]]:
    """One row for each number of slots.

    Args:
        counts: of slots.
        folder: for the project and its results.
        fewer: only so many cells on engines of their own, to try it.

    Raises:
        RunFailedError: a run failed.
    """
    project = pretend.make(folder / "simulated", "MATRIX", ["vllm"], "bench.simulated")
    first: float | None = None
    for count in counts:
        results = project / f"{count}.jsonl"
        chosen = [f"--cell={cell}" for cell in simulated.cells(fewer)] if fewer else []
        command = ["-m", "harness.cli", "run", "--backends", "vllm", "--workers", str(count), *chosen]
        ran = commands.run([*command, "--out", str(results), "--pages", str(project)], project)
        records = list(store.read(results).cells.values())
        if wrong := [record.cell for record in records if record.cause != "confirmed"]:
            raise commands.RunFailedError(f"{len(wrong)} simulated cells did not pass, {wrong[0]} first")
        first = first or ran.wall_s
        engines = sum(a.new_engine for record in records for a in record.attempts if a.outcome != REUSED)
        asleep = sum(record.timing.upstream_s for record in records)
        times = f"{first / ran.wall_s:.2f}" if counts[0] == 1 else "–"
        figures = [f"{asleep:.1f}", f"{ran.wall_s:.1f}", f"{60 * len(records) / ran.wall_s:.1f}", times]
        yield [str(count), str(len(records)), str(engines), *figures, f"{ran.peak_mib:.0f}"]
