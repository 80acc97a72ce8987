"""The benchmark's sample: cells that exist, as many of each scope as its page says. Nothing it measures is asserted."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter

import pytest

from tests.projects import ROOT


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT / "scripts")}
    command = [sys.executable, "-m", "bench", *arguments]
    return subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)


@pytest.mark.parametrize("backend", ["pytorch", "vllm"])
def test_the_sample_of_a_backend_is_eight_cells_that_share_an_engine_and_four_that_do_not(backend: str) -> None:
    done = bench("--list", "--backends", backend)
    assert done.returncode == 0, done.stderr
    listed = [line.split("\t") for line in done.stdout.splitlines()]
    assert Counter(scope for scope, _ in listed) == {"request": 8, "engine": 4}
    assert all(cell.startswith(f"{backend}-") for _, cell in listed)


def test_a_backend_nobody_knows_is_one_line() -> None:
    done = bench("--list", "--backends", "abacus")
    assert done.returncode == 2
    assert done.stderr.startswith("bench: unknown backend abacus: expected some of ")
    assert done.stderr.count("\n") == 1
