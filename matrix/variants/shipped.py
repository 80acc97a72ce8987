"""The shipped model itself, for values that only make sense with it: token ids, words of its answers."""

from __future__ import annotations

from harness.declare import Variant
from matrix.variants import folders

SHIPPED = Variant("shipped", folders.copy, folders.itself)
