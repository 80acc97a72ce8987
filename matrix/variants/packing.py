"""Model folders whose linear layers are packed into fewer bits, with the plain weights beside them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from matrix.variants import folders, tensors, torch_file
from matrix.variants.tensors import Tensor, Tensors

Pack = Callable[[str, Tensor], Tensors]
"""`pack(layer, weight)`: the tensors that stand for a layer's weight."""

PLAIN: Final = "plain.pt"
"""The shipped weights, which only `load_format="pt"` reads: what a control runs on."""


def fill(model: Path, folder: Path, pack: Pack) -> None:
    """Fill a model folder with the weights of all projections packed. Its config is left as it was."""
    folders.copy(model, folder)
    weights = tensors.read(model / tensors.WEIGHTS)
    torch_file.write(folder / PLAIN, weights)
    for name in [name for name in weights if name.endswith("_proj.weight")]:
        weights |= pack(name.removesuffix(".weight"), weights.pop(name))
    tensors.write(folder / tensors.WEIGHTS, weights)
