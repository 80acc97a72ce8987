"""Where hub ids are resolved."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.backends.base import Calls


def use_cache(folder: str, calls: Calls) -> None:
    """Resolve hub ids in this cache alone, also by libraries that were imported before."""
    from huggingface_hub import constants

    calls.environment(HF_HUB_CACHE=folder, HF_HUB_OFFLINE="1")
    constants.HF_HUB_CACHE, constants.HF_HUB_OFFLINE = folder, True
