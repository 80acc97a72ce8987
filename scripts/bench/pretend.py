"""Projects whose backends are simulated ones."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from tests import projects

HOST: Final = Path(__file__).with_name("simulated_host.py")


def make(folder: Path, matrix: str, backends: Iterable[str], module: str) -> Path:
    """A project in `folder`.

    Args:
        folder: is made.
        matrix: the name of its declarations in `bench.simulated`.
        backends: the columns that have a host.
        module: the simulated backend that each of them is.
    """
    project = projects.make(folder)
    file = project / "pyproject.toml"
    toy = next(line for line in file.read_text().splitlines() if line.startswith("pytorch = "))
    launcher = json.dumps([sys.executable, str(HOST), module])
    file.write_text(file.read_text().replace(toy, "\n".join(f"{name} = {launcher}" for name in backends)))
    (project / "declarations.py").write_text(f"from bench.simulated import {matrix} as MATRIX\n")
    return project
