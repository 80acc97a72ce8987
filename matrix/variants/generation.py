"""The shipped model with another generation_config.json: defaults that a request can leave to it."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from harness.declare import Variant
from matrix.variants import folders

DEFAULTS: Final = {"do_sample": True, "temperature": 0.5, "top_k": 3, "repetition_penalty": 1.5, "max_new_tokens": 5}
"""What a request gets that states no sampling parameters of its own. The ends of the model are left
alone: vLLM takes them from the file whatever `generation_config` says, so they would prove nothing."""


def fill_generation_config(model: Path, folder: Path) -> None:
    """Fill a model folder whose generation_config.json has `DEFAULTS`."""
    folders.copy(model, folder)
    path = folder / "generation_config.json"
    folders.write_json(path, folders.read_json(path) | DEFAULTS)


GENERATION_CONFIG = Variant("generation-config", fill_generation_config, folders.itself)
