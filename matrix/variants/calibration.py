"""The shipped model with texts beside its weights that quantisation can be calibrated on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from harness.declare import Variant
from matrix import grammar
from matrix.variants import folders

FOLDER: Final = "texts"
COUNT: Final = 32
"""Texts of each part."""


def fill_calibration(model: Path, folder: Path) -> None:
    """Fill a model folder with a sub-folder of texts, as data sets of the hub are laid out: a line for each."""
    folders.copy(model, folder)
    (folder / FOLDER).mkdir()
    for seed, part in enumerate(("train", "validation")):
        texts = (text.removesuffix(grammar.EOS) for text in grammar.documents(seed, COUNT))
        folders.write(folder / FOLDER / f"{part}.jsonl", "".join(json.dumps({"text": text}) + "\n" for text in texts))


CALIBRATION = Variant("calibration", fill_calibration, folders.itself)
