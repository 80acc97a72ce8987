"""Every row of the sample page is a row of ours, and nothing of the schema is left without cells."""

from __future__ import annotations

from fnmatch import fnmatch
from pathlib import Path

import pytest

from harness import plan
from harness.config import BACKENDS, leaf_paths, schema_field
from harness.declare import label
from harness.plan import Cell
from matrix import MATRIX

_PAGE = Path(__file__).resolve().parent / "contracts" / "sample_rows.txt"
SAMPLE = [line.split() for line in _PAGE.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
"""Row of the sample page, and the backends that have a verdict there."""

FALSY = {"bool": False, "int": 0, "float": 0.0}
"""What a bare name stands for, by the kind of its field; of a field of names it is none."""


def explicit(row: str) -> str:
    """The row as ours is written: a bare name as its falsy value."""
    if "=" in row:
        return row
    return f"{row}={label(FALSY.get(schema_field(row).kinds[0]))}"


@pytest.fixture(scope="module")
def cells() -> tuple[Cell, ...]:
    return plan.build(MATRIX, models=dict.fromkeys(BACKENDS, str(MATRIX.shipped_model)), backends=BACKENDS)


def test_the_sample_page_has_110_different_rows() -> None:
    rows = [explicit(row) for row, *_ in SAMPLE]
    assert len(rows) == len(set(rows)) == 110


def test_every_row_of_the_sample_page_is_a_row_of_the_plan(cells: tuple[Cell, ...]) -> None:
    planned = {cell.row for cell in cells}
    assert [row for row, *_ in SAMPLE if explicit(row) not in planned] == []


def test_every_verdict_of_the_sample_page_has_a_cell_of_that_backend(cells: tuple[Cell, ...]) -> None:
    planned = {cell.id for cell in cells}
    asked = [f"{backend}-{explicit(row)}" for row, *backends in SAMPLE for backend in backends]
    assert len(asked) == 3 + 83 + 65
    assert [cell for cell in asked if cell not in planned] == []


@pytest.mark.parametrize("path", leaf_paths())
def test_every_field_of_the_schema_has_cells_or_a_reason_to_have_none(path: str, cells: tuple[Cell, ...]) -> None:
    reasons = [item.reason for item in MATRIX.excluded if fnmatch(path, item.path)]
    planned = {cell.backend for cell in cells if cell.parameter == path}
    owner = schema_field(path).backend
    # a shared one is about every backend, if only to say why it means nothing there
    assert planned == ({owner} if owner else set(BACKENDS)) or len(reasons) == 1, path


def test_nothing_is_excluded_but_the_model_and_the_backend() -> None:
    assert {item.path for item in MATRIX.excluded} == {"model", "backend"}
