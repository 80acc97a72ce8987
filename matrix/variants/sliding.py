"""Models whose layers attend to the last few tokens only."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from harness.declare import Variant
from matrix.variants import folders

WINDOW: Final = 32
"""Tokens that a sliding layer attends to."""


def fill_sliding(model: Path, folder: Path) -> None:
    """Fill a model folder in which every layer attends to the last `WINDOW` tokens only."""
    _fill(model, folder, folders.read_json(model / "config.json")["num_hidden_layers"])


def fill_half_sliding(model: Path, folder: Path) -> None:
    """Fill a model folder whose first two layers slide and whose others see everything."""
    _fill(model, folder, 2)


def _fill(model: Path, folder: Path, layers: int) -> None:
    folders.copy(model, folder)
    config = folders.read_json(model / "config.json")
    count = config["num_hidden_layers"]
    kinds = ["sliding_attention"] * layers + ["full_attention"] * (count - layers)
    config |= {"use_sliding_window": True, "sliding_window": WINDOW, "layer_types": kinds, "max_window_layers": 0}
    folders.write_json(folder / "config.json", config)


SLIDING = Variant("sliding", fill_sliding, folders.itself)
HALF_SLIDING = Variant("half-sliding", fill_half_sliding, folders.itself)
