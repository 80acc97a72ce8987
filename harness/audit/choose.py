"""Which ✅ are audited: all, those that were named, or a sample spread over sections."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

from harness.audit.record import AuditError
from harness.plan import Cell
from harness.store import Results
from harness.verdict import Outcome


def passed(cells: Iterable[Cell], results: Results) -> list[Cell]:
    """The planned cells that are ✅ in the results."""
    good = {record.cell for record in results.judged if record.verdict is Outcome.PASS}
    return [cell for cell in cells if cell.id in good]


def named(cells: Sequence[Cell], patterns: Sequence[str]) -> list[Cell]:
    """The cells that one of the patterns names: ids, in which `*` stands for anything.

    Raises:
        AuditError: a pattern names none.
    """
    for pattern in patterns:
        if not any(_is(cell, pattern) for cell in cells):
            raise AuditError(f"no ✅ is called {pattern}. `*` stands for anything; {len(cells)} cells are ✅.")
    return [cell for cell in cells if not patterns or any(_is(cell, pattern) for pattern in patterns)]


def _is(cell: Cell, pattern: str) -> bool:
    return cell.id == pattern or fnmatchcase(cell.id, pattern)


def sample(cells: Sequence[Cell], size: int, seed: str) -> list[Cell]:
    """So many cells, in their order: sections take turns, and the seed decides the rest."""

    def draw(text: str) -> str:
        return hashlib.sha256(f"{seed}\n{text}".encode()).hexdigest()

    piles: dict[str, list[Cell]] = {}
    for cell in sorted(cells, key=lambda cell: draw(cell.id)):
        piles.setdefault(f"{cell.backend}\n{cell.section}", []).append(cell)
    drawn: set[str] = set()
    while piles and len(drawn) < size:
        for name in sorted(piles, key=draw)[: size - len(drawn)]:
            drawn.add(piles[name].pop(0).id)
        piles = {name: pile for name, pile in piles.items() if pile}
    return [cell for cell in cells if cell.id in drawn]


def in_order(cells: Sequence[Cell]) -> list[Cell]:
    """So that cells that share engines stand together: a few engines stay loaded at a time."""
    first: dict[str, int] = {}
    for index, cell in enumerate(cells):
        first.setdefault(cell.control.engine_key, index)
    return sorted(cells, key=lambda cell: (first[cell.control.engine_key], cell.treated.engine_key))
