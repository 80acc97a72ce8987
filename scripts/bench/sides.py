"""The same cells in one process per case, as most harnesses run them, and by our own command, cold and warm.

All ways run and judge a cell by the same code. They differ in how long a host lives: for one cell, which imports
the library, loads what the cell needs, runs treated and control and leaves; or for all of them. Warm is the same
command once more, with the results of the first at hand.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from bench import commands
from bench.memory import Peak
from harness import store
from harness.experiment import REUSED, Experiment, Result
from harness.host import BackendHost
from harness.jsontypes import JSON
from harness.plan import Cell
from harness.project import Project
from harness.variants import Variants
from harness.verdict import Cause


@dataclass(slots=True)
class Cost:
    """What it took to judge some cells."""

    name: str
    at_once: bool = False
    """Whether several slots were at work, so that seconds of one are not seconds of all."""
    cells: int = 0
    hosts: int = 0
    engines: int = 0
    import_s: float = 0.0
    """Starting interpreters and importing the library."""
    upstream_s: float = 0.0
    """Inside the library's own load and generate calls."""
    wall_s: float = 0.0
    peak_mib: float = 0.0
    """Of all processes together."""
    measured: int = 0
    """Cells that were run, not taken over from earlier results."""
    causes: dict[str, Cause] = field(default_factory=dict)

    def add(self, cell: Cell, result: Result) -> None:
        """Count a judged cell."""
        made = [made.attempt for made in result.attempts if made.outcome != REUSED]
        self.cells += 1
        self.measured += 1
        self.engines += sum(attempt.new_engine for attempt in made)
        self.upstream_s += sum(attempt.upstream_s for attempt in made)
        self.causes[cell.id] = result.verdict.cause

    @property
    def per_minute(self) -> float:
        """Cells a minute."""
        return 60.0 * self.cells / self.wall_s

    @property
    def overhead_s(self) -> float:
        """What is neither import nor upstream's calls."""
        return self.wall_s - self.import_s - self.upstream_s

    @property
    def row(self) -> list[str]:
        """One line of the table."""
        counts = [str(count) for count in (self.cells, self.measured, self.hosts, self.engines)]
        overhead = "–" if self.at_once else f"{self.overhead_s:.1f}"
        seconds = [f"{self.import_s:.1f}", f"{self.upstream_s:.1f}", overhead, f"{self.wall_s:.1f}"]
        return [self.name, *counts, *seconds, f"{self.per_minute:.1f}", f"{self.peak_mib:.0f}"]


HEADINGS: Final = (
    "way of running",
    "cells",
    "of them run",
    "hosts",
    "engines",
    "import s",
    "upstream s",
    "overhead s",
    "wall s",
    "cells/min",
    "peak MiB",
)


class Sides:
    """Runs cells of one backend either way."""

    def __init__(self, project: Project, backend: str) -> None:
        self.project = project
        self.backend = backend
        self.launcher = project.launcher(backend)
        self.snapshot: Mapping[str, JSON] = self.launcher.describe(backend)
        self.variants = Variants(project.cache / "variants")

    def prepare(self, cells: Sequence[Cell]) -> None:
        """Build the derived models, which both ways find built."""
        for cell in cells:
            self.variants.resolve(cell.treated)

    def one_process_per_case(self, cells: Sequence[Cell]) -> Cost:
        """A host for every cell."""
        cost = Cost(f"{self.backend}, one process per case")
        with Peak(os.getpid()) as peak:
            for cell in cells:
                with self._host(cost) as experiment:
                    cost.add(cell, experiment.run(cell))
        cost.peak_mib = peak.mib
        return cost

    def ours(self, name: str, cells: Sequence[Cell], results: Path, workers: str | None = None) -> Cost:
        """`paramatrix run` into a results file, which it may find there from before.

        Args:
            name: of the way.
            cells: to judge.
            results: the file.
            workers: how many slots, or `auto`; None: one.

        Raises:
            RunFailedError: it did not judge them.
            StoreError: what it wrote cannot be read.
        """
        before = set(store.read(results).runs) if results.exists() else set()
        chosen = [word for cell in cells for word in ("--cell", cell.id)]
        out = ["--out", str(results), "--pages", str(results.parent)]
        slots = ["--workers", workers] if workers else []
        command = ["-m", "harness.cli", "run", "--backends", self.backend, *chosen, *slots, *out]
        # 1: a verdict other than the accepted one: measured all the same, and `differing` compares
        ran = commands.run(command, self.project.root, codes=(0, 1))
        records = list(store.read(results).cells.values())
        own = [record for record in records if record.run not in before]
        hosts = sum(record.timing.queue_s > 0 for record in own)
        cost = Cost(f"{self.backend}, {name}", bool(workers), cells=len(cells), measured=len(own), hosts=hosts)
        cost.engines = sum(a.new_engine for record in own for a in record.attempts if a.outcome != REUSED)
        cost.import_s = sum(record.timing.queue_s for record in own)
        cost.upstream_s = sum(record.timing.upstream_s for record in own)
        cost.wall_s, cost.peak_mib = ran.wall_s, ran.peak_mib
        cost.causes = {record.cell: record.cause for record in records}
        return cost

    @contextmanager
    def _host(self, cost: Cost) -> Iterator[Experiment]:
        """A host from its start to its end, on the account."""
        began = time.perf_counter()
        host = BackendHost(self.backend, self.launcher, self.project.limits)
        try:
            yield Experiment(host, self.snapshot, self.variants)
        finally:
            host.close()
            cost.hosts += 1
            cost.import_s += host.start_s
            cost.wall_s += time.perf_counter() - began


def differing(one: Cost, other: Cost) -> list[str]:
    """Cells that two ways judged differently: there should be none."""
    return [
        f"{cell}: {cause} in {one.name}, {other.causes[cell]} in {other.name}"
        for cell, cause in one.causes.items()
        if cell in other.causes and other.causes[cell] is not cause
    ]
