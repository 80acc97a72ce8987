"""What a rule is, and the small vocabulary that predicates are written in."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from harness.config._types import Backend

__all__ = ["Rule", "Values", "disagree", "has", "is_true", "show"]

Values = Mapping[str, Any]
"""Dotted path to value of everything a config declares, with ``backend`` among it."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Rule:
    """One constraint on a config, as data.

    ``parameters`` are the dotted paths it names; ``violated`` its predicate; ``combination``,
    ``expected``, ``reason`` and ``resolution`` short texts for errors and pages. ``witness`` is
    the smallest set of settings that violates it, ``neighbour`` the same after the resolution;
    both may name ``backend``. ``versions`` and ``devices`` say where it holds, if not everywhere.
    """

    id: str
    parameters: tuple[str, ...]
    violated: Callable[[Values], bool]
    combination: str
    expected: str
    reason: str
    resolution: str
    witness: Values
    neighbour: Values
    backends: tuple[Backend, ...] | None = None
    severity: Literal["error", "warning"] = "error"
    versions: str = ""
    devices: str = ""
    detail: Callable[[Values], str] | None = None

    def holds_for(self, backend: str | None) -> bool:
        """Whether the rule speaks about configs for ``backend``."""
        return self.backends is None or backend in self.backends

    def example(self, settings: Values) -> dict[str, Any]:
        """Return the witness or the neighbour, completed with the backend it is for."""
        return {"backend": self.backends[0] if self.backends else "pytorch", **settings}

    def actual(self, values: Values) -> str:
        """Say what ``values`` hold for the parameters."""
        if self.detail is not None:
            return self.detail(values)
        return ", ".join(f"`{path}` is {show(values, path)}" for path in self.parameters)

    def message(self, values: Values) -> str:
        """Say what failed, the actual against the expected, why, and how to mend it."""
        return (
            f"{self.combination}: {self.actual(values)}; expected {self.expected}. "
            f"{self.reason}. To fix: {self.resolution}."
        )


def show(values: Values, path: str) -> str:
    """Return the value at ``path`` (a leaf or a section) as short JSON, or 'not set'."""
    if path in values:
        text = json.dumps(values[path], default=str)
        return text if len(text) <= 80 else text[:77] + "..."
    below = [name for name in values if name.startswith(path + ".")]
    return "set (" + ", ".join(f"`{name}`" for name in below[:3]) + ")" if below else "not set"


def has(path: str) -> Callable[[Values], bool]:
    """Violated when ``path`` is set at all."""
    return lambda values: path in values


def is_true(path: str) -> Callable[[Values], bool]:
    """Violated when ``path`` is true."""
    return lambda values: values.get(path) is True


def disagree(first: str, second: str) -> Callable[[Values], bool]:
    """Violated when both paths are set, to different values."""
    return lambda values: first in values and second in values and values[first] != values[second]
