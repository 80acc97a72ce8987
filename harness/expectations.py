"""The verdicts last accepted in each environment: what a run is held against."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from packaging.specifiers import SpecifierSet
from packaging.version import InvalidVersion, Version

from harness.records import BackendInfo, CellRecord
from harness.verdict import Cause


class ExpectationsError(RuntimeError):
    """Expectations that cannot be used, or not be made; one line with the mend."""


@dataclass(frozen=True, slots=True)
class Environment:
    """What a verdict depends on besides its cell: the column's packages, the kind of device, the model."""

    backend: str
    packages: tuple[tuple[str, str], ...]
    """Installed distributions with their versions."""
    device: str
    model: str

    @classmethod
    def of(cls, backend: str, info: BackendInfo) -> Environment | None:
        """The environment of a run's column; None where its interpreter could not be asked."""
        packages = tuple((name, version) for name, version in info.packages.items() if version)
        return cls(backend, packages, info.device_class, info.model) if packages else None

    def __str__(self) -> str:
        packages = ", ".join(f"{name} {version}" for name, version in self.packages)
        return f"{self.backend}, {packages}, on {self.device}, model {self.model}"


@dataclass(frozen=True, slots=True)
class Accepted:
    """How a cell may end."""

    causes: tuple[Cause, ...]
    """One; several where the cell varies by nature."""
    saw: str
    """In one line, the evidence of the run that it was accepted from."""
    reason: str = ""
    """Why that is accepted, in the words of who accepted it."""
    upstream: str = ""
    """Link to an upstream issue."""

    def __str__(self) -> str:
        return " or ".join(shown(cause) for cause in self.causes)


def shown(cause: Cause) -> str:
    """A verdict in a word: `❌ ignored`."""
    return f"{cause.outcome.symbol} {cause.value}"


@dataclass(frozen=True, slots=True)
class Expectations:
    """An environment, or a range of them, and what was accepted of each of its cells."""

    path: Path
    backend: str
    versions: Mapping[str, str]
    """Distribution to the range of its versions, in the words of requirement files."""
    device: str
    model: str
    rows: Mapping[str, Accepted]

    def hold_for(self, environment: Environment) -> bool:
        """Whether the environment is in the range."""
        same = (self.backend, self.device, self.model) == (environment.backend, environment.device, environment.model)
        there = dict(environment.packages)
        return same and all(_within(there.get(name), asked) for name, asked in self.versions.items())

    def changed(self, record: CellRecord) -> Accepted | None:
        """What was accepted of a cell, where it now ended in another way."""
        accepted = self.rows.get(record.row)
        return accepted if accepted and record.cause not in accepted.causes else None

    def unplanned(self, rows: Collection[str]) -> list[str]:
        """Accepted rows that are none of `rows`."""
        return [row for row in self.rows if row not in rows]


def _within(version: str | None, asked: str) -> bool:
    try:
        return version is not None and SpecifierSet(asked).contains(version, prereleases=True)
    except InvalidVersion:
        return False


def find(known: Iterable[Expectations], environment: Environment | None) -> Expectations | None:
    """The expectations of an environment, if there are any.

    Raises:
        ExpectationsError: several files hold for it.
    """
    found = [one for one in known if environment is not None and one.hold_for(environment)]
    if len(found) > 1:
        names = " and ".join(str(one.path) for one in found)
        raise ExpectationsError(f"{names} all hold for {environment}; expected one: narrow their versions")
    return found[0] if found else None


def first(folder: Path, environment: Environment, libraries: Mapping[str, Iterable[str]]) -> Expectations:
    """Nothing accepted yet, for an environment and the patch releases of its libraries.

    Args:
        folder: where the file will lie.
        environment: what was measured.
        libraries: those under test, each with the distributions that may bring it.

    Raises:
        ExpectationsError: the file is there, for another environment.
    """
    there = {name: ".".join(map(str, Version(version).release[:2])) for name, version in environment.packages}
    brought = {name: by for name, names in libraries.items() for by in names if by in there}
    brought = brought or {name: name for name in there}
    parts = [there[by] if name == environment.backend else f"{name}-{there[by]}" for name, by in brought.items()]
    words = "-".join([environment.backend, *parts, environment.device, environment.model.rpartition("/")[2]])
    path = folder / f"{re.sub(r'[^A-Za-z0-9_.+-]+', '-', words)}.yaml"
    if path.exists():
        raise ExpectationsError(f"{path} is there, and not for {environment}: give that file another name")
    versions = {by: f"=={there[by]}.*" for by in brought.values()}
    return Expectations(path, environment.backend, versions, environment.device, environment.model, {})
