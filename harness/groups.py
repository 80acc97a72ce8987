"""Groups of cells that share an engine, and how long each is expected to take: what slots and shards are given."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from harness.plan import Cell
from harness.records import CellRecord

UNKNOWN_S: Final = 2.0
"""Seconds a cell is expected to take where no cell like it was ever measured."""


@dataclass(frozen=True, slots=True)
class Group:
    """Cells of one engine key, in their order: they stay together, on one slot."""

    key: str
    """`backend:engine key`."""
    cells: tuple[Cell, ...]
    gpus: int
    """GPUs that they take together, where there are any."""
    cpus: int
    """CPU cores that they take together, where there are no GPUs."""
    expected_s: float


def groups(cells: Iterable[Cell], expected_s: Mapping[str, float]) -> tuple[Group, ...]:
    """The groups of `cells`, the one that is expected to take longest first; equal ones in the cells' order.

    Args:
        cells: in page order.
        expected_s: seconds by cell id, as `expected` tells them.
    """
    together: dict[str, list[Cell]] = {}
    for cell in cells:
        together.setdefault(key(cell), []).append(cell)
    found = [
        Group(
            name,
            tuple(listed),
            gpus=max(_wanted(cell, "cuda", "devices") for cell in listed),
            cpus=max(_wanted(cell, "cpus", "devices") for cell in listed),
            expected_s=sum(expected_s[cell.id] for cell in listed),
        )
        for name, listed in together.items()
    ]
    return tuple(sorted(found, key=lambda group: -group.expected_s))


def key(cell: Cell) -> str:
    """Cells with equal keys belong together."""
    return f"{cell.backend}:{cell.treated.engine_key}"


def expected(cells: Iterable[Cell], earlier: Iterable[CellRecord]) -> dict[str, float]:
    """Seconds each cell is expected to take, by id.

    What it took before, its wait for the backend's import left out; else the median of its backend's cells of
    the same scope; else `UNKNOWN_S`.
    """
    took: dict[str, float] = {}
    like: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
    for record in earlier:
        took[record.cell] = max(0.0, record.timing.wall_s - record.timing.queue_s)
        like[record.backend, record.scope].append(took[record.cell])
    medians = {kind: statistics.median(times) for kind, times in like.items()}
    return {cell.id: took.get(cell.id, medians.get((cell.backend, cell.scope.value), UNKNOWN_S)) for cell in cells}


def _wanted(cell: Cell, *kinds: str) -> int:
    """The most of a kind that the cell's needs name: 1 where they name none."""
    needs = (need.partition(":") for need in cell.needs)
    return max([1, *(int(count or 1) for kind, _, count in needs if kind in kinds)])
