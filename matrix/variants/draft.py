"""The shipped model with a draft model beside its weights, for speculative decoding."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from harness.declare import Variant
from matrix.variants import folders, tensors

FOLDER: Final = "draft"
DISTURBANCE: Final = 0.6
"""Noise on the draft's weights, as a multiple of their spread: enough that it is wrong at times."""


def fill_draft(model: Path, folder: Path) -> None:
    """Fill a model folder with a sub-folder `draft`: the same model with noise on its linear layers.

    It guesses what the model says most of the time, and not always, so that some of its drafts
    are accepted and some rejected.
    """
    folders.copy(model, folder)
    folders.copy(model, folder / FOLDER)
    weights = tensors.read(model / tensors.WEIGHTS)
    for name, weight in weights.items():
        if name.endswith("_proj.weight"):
            numbers = weight.floats()
            spread = (sum(number * number for number in numbers) / len(numbers)) ** 0.5
            noise = tensors.noise(weight.shape, DISTURBANCE * spread, name).floats()
            weights[name] = tensors.of_floats(weight.shape, map(float.__add__, numbers, noise))
    tensors.write(folder / FOLDER / tensors.WEIGHTS, weights)


DRAFT = Variant("draft", fill_draft, folders.itself)
