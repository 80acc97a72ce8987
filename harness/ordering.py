"""The order of names on pages and in files."""

from __future__ import annotations

import re


def natural(name: str) -> tuple[list[tuple[int, float, str]], str]:
    """Sort key: as text, but numbers by their value."""
    parts = re.split(r"(-?\d+(?:\.\d+)?)", name)
    # the name itself decides between 0.5 and 0.50
    return [(0, float(part), "") if index % 2 else (1, 0.0, part) for index, part in enumerate(parts)], name
