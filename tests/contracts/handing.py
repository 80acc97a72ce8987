"""Runs handed to adapters in processes of their own."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from harness.plan import Run
from tests.interpreters import ROOT


def forward(backend: str, runs: Iterable[Run], python: str, *places: Path) -> list[dict[str, Any]]:
    """What arrives of each run, all in one process; `places` come first where modules are looked for."""
    asked = [
        {
            "engine": run.engine,
            "request": run.request,
            "model": run.model,
            "prompts": list(run.workload.prompts),
            "max_new_tokens": run.workload.max_new_tokens,
            "seeds": list(run.workload.seeds),
            "instruments": sorted(run.instruments),
        }
        for run in runs
    ]
    done = subprocess.run(
        [python, "-m", f"tests.contracts.forward_{backend}"],
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        cwd=ROOT,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": os.pathsep.join(map(str, [*places, ROOT]))},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found
