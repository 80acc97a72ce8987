"""No ✅ for a value that never arrived: real runs of the real backend, sabotaged between declaration and library."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from harness import plan
from harness.declare import Scope
from harness.host import BackendHost, Launcher, Limits
from harness.plan import Cell
from harness.verdict import Cause
from matrix import MATRIX
from tests.sabotage import Bench, others, without

CELLS = tuple(
    cell
    for cell in plan.build(MATRIX, models={"pytorch": str(MATRIX.shipped_model)}, backends=["pytorch"])
    if cell.scope is Scope.REQUEST and not cell.treated.variant and not cell.parameter.startswith("traffic_simulation")
)
"""Cells that share the base engine. Paced ones are left out: they would take most of the time."""


@pytest.fixture(scope="module")
def bench(pytorch_python: str) -> Iterator[Bench]:
    host = BackendHost("pytorch", Launcher((pytorch_python,)), Limits())
    yield Bench(host)
    host.close()


@pytest.mark.parametrize(
    "cell", [cell for cell in CELLS if not cell.by_harness], ids=lambda cell: f"{cell.row} sabotaged"
)
def test_a_value_that_the_adapter_drops_does_not_pass(cell: Cell, bench: Bench) -> None:
    assert bench.verdict(cell, without(cell)) is not Cause.CONFIRMED


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: f"{cell.row} sabotaged")
def test_another_value_in_its_place_does_not_pass(cell: Cell, bench: Bench) -> None:
    confirmed = [other.value for other in others(cell, CELLS) if bench.verdict(cell, other.treated) is Cause.CONFIRMED]
    assert not confirmed
