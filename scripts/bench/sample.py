"""The cells that the ways of running are compared on: spread evenly over a backend's column, as it is declared."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from harness.columns import plan_cells
from harness.plan import Cell
from harness.project import Project

COMPILING: Final[Mapping[str, str]] = {
    "pytorch": "torch_compile or flex_attention or parallel or num_processes",
    "vllm": "compilation or optimization_level or enforce_eager or parallel or distributed_backend",
}
"""Cells that compile or start several processes, as `-k` expressions: upstream's own cost, measured apart."""


def sample(project: Project, backend: str, count: int) -> list[Cell]:
    """`count` cells of a backend, in page order, as `make matrix` would plan them here.

    Left out are those that compile or start several processes, and those that need what a machine may lack.
    """
    slow = [word for word in COMPILING.get(backend, "").split(" or ") if word]
    cells = [
        cell
        for cell in plan_cells(project, backend, None)
        if not cell.needs and not cell.not_applicable and not any(word in cell.id for word in slow)
    ]
    count = min(count, len(cells))
    return [cells[(2 * number + 1) * len(cells) // (2 * count)] for number in range(count)]
