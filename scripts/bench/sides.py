"""The same cells in one process per case, as most harnesses run them, and on one host, as this one does.

Both ways run and judge a cell by the same code. They differ in how long a host lives: for one cell, which
imports the library, loads what the cell needs, runs treated and control and leaves; or for all of them.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from harness.experiment import REUSED, Experiment, Result
from harness.host import BackendHost
from harness.jsontypes import JSON
from harness.plan import Cell
from harness.project import Project
from harness.variants import Variants
from harness.verdict import Verdict


@dataclass(slots=True)
class Cost:
    """What it took to judge some cells."""

    name: str
    cells: int = 0
    hosts: int = 0
    engines: int = 0
    import_s: float = 0.0
    """Starting interpreters and importing the library."""
    upstream_s: float = 0.0
    """Inside the library's own load and generate calls."""
    wall_s: float = 0.0
    verdicts: dict[str, Verdict] = field(default_factory=dict)

    def add(self, cell: Cell, result: Result) -> None:
        """Count a judged cell."""
        made = [made.attempt for made in result.attempts if made.outcome != REUSED]
        self.cells += 1
        self.engines += sum(attempt.new_engine for attempt in made)
        self.upstream_s += sum(attempt.upstream_s for attempt in made)
        self.verdicts[cell.row] = result.verdict

    @property
    def per_minute(self) -> float:
        """Cells a minute."""
        return 60.0 * self.cells / self.wall_s

    @property
    def share(self) -> float:
        """Import and upstream calls, of the wall time."""
        return (self.import_s + self.upstream_s) / self.wall_s


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
        cost = Cost(f"{self.backend}: process per case")
        for cell in cells:
            with self._host(cost) as experiment:
                cost.add(cell, experiment.run(cell))
        return cost

    def one_host(self, cells: Sequence[Cell]) -> Cost:
        """A host for all cells, which keeps engines and controls."""
        cost = Cost(f"{self.backend}: one host")
        with self._host(cost) as experiment:
            for cell in cells:
                cost.add(cell, experiment.run(cell))
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
    """Cells that the two ways judged differently: there should be none."""
    return [
        f"{row}: {verdict.cause} in {one.name}, {other.verdicts[row].cause} in {other.name}"
        for row, verdict in one.verdicts.items()
        if other.verdicts[row].cause is not verdict.cause
    ]
