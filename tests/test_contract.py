"""PyTorch's and vLLM's adapters against contracts of where each parameter has to arrive in the real libraries."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness.config.introspection import get_backend_specific_params, get_shared_params
from harness.plan import Cell, build
from matrix import MATRIX
from tests.contracts import expected
from tests.contracts.handing import forward
from tests.interpreters import ROOT, pytorch, vllm

BACKENDS = {"pytorch": pytorch, "vllm": vllm}
CELLS = tuple(
    cell
    for cell in build(MATRIX, models=dict.fromkeys(BACKENDS, str(MATRIX.shipped_model)), backends=list(BACKENDS))
    if not cell.not_applicable
)


@pytest.fixture(scope="module")
def arrived() -> dict[str, dict[str, Any]]:
    """Cell id to what arrived of its treated run."""
    found: dict[str, dict[str, Any]] = {}
    for backend, interpreter in BACKENDS.items():
        if not interpreter().is_file():
            pytest.fail(f"no {backend} interpreter at {interpreter()}: `make setup` makes it")
        cells = [cell for cell in CELLS if cell.backend == backend]
        told = forward(backend, (cell.treated for cell in cells), str(interpreter()))
        found |= dict(zip([cell.id for cell in cells], told, strict=True))
    return found


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.id)
def test_every_setting_of_a_cell_arrives_where_upstream_has_it(cell: Cell, arrived: dict[str, Any]) -> None:
    found = arrived[cell.id]
    refused = found["error"] is not None
    assert list(expected.wrong(cell.treated, expected.places(found), refused=refused)) == []
    assert found["unread"] == []
    assert found["error"] is None or _upstreams(found["error"]), found["error"]


def _upstreams(error: dict[str, str]) -> bool:
    """Whether the library raised it, at its signature or within: `Calls` and the checks here only hand over."""
    return not Path(error["file"]).is_relative_to(ROOT / "harness") or error["function"] == "__call__"


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_contract_knows_parameters_that_there_are(backend: str) -> None:
    known = {*get_shared_params(), *get_backend_specific_params()[backend]}
    assert set(expected.contract(backend)["parameters"]) <= known


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_value_that_is_dropped_or_changed_is_seen(backend: str, arrived: dict[str, Any]) -> None:
    for cell in CELLS:
        if cell.backend != backend or arrived[cell.id]["error"]:
            continue
        found = expected.places(arrived[cell.id])
        alternatives = expected.wanted(cell.treated, cell.parameter, cell.value)
        for place, value in {place: value for each in alternatives for place, value in each.items()}.items():
            if len(alternatives) > 1 and place not in found:
                continue
            dropped = {name: values for name, values in found.items() if name != place}
            for spoiled in (dropped, found if value == "given" else {**dropped, place: ["something else"]}):
                if spoiled != found:
                    assert list(expected.wrong(cell.treated, spoiled, refused=False)), f"{cell.id}: {place}"
