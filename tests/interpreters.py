"""The interpreters that tests start."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent


def pytorch() -> Path:
    """The PyTorch backend's interpreter, or where it should be."""
    named = os.environ.get("PARAMATRIX_PYTORCH_PYTHON")
    return Path(named) if named else ROOT / ".venvs" / "pytorch" / "bin" / "python"


def vllm() -> Path:
    """The vLLM backend's interpreter, or where it should be."""
    named = os.environ.get("PARAMATRIX_VLLM_PYTHON")
    return Path(named) if named else ROOT / ".venvs" / "vllm" / "bin" / "python"


def run(python: str, *arguments: str, **environment: str) -> str:
    """What a script prints; a failure of the script is one of the test."""
    done = subprocess.run(
        [python, *arguments],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env=os.environ | {"HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)} | environment,
    )
    assert done.returncode == 0, f"{arguments[0]} failed:\n{done.stderr[-3000:]}"
    return done.stdout


def scenarios(python: Path, backend: str, asked: Mapping[str, Any]) -> dict[str, Any]:
    """What `tests.scenario` tells of scenarios, all run by one process of the backend's interpreter."""
    done = subprocess.run(
        [python, "-m", "tests.scenario", backend],
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env={**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-4000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found
