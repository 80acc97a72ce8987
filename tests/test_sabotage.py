"""No ✅ for a value that never arrived: real runs of the real backend, sabotaged between declaration and library."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from harness import plan
from harness.config.presets import PRESETS
from harness.declare import Scope, Seen
from harness.host import BackendHost, Launcher, Limits
from harness.judge import judge
from harness.plan import Cell, Run
from harness.verdict import Cause
from matrix import MATRIX

CELLS = tuple(
    cell
    for cell in plan.build(MATRIX, models={"pytorch": str(MATRIX.shipped_model)}, backends=["pytorch"])
    if cell.scope is Scope.REQUEST and not cell.treated.variant and not cell.parameter.startswith("traffic_simulation")
)
"""Cells that share the base engine. Paced ones are left out: they would take most of the time."""


class Bench:
    """Runs on one host, each made once."""

    def __init__(self, host: BackendHost) -> None:
        self.host = host
        self.seen: dict[str, Seen | None] = {}

    def observe(self, run: Run) -> Seen | None:
        """What a run shows, or None when it fails."""
        if run.key not in self.seen:
            self.seen[run.key] = self.host.observe(run, model=run.model, cache_dir=None, fresh=False).seen
        return self.seen[run.key]


@pytest.fixture(scope="module")
def bench(pytorch_python: str) -> Iterator[Bench]:
    host = BackendHost("pytorch", Launcher((pytorch_python,)), Limits())
    yield Bench(host)
    host.close()


def verdict(bench: Bench, cell: Cell, sabotaged: Run) -> Cause | None:
    """The cause that the cell would get if `sabotaged` ran in place of its treated run; None if it fails to run."""
    treated, control = bench.observe(sabotaged), bench.observe(cell.control)
    return None if treated is None or control is None else judge(cell, treated, control).verdict.cause


def without(cell: Cell) -> Run:
    """The treated run of an adapter that drops the value, with all that it stands for."""
    request = {path: value for path, value in cell.treated.request.items() if path != cell.parameter}
    if cell.parameter == "decoder.preset":
        for name in PRESETS[str(cell.value)]:
            request.pop(f"decoder.{name}", None)
    return replace(cell.treated, request=request)


def others(cell: Cell) -> list[Cell]:
    """Cells of the same parameter with another value, under the same companions."""

    def companions(one: Cell) -> dict[str, object]:
        return {path: value for path, value in one.treated.settings.items() if path != one.parameter}

    return [
        other
        for other in CELLS
        if other.parameter == cell.parameter and other.value != cell.value and companions(other) == companions(cell)
    ]


@pytest.mark.parametrize(
    "cell", [cell for cell in CELLS if not cell.by_harness], ids=lambda cell: f"{cell.row} sabotaged"
)
def test_a_value_that_the_adapter_drops_does_not_pass(cell: Cell, bench: Bench) -> None:
    assert verdict(bench, cell, without(cell)) is not Cause.CONFIRMED


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: f"{cell.row} sabotaged")
def test_another_value_in_its_place_does_not_pass(cell: Cell, bench: Bench) -> None:
    confirmed = [other.value for other in others(cell) if verdict(bench, cell, other.treated) is Cause.CONFIRMED]
    assert not confirmed
