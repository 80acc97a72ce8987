"""Projects that tests make: a pyproject.toml, declarations, a test file, nothing else."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import harness
from harness.store import Results, read
from tests.toys import TOY_HOST

ROOT = Path(harness.__file__).parent.parent
CASES = """
def test_cell(cell, judge_cell):
    judge_cell(cell)
"""
TOY = (sys.executable, str(TOY_HOST))


def make(folder: Path, launcher: Sequence[str] = TOY, matrix: str = "declared_toy.MATRIX") -> Path:
    """A project in `folder` that declares `tests.<matrix>` and reaches its backend through `launcher`."""
    module, _, name = matrix.rpartition(".")
    folder.mkdir(exist_ok=True)
    (folder / "pyproject.toml").write_text(
        f"""
[tool.paramatrix]
declarations = "declarations"
cases = "test_cells.py"
templates = {json.dumps(str(ROOT / "templates"))}

[tool.paramatrix.launchers]
pytorch = {json.dumps(list(launcher))}

[tool.paramatrix.limits]
start_s = 300
load_s = 120
generate_s = 120

[tool.pytest.ini_options]
addopts = ["-p", "harness.plugin"]
filterwarnings = ["error"]
"""
    )
    (folder / "declarations.py").write_text(f"from tests.{module} import {name} as MATRIX\n")
    (folder / "test_cells.py").write_text(CASES)
    return folder


def environment(**more: str) -> dict[str, str]:
    """What a project's commands see: this checkout, and no network."""
    own = {"PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "COLUMNS": "200", "NO_COLOR": "1"}
    return {**os.environ, **own, **more}


def start(folder: Path, *arguments: str, python: str = sys.executable, **more: str) -> subprocess.Popen[str]:
    """`python -m …` in a project, in a process group of its own."""
    return subprocess.Popen(
        [python, "-m", *arguments],
        cwd=folder,
        env=environment(**more),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=_hears_interrupts,  # noqa: PLW1509 - no thread of the tests holds a lock here
    )


def _hears_interrupts() -> None:
    """A suite that runs in the background ignores SIGINT, and what it starts would inherit that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def paramatrix(folder: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    """What the command does in a project."""
    process = start(folder, "harness.cli", *arguments, **more)
    out, err = process.communicate(timeout=300)
    return subprocess.CompletedProcess(arguments, process.returncode, out, err)


def results(folder: Path) -> Results:
    """The project's results."""
    return read(folder / "reports" / "results.jsonl")
