"""Where a project keeps its declarations, templates, reports and environments."""

from __future__ import annotations

import importlib
import math
import os
import re
import shlex
import sys
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from harness.backends import MODULES
from harness.declare import Matrix
from harness.energy.schedule import Schedule
from harness.host import Limits
from harness.launcher import Launcher

LAUNCHER = "PARAMATRIX_LAUNCHER_"
"""And a backend's name in capitals: the environment variable with the command that starts its host."""
_VERSION = re.compile(r"[0-9A-Za-z][0-9A-Za-z.+]*")
"""Nothing that would lead out of a folder."""


class ProjectError(RuntimeError):
    """The project cannot be used as it is; one line that says what to mend."""


@dataclass(frozen=True, slots=True)
class Project:
    """The `[tool.paramatrix]` table of a project's pyproject.toml, with its defaults."""

    root: Path
    declarations: str
    templates: Path
    reports: Path
    expectations: Path
    """The folder of accepted verdicts."""
    environments: Path
    requirements: Path
    cache: Path
    launchers: dict[str, tuple[str, ...]]
    limits: Limits
    cases: str
    """The test file whose `test_cell` is parametrised with the cells, from the root."""
    schedule: Schedule = field(default_factory=Schedule)
    """How energy is measured."""
    versions: Mapping[str, str] = field(default_factory=dict)
    """Backends asked for in a version other than the default one; see `at`."""

    @property
    def results(self) -> Path:
        """The results file of the project."""
        return self.reports / "results.jsonl"

    def at(self, versions: Mapping[str, str]) -> Project:
        """The same project with some backends in another version.

        Such a version has an environment, requirements, a launcher and reports of its own, all called
        `<backend>-<version>`: nothing of the default version's is used, measured or overwritten.

        Raises:
            ProjectError: there is no such version.
        """
        if not versions:
            return self
        for backend, version in versions.items():
            if version not in (there := self._versions(backend)):
                raise ProjectError(
                    f"no version {version} of {backend}: there {'is' if len(there) == 1 else 'are'} "
                    f"{', '.join(there) or 'none'} besides the default one. {self._how_to_add(backend, version)}"
                )
        own = "+".join(f"{backend}-{version}" for backend, version in sorted(versions.items()))
        return replace(self, versions=dict(versions), reports=self.reports / own)

    def _versions(self, backend: str) -> list[str]:
        folders = [path.name for path in self.requirements.glob(f"{backend}-*") if path.is_dir()]
        named = [*folders, *(name for name in self.launchers if name.startswith(f"{backend}-"))]
        return sorted({name.removeprefix(f"{backend}-") for name in named})

    def _how_to_add(self, backend: str, version: str) -> str:
        script = self.root / "scripts" / f"pin_{backend}.py"
        folder = _shown(self.requirements / f"{backend}-{version}", self.root)
        if script.is_file():
            return f"`.venv/bin/python {_shown(script, self.root)} {version}` adds {folder}."
        return f"Add the folder {folder} with pinned requirement files."

    def named(self, backend: str) -> str:
        """What a backend's environment and requirements are called: `vllm`, or `vllm-0.31.0`."""
        version = self.versions.get(backend)
        return f"{backend}-{version}" if version else backend

    def environment(self, backend: str) -> Path:
        """The folder of its virtual environment."""
        return self.environments / self.named(backend)

    def requirement_folder(self, backend: str) -> Path:
        """The folder of its requirement files."""
        return self.requirements / self.named(backend)

    def configured(self, backend: str) -> tuple[str, ...] | None:
        """The command that was configured to start `backend`'s host, by its environment variable or in the table.

        Raises:
            ProjectError: the variable holds no command.
        """
        name = self.named(backend)
        variable = LAUNCHER + re.sub(r"[^A-Z0-9]", "_", name.upper())
        if (text := os.environ.get(variable)) is None:
            return self.launchers.get(name)
        try:
            words = shlex.split(text)
        except ValueError as error:
            raise ProjectError(f"{variable}={text!r} is no command: {error}") from None
        if not words:
            raise ProjectError(f"{variable} is empty: expected a command like docker/launch IMAGE, or unset it")
        return tuple(words)

    def launcher(self, backend: str) -> Launcher:
        """How to start `backend`'s host: the configured command, or its environment's interpreter.

        A command with a slash in it is meant from the project's root.
        """
        command = self.configured(backend) or (str(self.environment(backend) / "bin" / "python"),)
        program = str(self.root / command[0]) if "/" in command[0] else command[0]
        return Launcher((program, *command[1:]), version=self.versions.get(backend))

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


