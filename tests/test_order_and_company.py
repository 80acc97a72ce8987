"""A verdict depends neither on the order of cells, nor on the engine they share, nor on who runs beside them."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.store import read
from harness.verdict import Cause
from tests import projects

SOME = "top_k or temperature or fp_precision or use_cache or no_repeat_ngram_size"
"""Cells of the base engine and of engines of their own, that neither compile nor start processes."""


def judged(target: Path, *more: str) -> dict[str, Cause]:
    """Causes by cell, of a part of the real PyTorch matrix."""
    asked = ("run", "--backends", "pytorch", "-k", SOME, "--out", str(target), "--fresh", *more)
    done = projects.paramatrix(projects.ROOT, *asked)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return {record.cell: record.cause for record in read(target).measured}


@pytest.mark.usefixtures("pytorch_python")
def test_random_orders_and_two_workers_give_equal_verdicts(tmp_path: Path) -> None:
    repeated = tmp_path / "repeated" / "results.jsonl"
    together = tmp_path / "together" / "results.jsonl"
    for file in (repeated, together):
        file.parent.mkdir()
    random = judged(repeated, "--repeat", "2")
    assert len(random) >= 12
    # both orders told the same of each, or it would be flaky
    assert Cause.FLAKY not in random.values()
    assert all(len(record.repeats) == 2 for record in read(repeated).measured)
    assert judged(together, "--workers", "2", "--order", "page") == random
