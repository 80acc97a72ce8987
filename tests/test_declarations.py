"""The declarations say what they must. That they cover the schema and the sample page: tests/test_sample_rows.py."""

from __future__ import annotations

from fnmatch import fnmatch

import pytest

from harness import plan
from harness.config import leaf_paths, schema_field
from harness.declare import Column, Parameter
from harness.plan import Cell
from matrix import MATRIX

REFUSED = {
    "pytorch": {
        "decoder.temperature=0.0",
        "parallelism.strategy=pipeline_parallel",
        "quantization.quantization=True",
    },
    "vllm": {
        "decoder.top_p=0.0",
        "quantization.load_in_4bit=True",
        "quantization.load_in_8bit=True",
        "quantization.quantization=True",
    },
    "tensorrt": {"fp_precision=float32"},
}
"""Cells whose treated config our own validation refuses: they are run all the same."""


@pytest.fixture(scope="module", params=sorted(REFUSED))
def cells(request: pytest.FixtureRequest) -> tuple[Cell, ...]:
    backend = str(request.param)
    return plan.build(MATRIX, models={backend: str(MATRIX.shipped_model)}, backends=[backend])


def is_excluded(path: str) -> bool:
    return any(fnmatch(path, item.path) for item in MATRIX.excluded)


def test_what_is_excluded_has_a_reason() -> None:
    assert all(len(item.reason) > 20 for item in MATRIX.excluded)


def test_nothing_is_declared_that_is_excluded_or_that_the_schema_does_not_have() -> None:
    for parameter in MATRIX.parameters:
        assert not is_excluded(parameter.path), parameter.path
        assert parameter.path in leaf_paths(), parameter.path


def test_at_least_90_cells_are_planned_for_each_backend(cells: tuple[Cell, ...]) -> None:
    assert len(cells) >= 90


@pytest.mark.parametrize("parameter", MATRIX.parameters, ids=lambda parameter: str(parameter.path))
def test_a_switch_is_tested_off_as_well_as_on(parameter: Parameter) -> None:
    values = [value.value for value in parameter.values]
    if schema_field(parameter.path).kinds == ("bool",):
        assert any(value is True for value in values)
        assert any(value is False for value in values)
    assert values


def test_every_value_differs_from_its_control(cells: tuple[Cell, ...]) -> None:
    for cell in cells:
        assert cell.treated.settings != cell.control.settings, cell.id
        assert cell.treated.settings[cell.parameter] == cell.value, cell.id
        assert cell.control.settings.get(cell.parameter) != cell.value, cell.id


def test_treated_run_and_control_generate_the_same_workload(cells: tuple[Cell, ...]) -> None:
    for cell in cells:
        assert cell.treated.workload is cell.control.workload, cell.id
        assert cell.treated.instruments == cell.control.instruments, cell.id


def test_request_scoped_cells_share_the_engine_of_their_control(cells: tuple[Cell, ...]) -> None:
    for cell in cells:
        shared = cell.treated.engine_key == cell.control.engine_key
        assert shared is (cell.scope.value == "request"), cell.id


def test_what_validation_refuses_is_only_what_the_page_shows_as_refused(cells: tuple[Cell, ...]) -> None:
    assert {cell.row for cell in cells if cell.rejected and not cell.not_applicable} == REFUSED[cells[0].backend]


def test_every_column_has_a_probe_in_words() -> None:
    for parameter in MATRIX.parameters:
        for column in parameter.columns.values():
            if isinstance(column, Column):
                assert len(column.probe.says) > 20, parameter.path
