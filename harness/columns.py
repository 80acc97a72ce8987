"""The columns of the matrix that somebody asks for, and their cells."""

from __future__ import annotations

from harness import plan
from harness.backends import MODULES
from harness.gpus import gpus
from harness.plan import Cell
from harness.project import Project
from harness.session import models


def plan_cells(project: Project, backends: str | None, model: str | None) -> tuple[Cell, ...]:
    """Plan the cells of the backends named (comma-separated), or of all that exist.

    Raises:
        ValueError: an unknown backend.
    """
    names = parse_backends(backends) if backends else list(MODULES)
    seen = dict.fromkeys(names, bool(gpus()))
    return plan.build(project.matrix(), models=models(project, model, seen), backends=names)


def parse_backends(text: str) -> list[str]:
    """Names from a comma-separated list.

    Raises:
        ValueError: an unknown backend, or none.
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise ValueError(f"{text!r} names no backend: expected some of {', '.join(MODULES)}")
    if unknown := [name for name in names if name not in MODULES]:
        raise ValueError(f"unknown backend {', '.join(unknown)}: expected some of {', '.join(MODULES)}")
    return names
