"""The language in which limits are declared: capabilities, known limitations, runnable examples.

All of it yields to measurement: a page shows a declaration only where no cell was measured.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Stated:
    """What a backend is said to be able to do, where nothing was measured."""

    able: bool
    note: str = ""


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

    @property
    def parameter(self) -> str:
        """As the page shows it: `a.b=x/y`."""
        name, _, first = self.rows[0].partition("=")
        return "/".join([f"{name}={first}", *(row.partition("=")[2] for row in self.rows[1:])])

    @property
    def cells(self) -> tuple[str, ...]:
        """Ids of the cells that it is about."""
        return tuple(f"{self.backend}-{row}" for row in self.rows)
