"""Where a project keeps its declarations, templates, reports and environments."""

from __future__ import annotations

import importlib
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

from harness.backends import MODULES
from harness.declare import Matrix
from harness.host import Launcher, Limits


class ProjectError(RuntimeError):
    """The project cannot be used as it is; one line that says what to mend."""


@dataclass(frozen=True, slots=True)
class Project:
    """The `[tool.paramatrix]` table of a project's pyproject.toml, with its defaults."""

    root: Path
    declarations: str
    templates: Path
    reports: Path
    environments: Path
    requirements: Path
    cache: Path
    launchers: dict[str, tuple[str, ...]]
    limits: Limits
    cases: str
    """The test file whose `test_cell` is parametrised with the cells, from the root."""

    @property
    def results(self) -> Path:
        """The results file of the project."""
        return self.reports / "results.jsonl"

    def launcher(self, backend: str) -> Launcher:
        """How to start `backend`'s host: the configured command, or its environment's interpreter."""
        default = (str(self.environments / backend / "bin" / "python"),)
        return Launcher(command=self.launchers.get(backend, default))

    def installed(self) -> list[str]:
        """Backends whose interpreter exists."""
        return [name for name in MODULES if self.launcher(name).missing() is None]

    def matrix(self) -> Matrix:
        """Import the declarations.

        Raises:
            ProjectError: the module is missing or has no `MATRIX`.
        """
        if str(self.root) not in sys.path:
            sys.path.insert(0, str(self.root))
        try:
            matrix = getattr(importlib.import_module(self.declarations), "MATRIX", None)
        except ModuleNotFoundError as error:
            raise ProjectError(f"cannot import the declarations {self.declarations!r}: {error}") from error
        if not isinstance(matrix, Matrix):
            raise ProjectError(f"{self.declarations}.MATRIX should be a harness.declare.Matrix, got {matrix!r}")
        return matrix


def find(start: Path | None = None) -> Project:
    """The project that `start` (default: the working folder) lies in.

    Raises:
        ProjectError: no pyproject.toml with a `[tool.paramatrix]` table above it.
    """
    here = (start or Path.cwd()).resolve()
    for folder in (here, *here.parents):
        file = folder / "pyproject.toml"
        if not file.is_file():
            continue
        try:
            table = tomllib.loads(file.read_text(encoding="utf-8")).get("tool", {}).get("paramatrix")
        except ValueError as error:
            raise ProjectError(f"{file} cannot be read: {error}") from error
        if table is not None:
            return _project(folder, table)
    raise ProjectError(
        f"no pyproject.toml with a [tool.paramatrix] table in {here} or above it: run this inside a checkout"
    )


def _project(root: Path, table: dict[str, object]) -> Project:
    known = {
        "cases",
        "declarations",
        "templates",
        "reports",
        "environments",
        "requirements",
        "cache",
        "launchers",
        "limits",
    }
    if unknown := sorted(set(table) - known):
        raise ProjectError(
            f"[tool.paramatrix] has unknown keys {', '.join(unknown)}: expected some of {', '.join(sorted(known))}"
        )

    def folder(key: str, default: str) -> Path:
        return root / str(table.get(key, default))

    launchers = table.get("launchers", {})
    limits = table.get("limits", {})
    if not isinstance(launchers, dict) or not isinstance(limits, dict):
        raise ProjectError("[tool.paramatrix] launchers and limits should be tables")
    declarations = str(table.get("declarations", "matrix"))
    return Project(
        root=root,
        declarations=declarations,
        templates=folder("templates", "templates"),
        reports=folder("reports", "reports"),
        environments=folder("environments", ".venvs"),
        requirements=folder("requirements", "requirements"),
        cache=folder("cache", ".cache"),
        launchers=_launchers(launchers),
        limits=_limits(limits),
        cases=str(table.get("cases", f"{declarations.replace('.', '/')}/test_matrix.py")),
    )


def _launchers(table: dict[str, object]) -> dict[str, tuple[str, ...]]:
    for name, command in table.items():
        if not isinstance(command, list) or not command or not all(isinstance(part, str) for part in command):
            raise ProjectError(
                f"[tool.paramatrix.launchers] {name} = {command!r}: "
                'expected a list of words, like ["docker", "run", "-i", "image", "python"]'
            )
    return {name: tuple(command) for name, command in table.items() if isinstance(command, list)}


def _limits(table: dict[str, object]) -> Limits:
    known = sorted(Limits.__dataclass_fields__)
    for key, value in table.items():
        if key not in known or not isinstance(value, (int, float)) or value <= 0:
            raise ProjectError(
                f"[tool.paramatrix.limits] {key} = {value!r}: expected seconds above 0 for one of {', '.join(known)}"
            )
    return Limits(**{key: float(str(value)) for key, value in table.items()})
