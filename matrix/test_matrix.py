"""The matrix as pytest sees it: one case a cell. `pytest matrix -k "decoder and top_k"` runs some."""

from __future__ import annotations

from collections.abc import Callable

from harness.plan import Cell


def test_cell(cell: Cell, judge_cell: Callable[[Cell], None]) -> None:
    judge_cell(cell)
