"""The JSON types that travel between processes and into results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

JSON: TypeAlias = "bool | int | float | str | Sequence[JSON] | Mapping[str, JSON] | None"
"""A value that `json.dumps` writes and `json.loads` gives back unchanged."""

Settings: TypeAlias = "dict[str, JSON]"
"""Flat view of a config: dotted parameter path to its declared value (None is left out)."""