def parse_versions(asked: Iterable[str]) -> dict[str, str]:
    """{"vllm": "0.31.0"} from "vllm=0.31.0".

    Raises:
        ProjectError: not of this form, an unknown backend, or one backend in two versions.
    """
    found: dict[str, str] = {}
    for text in asked:
        backend, _, version = text.partition("=")
        if backend not in MODULES or not _VERSION.fullmatch(version):
            raise ProjectError(
                f"version {text!r}: expected BACKEND=VERSION, like pytorch=1.2.3, of {', '.join(MODULES)}"
            )
        if found.setdefault(backend, version) != version:
            raise ProjectError(
                f"{backend} in two versions, {found[backend]} and {version}: measure one after the other"
            )
    return found


def _shown(path: Path, root: Path) -> Path:
    return path.relative_to(root) if path.is_relative_to(root) else path


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
        "expectations",
        "environments",
        "requirements",
        "cache",
        "launchers",
        "limits",
        "energy",
    }
    if unknown := sorted(set(table) - known):
        raise ProjectError(
            f"[tool.paramatrix] has unknown keys {', '.join(unknown)}: expected some of {', '.join(sorted(known))}"
        )

    def folder(key: str, default: str) -> Path:
        return root / str(table.get(key, default))

    launchers = table.get("launchers", {})
    limits = table.get("limits", {})
    energy = table.get("energy", {})
    if not isinstance(launchers, dict) or not isinstance(limits, dict) or not isinstance(energy, dict):
        raise ProjectError("[tool.paramatrix] launchers, limits and energy should be tables")
    declarations = str(table.get("declarations", "matrix"))
    return Project(
        root=root,
        declarations=declarations,
        templates=folder("templates", "templates"),
        reports=folder("reports", "reports"),
        expectations=folder("expectations", f"{declarations.replace('.', '/')}/expectations"),
        environments=folder("environments", ".venvs"),
        requirements=folder("requirements", "requirements"),
        cache=folder("cache", ".cache"),
        launchers=_launchers(launchers),
        limits=_limits(limits),
        schedule=schedule(energy),
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


def schedule(table: Mapping[str, object], known: Schedule | None = None) -> Schedule:
    """The schedule with some of its values (those of `known`, or the defaults) replaced.

    Raises:
        ProjectError: a value has another name or kind, or means nothing.
    """
    counts = ("repeats", "retries")
    stated: dict[str, Any] = dict(table)
    for key, value in stated.items():
        whole = isinstance(value, int) and not isinstance(value, bool)
        number = whole or (key not in counts and isinstance(value, float) and math.isfinite(value))
        if key not in Schedule.__dataclass_fields__ or not number:
            raise ProjectError(
                f"[tool.paramatrix.energy] {key} = {value!r}: expected finite numbers for some of "
                f"{', '.join(Schedule.__dataclass_fields__)}"
            )
    try:
        return replace(known or Schedule(), **stated)
    except ValueError as error:
        raise ProjectError(f"energy: {error}") from None


def _limits(table: dict[str, object]) -> Limits:
    known = sorted(Limits.__dataclass_fields__)
    for key, value in table.items():
        if key not in known or not isinstance(value, (int, float)) or value <= 0:
            raise ProjectError(
                f"[tool.paramatrix.limits] {key} = {value!r}: expected seconds above 0 for one of {', '.join(known)}"
            )
    return Limits(**{key: float(str(value)) for key, value in table.items()})
