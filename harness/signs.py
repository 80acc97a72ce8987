"""Columns and verdicts as every page shows them."""

from __future__ import annotations

from harness.store import Judged
from harness.verdict import Outcome

COLUMNS = {"pytorch": "PyTorch", "vllm": "vLLM", "tensorrt": "TensorRT"}
"""Backend to its column heading, in page order."""

NOT_PLANNED = "·"
STALE = "†"
"""Behind the symbol of a cell whose inputs changed after it was measured."""


def symbol(cell: Judged) -> str:
    """A verdict as the page shows it; a pass by read-back alone is marked."""
    return shown(cell.verdict, cell.level)


def shown(verdict: Outcome, level: str | None) -> str:
    """A verdict and the level of its evidence as pages show them."""
    return "✅ˢ" if verdict is Outcome.PASS and level == "state" else verdict.symbol
