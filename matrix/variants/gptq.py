"""The shipped model in 4 bits, as GPTQ checkpoints pack it.

https://github.com/ModelCloud/GPTQModel/blob/main/gptqmodel/nn_modules/qlinear/__init__.py
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from harness.declare import Variant
from matrix.variants import folders, packing, rounding, tensors
from matrix.variants.tensors import Tensor, Tensors

GROUP: Final = 32


def fill_gptq(model: Path, folder: Path) -> None:
    """Fill a model folder with the weights of the linear layers rounded to 4 bits.

    To the nearest, where GPTQ itself would make up for the error of one weight with the next:
    the layout is what matters here. What was done stands in `quantize_config.json`, not in
    `config.json`, so that an engine has to be told (`quantization="gptq"`) and cannot find out.
    """
    packing.fill(model, folder, _packed)
    quantization = {
        "quant_method": "gptq",
        "checkpoint_format": "gptq",
        "bits": 4,
        "group_size": GROUP,
        "sym": True,
        "desc_act": False,
        "lm_head": False,
    }
    folders.write_json(folder / "quantize_config.json", quantization)


def _packed(layer: str, weight: Tensor) -> Tensors:
    rounded = rounding.to_integers(weight, bits=4, group=GROUP, symmetric=True)
    inputs, outputs, groups = rounded.columns, rounded.rows, rounded.columns // GROUP
    codes = rounded.transposed()
    # A word holds eight neighbouring inputs of one output.
    by_word = (
        codes[(begin + place) * outputs + output]
        for begin in range(0, inputs, 8)
        for output in range(outputs)
        for place in range(8)
    )
    # The format stores a zero less one.
    zeros = rounding.packed(zero - 1 for zero in rounded.by_group(rounded.zeros))
    return {
        f"{layer}.qweight": tensors.of_words((inputs // 8, outputs), rounding.packed(by_word)),
        f"{layer}.qzeros": tensors.of_words((groups, outputs // 8), zeros),
        f"{layer}.scales": tensors.of_halves((groups, outputs), rounded.by_group(rounded.scales)),
        f"{layer}.g_idx": tensors.of_words((inputs,), (place // GROUP for place in range(inputs))),
    }


GPTQ = Variant("gptq", fill_gptq, folders.itself)
