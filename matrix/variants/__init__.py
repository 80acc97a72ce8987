"""Models derived from the shipped one, one module an idea.

Standard library only, so that no backend is needed to build them.
"""

from __future__ import annotations

from matrix.variants.adapters import ADAPTERS
from matrix.variants.awq import AWQ
from matrix.variants.calibration import CALIBRATION
from matrix.variants.compressed import FLOAT8, W4A16, W8A8
from matrix.variants.draft import DRAFT
from matrix.variants.generation import GENERATION_CONFIG
from matrix.variants.gptq import GPTQ
from matrix.variants.hub import HUB, REPO
from matrix.variants.remote_code import REMOTE_CODE, REMOTE_CONFIG
from matrix.variants.shipped import SHIPPED
from matrix.variants.sliding import HALF_SLIDING, SLIDING, WINDOW
from matrix.variants.weights import CONSOLIDATED, FORMATS

__all__ = [
    "ADAPTERS",
    "AWQ",
    "CALIBRATION",
    "CONSOLIDATED",
    "DRAFT",
    "FLOAT8",
    "FORMATS",
    "GENERATION_CONFIG",
    "GPTQ",
    "HALF_SLIDING",
    "HUB",
    "REMOTE_CODE",
    "REMOTE_CONFIG",
    "REPO",
    "SHIPPED",
    "SLIDING",
    "W4A16",
    "W8A8",
    "WINDOW",
]
