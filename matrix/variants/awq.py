"""The shipped model in 4 bits, as AutoAWQ packs it.

https://github.com/casper-hansen/AutoAWQ/blob/main/awq/modules/linear/gemm.py
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from harness.declare import Variant
from matrix.variants import folders, packing, rounding, tensors
from matrix.variants.tensors import Tensors

GROUP: Final = 32
ORDER: Final = (0, 2, 4, 6, 1, 3, 5, 7)
"""The outputs, of eight neighbours, in the order in which a word holds them."""


def fill_awq(model: Path, folder: Path) -> None:
    """Fill a model folder with the weights of the linear layers rounded to 4 bits.

    What was done stands in `quant_config.json`, not in `config.json`, so that an engine has to be
    told (`quantization="awq"`) and cannot find out.
    """
    packing.fill(model, folder, _packed)
    quantization = {"quant_method": "awq", "version": "gemm", "bits": 4, "group_size": GROUP, "zero_point": True}
    folders.write_json(folder / "quant_config.json", quantization)


def _packed(layer: str, weight: tensors.Tensor) -> Tensors:
    rounded = rounding.to_integers(weight, bits=4, group=GROUP, symmetric=False)
    inputs, outputs, groups = rounded.columns, rounded.rows, rounded.columns // GROUP
    words = rounding.packed(_in_order(rounded.transposed()))
    zeros = rounding.packed(_in_order(rounded.by_group(rounded.zeros)))
    return {
        f"{layer}.qweight": tensors.of_words((inputs, outputs // 8), words),
        f"{layer}.qzeros": tensors.of_words((groups, outputs // 8), zeros),
        f"{layer}.scales": tensors.of_halves((groups, outputs), rounded.by_group(rounded.scales)),
    }


def _in_order(codes: list[int]) -> list[int]:
    return [codes[begin + place] for begin in range(0, len(codes), 8) for place in ORDER]


AWQ = Variant("awq", fill_awq, folders.itself)
