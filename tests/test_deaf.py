"""Deaf patches as they are declared: each names a function that is there, of a value that is tested."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from harness import plan
from harness.declare import Deaf
from harness.plan import Cell
from matrix import MATRIX
from matrix.deaf import deafened

CELLS = [
    cell
    for cell in plan.build(
        MATRIX, models=dict.fromkeys(("pytorch", "vllm"), str(MATRIX.shipped_model)), backends=["pytorch", "vllm"]
    )
    if cell.deaf
]


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: str(cell.id))
def test_a_patch_names_a_function_without_arguments_of_a_file_that_needs_no_other(cell: Cell) -> None:
    assert cell.deaf is not None
    tree = ast.parse(cell.deaf.file.read_text(encoding="utf-8"))
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    assert not functions[cell.deaf.function].args.args
    imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module}
    imported |= {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    assert not {name for name in imported if name.split(".")[0] in {"matrix", "harness"}}


def test_a_patch_of_a_value_that_is_not_tested_is_refused() -> None:
    patch = Deaf("nothing", Path(__file__), "none")
    with pytest.raises(ValueError, match="max_output_tokens=7: pytorch tests no such value"):
        deafened(MATRIX.parameters, "pytorch", {"max_output_tokens": {"7": patch}})


def test_a_value_that_upstream_takes_anyway_has_no_patch() -> None:
    patched = {cell.row for cell in CELLS if cell.backend == "pytorch"}
    assert "decoder.top_k=5" in patched
    assert "decoder.top_k=0" not in patched
