"""The benchmark: cells that exist, places on the page that are filled, and parts that do not take others with them."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.projects import ROOT

PAGE = ROOT / "docs" / "benchmarks.md"


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT / "scripts")}
    command = [sys.executable, *arguments]
    return subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    return python("-m", "bench", *arguments)


@pytest.mark.parametrize("backend", ["pytorch", "vllm"])
def test_a_sample_has_as_many_cells_as_asked_for_of_both_scopes_and_none_that_compiles(backend: str) -> None:
    done = bench("--list", "--backends", backend, "--cells", "12")
    assert done.returncode == 0, done.stderr
    listed = [line.split("\t") for line in done.stdout.splitlines()]
    assert len({cell for _, cell in listed}) == len(listed) == 12
    assert {scope for scope, _ in listed} == {"request", "engine"}
    assert all(cell.startswith(f"{backend}-") for _, cell in listed)
    assert not [cell for _, cell in listed if "compil" in cell or "parallel" in cell]


def test_a_backend_nobody_knows_is_one_line() -> None:
    done = bench("--list", "--backends", "abacus")
    assert done.returncode == 2
    assert done.stderr.startswith("bench: unknown backend abacus: expected some of ")
    assert done.stderr.count("\n") == 1


def test_a_part_that_fails_is_told_and_the_next_is_written_into_its_place_on_the_page() -> None:
    code = """
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest import mock
from bench import __main__ as bench
from bench.page import Table

def fails(project, options):
    raise RuntimeError("no such engine")

def works(project, options):
    return Table(("slots", "wall s"), [["1", "2.0"]], ["a note of many words " * 20])

with TemporaryDirectory() as folder, mock.patch.dict(bench.PARTS, sample=fails, scaling=works):
    page = Path(folder) / "page.md"
    page.write_text(Path("docs/benchmarks.md").read_text())
    arguments = ["--backends", "", "--part", "sample", "--part", "scaling", "--write", str(page)]
    code = bench.main(arguments)
    once = page.read_text()
    bench.main(arguments)
    assert page.read_text().count("| 1 | 2.0 |") == once.count("| 1 | 2.0 |") == 1
    print(once)
sys.exit(code)
"""
    done = python("-c", code)
    assert done.returncode == 1, done.stderr
    assert "bench: sample: RuntimeError: no such engine" in done.stderr
    place = done.stdout.rpartition("<!-- scaling -->")[2].partition("<!-- /scaling -->")[0]
    assert "| slots | wall s |\n| --- | --: |\n| 1 | 2.0 |" in place
    assert "Measured on " in place
    assert max(map(len, place.splitlines())) <= 120, "prose is wrapped"


@pytest.mark.parametrize("part", ["sample", "scaling", "large", "matrix", "sampling"])
def test_the_page_keeps_a_place_for_every_part(part: str) -> None:
    assert part in bench("--help").stdout
    text = PAGE.read_text(encoding="utf-8")
    assert text.count(f"<!-- {part} -->\n") == text.count(f"<!-- /{part} -->") == 1
