"""One package a backend. `create` imports only the one that is asked for."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from harness.backends.base import Backend

MODULES = {
    "pytorch": "harness.backends.pytorch",
    "vllm": "harness.backends.vllm",
    "tensorrt": "harness.backends.tensorrt",
}
"""Backend name to the module whose `create()` makes it."""


def create(name: str) -> Backend:
    """The backend called `name`.

    Raises:
        ValueError: no such backend.
    """
    if name not in MODULES:
        raise ValueError(f"unknown backend {name!r}: expected one of {', '.join(sorted(MODULES))}")
    return cast("Backend", import_module(MODULES[name]).create())
