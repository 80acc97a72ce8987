"""The shipped model with its weights in several file formats, and different weights in each.

The answer to a sum tells which file was read: see `ANSWERS`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from harness.declare import Variant
from matrix.variants import digits, folders, tensors, torch_file
from matrix.variants.tensors import Tensor, Tensors

TURNS: Final = {
    "model.safetensors": 0,
    "pytorch_model.bin": 1,
    "model.pt": 2,
    "model-rank-0-part-0.safetensors": 3,
    "consolidated.safetensors": 4,
}
"""File to how far the digits in its weights are turned."""
ANSWERS: Final = {
    "model.safetensors": " 15 .",
    "pytorch_model.bin": " 06 .",
    "model.pt": " 7 .",
    "model-rank-0-part-0.safetensors": " 8 .",
    "consolidated.safetensors": " 9 .",
}
"""File to how its weights answer "7 plus 8 is"."""
FUSED: Final = {
    "qkv_proj": ("q_proj", "k_proj", "v_proj"),
    "gate_up_proj": ("gate_proj", "up_proj"),
}
"""vLLM's layer to the layers that it holds, one below the other."""
SCALES: Final = ("_k_scale", "_v_scale", "_q_scale", "_prob_scale")
"""What vLLM keeps of an attention layer besides its projections; 1 where nothing is quantised."""


def fill_formats(model: Path, folder: Path) -> None:
    """Fill a model folder with the weights as safetensors, .bin, .pt, and vLLM's sharded state.

    An index names the first, so that what reads safetensors does not take the others as well.
    The output layer has weights of its own, because vLLM's names tell it from the embeddings, and
    one file that has them settles the matter for all.
    """
    weights = _begin(model, folder)
    weights[digits.HEAD] = weights[digits.TABLE]
    config = folders.read_json(model / "config.json")
    folders.write_json(folder / "config.json", config | {"tie_word_embeddings": False})
    for name, write in WRITERS.items():
        write(folder / name, _turned(weights, model, name))
    _write_index(folder, weights)


def fill_consolidated(model: Path, folder: Path) -> None:
    """Fill a model folder with the weights in a file of Mistral's name besides the usual one."""
    weights = _begin(model, folder)
    name = "consolidated.safetensors"
    tensors.write(folder / name, _turned(weights, model, name))
    _write_index(folder, weights)


def sharded(weights: Tensors) -> Tensors:
    """The weights by the names of vLLM's own modules, as the only rank of one holds them."""
    left = dict(weights)
    found: Tensors = {}
    for name in weights:
        for fused, (first, *others) in FUSED.items():
            if f".{first}." in name:
                parts = [left.pop(name.replace(first, layer)) for layer in (first, *others)]
                found[name.replace(first, fused)] = _stacked(parts)
        if name.endswith(".self_attn.o_proj.weight"):
            attention = name.removesuffix("o_proj.weight") + "attn."
            found |= {attention + scale: tensors.of_floats((), [1.0]) for scale in SCALES}
    return left | found


def _stacked(parts: list[Tensor]) -> Tensor:
    rows = sum(part.shape[0] for part in parts)
    return Tensor(parts[0].dtype, (rows, *parts[0].shape[1:]), b"".join(part.data for part in parts))


def _write_sharded(path: Path, weights: Tensors) -> None:
    tensors.write(path, sharded(weights))


WRITERS: Final = {
    tensors.WEIGHTS: tensors.write,
    "pytorch_model.bin": torch_file.write,
    "model.pt": torch_file.write,
    "model-rank-0-part-0.safetensors": _write_sharded,
}


def _begin(model: Path, folder: Path) -> Tensors:
    folders.copy(model, folder)
    return tensors.read(model / tensors.WEIGHTS)


def _turned(weights: Tensors, model: Path, file: str) -> Tensors:
    return digits.turned(weights, model, TURNS[file])


def _write_index(folder: Path, weights: Tensors) -> None:
    size = sum(len(tensor.data) for tensor in weights.values())
    names = dict.fromkeys(weights, tensors.WEIGHTS)
    folders.write_json(
        folder / f"{tensors.WEIGHTS}.index.json", {"metadata": {"total_size": size}, "weight_map": names}
    )


FORMATS = Variant("formats", fill_formats, folders.itself)
CONSOLIDATED = Variant("consolidated", fill_consolidated, folders.itself)
