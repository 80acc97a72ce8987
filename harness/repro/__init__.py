"""Reproductions: a cell's record as a standalone script that uses the upstream library alone."""

from harness.repro.script import script
from harness.repro.shapes import NotReproducible

__all__ = ["NotReproducible", "script"]
