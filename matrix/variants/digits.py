"""Weights that tell which file they came from: they answer sums with other digits."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Final

from matrix.variants import folders
from matrix.variants.tensors import Tensor, Tensors

TABLE: Final = "model.embed_tokens.weight"
"""The embeddings; the output layer too, unless that has weights of its own."""
HEAD: Final = "lm_head.weight"


def turned(weights: Tensors, model: Path, by: int) -> Tensors:
    """The weights with the embedding row of digit d taken from digit d + `by` (after 9 comes 0).

    The model then reads every digit as another, and writes the answer in the same code: turned by
    one it takes 7 for 8 and writes 7 for 8, and answers "7 plus 8 is" with "06 ." (8 + 9 = 17).
    """
    vocabulary = folders.read_json(model / "tokenizer.json")["model"]["vocab"]
    codes = [vocabulary[str(digit)] for digit in range(10)]
    return weights | {name: _turned(weights[name], codes, by) for name in (TABLE, HEAD) if name in weights}


def _turned(table: Tensor, codes: list[int], by: int) -> Tensor:
    width = len(table.data) // table.shape[0]
    data = bytearray(table.data)
    for digit, code in enumerate(codes):
        source = width * codes[(digit + by) % 10]
        data[width * code : width * (code + 1)] = table.data[source : source + width]
    return replace(table, data=bytes(data))
