"""Models derived from the shipped one, one module an idea.

Standard library only, so that no backend is needed to build them.
"""

from __future__ import annotations

from matrix.variants.adapters import ADAPTERS
from matrix.variants.draft import DRAFT
from matrix.variants.generation import GENERATION_CONFIG
from matrix.variants.hub import HUB, REPO
from matrix.variants.remote_code import REMOTE_CODE
from matrix.variants.sliding import HALF_SLIDING, SLIDING, WINDOW

__all__ = [
    "ADAPTERS",
    "DRAFT",
    "GENERATION_CONFIG",
    "HALF_SLIDING",
    "HUB",
    "REMOTE_CODE",
    "REPO",
    "SLIDING",
    "WINDOW",
]
