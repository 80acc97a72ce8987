"""The language in which limits are declared: capabilities, known limitations, recommendations.

All of it yields to measurement: a page shows a declaration only where no cell was measured.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, slots=True)
class Stated:
    """What upstream says of a backend: shown where nothing was measured."""

    able: bool
    source: str
    """Where upstream says so: a page of its documentation, or a name of its interface."""
    note: str = ""
    """By which other way it comes, or under which condition. A footnote, whether measured or not."""


@dataclass(frozen=True, slots=True)
class Capability:
    """A feature, and the cells of the matrix that show whether a backend has it."""

    name: str
    rows: tuple[str, ...]
    """Rows of the matrix (`parameter=value`) that show it, on whichever backend has them."""
    stated: Mapping[str, Stated]
    """Backend to what is said of it."""
    own_rows: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Backend to rows that show it there, instead of `rows`."""

    def cells(self, backend: str) -> tuple[str, ...]:
        """Ids of the cells that show the feature on a backend."""
        return tuple(f"{backend}-{row}" for row in self.own_rows.get(backend, self.rows))


@dataclass(frozen=True, slots=True)
class Limitation:
    """Something that validation accepts and a machine, a model or a package may lack."""

    backend: str
    rows: tuple[str, ...]
    """Rows of the matrix (`parameter=value`) that it is about."""
    limitation: str
    resolution: str
    given: str = ""
    """What the cells were given, where the matrix itself provides what is asked for."""

    @property
    def parameter(self) -> str:
        """As the page shows it: `a.b=x/y`."""
        name, _, first = self.rows[0].partition("=")
        return "/".join([f"{name}={first}", *(row.partition("=")[2] for row in self.rows[1:])])

    @property
    def cells(self) -> tuple[str, ...]:
        """Ids of the cells that it is about."""
        return tuple(f"{self.backend}-{row}" for row in self.rows)


@dataclass(frozen=True, slots=True)
class UseCase:
    """What a backend is wanted for, and which one is recommended where nothing decides it by numbers."""

    name: str
    backend: str | None
    """Recommended where no figures were measured (None: nothing is recommended without them)."""
    reason: str
    rests_on: tuple[str, ...] = ()
    """Names of the capabilities that the reason names."""
    figure: str | None = None
    """Name of the measured figure that decides it: the backend that is best by it is recommended."""
    better: Literal["higher", "lower"] = "higher"
    rows: Mapping[str, str] = field(default_factory=dict)
    """Backend to the row of the matrix whose cell's figure stands for it."""

    @property
    def cells(self) -> dict[str, str]:
        """Backend to the id of the cell whose figure stands for it."""
        return {backend: f"{backend}-{row}" for backend, row in self.rows.items()}
