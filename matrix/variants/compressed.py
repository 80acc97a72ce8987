"""The shipped model in the formats of compressed-tensors: 4-bit and 8-bit integers, 8-bit floats.

https://github.com/vllm-project/compressed-tensors
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Final

from harness.declare import Variant
from matrix.variants import folders, packing, rounding, tensors
from matrix.variants.tensors import Tensor, Tensors

GROUP: Final = 32


def w4a16(layer: str, weight: Tensor) -> Tensors:
    """4-bit integers in groups, eight inputs a word; activations as they are."""
    rounded = rounding.to_integers(weight, bits=4, group=GROUP, symmetric=True)
    rows, columns = weight.shape
    return {
        f"{layer}.weight_packed": tensors.of_words((rows, columns // 8), rounding.packed(rounded.codes)),
        f"{layer}.weight_scale": tensors.of_halves((rows, columns // GROUP), rounded.scales),
        f"{layer}.weight_shape": tensors.of_longs((2,), weight.shape),
    }


def w8a8(layer: str, weight: Tensor) -> Tensors:
    """8-bit integers with a scale for each output."""
    rounded = rounding.to_integers(weight, bits=8, group=weight.shape[1], symmetric=True)
    return {
        # Signed numbers in two's complement: 128 is the zero of the codes.
        f"{layer}.weight": tensors.of_bytes("I8", weight.shape, (code ^ 0x80 for code in rounded.codes)),
        f"{layer}.weight_scale": tensors.of_floats((weight.shape[0], 1), rounded.scales),
    }


def float8(layer: str, weight: Tensor) -> Tensors:
    """8-bit floats with a scale for each output."""
    rows, columns = weight.shape
    numbers = weight.floats()
    codes, scales = bytearray(), []
    for begin in range(0, len(numbers), columns):
        row = numbers[begin : begin + columns]
        scales.append(max(map(abs, row)) / rounding.LARGEST_FLOAT8)
        codes.extend(rounding.to_float8(row, scales[-1]))
    return {
        f"{layer}.weight": tensors.of_bytes("F8_E4M3", weight.shape, codes),
        f"{layer}.weight_scale": tensors.of_floats((rows, 1), scales),
    }


def fill_compressed(
    model: Path, folder: Path, *, pack: packing.Pack, layout: str, weights: Mapping[str, object], activations: object
) -> None:
    """Fill a model folder with the linear layers packed by `pack`, and a config that says so."""
    packing.fill(model, folder, pack)
    group = {"targets": ["Linear"], "weights": weights, "input_activations": activations, "output_activations": None}
    quantization = {
        "quant_method": "compressed-tensors",
        "format": layout,
        "quantization_status": "compressed",
        "config_groups": {"group_0": group},
        "ignore": ["lm_head"],
        "kv_cache_scheme": None,
    }
    config = folders.read_json(model / "config.json")
    folders.write_json(folder / "config.json", config | {"quantization_config": quantization})


def _numbers(
    kind: str, bits: int, strategy: str, *, dynamic: bool = False, group: int | None = None
) -> dict[str, object]:
    return {
        "type": kind,
        "num_bits": bits,
        "strategy": strategy,
        "group_size": group,
        "symmetric": True,
        "dynamic": dynamic,
    }


fill_w4a16 = partial(
    fill_compressed,
    pack=w4a16,
    layout="pack-quantized",
    weights=_numbers("int", 4, "group", group=GROUP),
    activations=None,
)
fill_w8a8 = partial(
    fill_compressed,
    pack=w8a8,
    layout="int-quantized",
    weights=_numbers("int", 8, "channel"),
    activations=_numbers("int", 8, "token", dynamic=True),
)
fill_float8 = partial(
    fill_compressed,
    pack=float8,
    layout="float-quantized",
    weights=_numbers("float", 8, "channel"),
    activations=_numbers("float", 8, "token", dynamic=True),
)

W4A16 = Variant("compressed-w4a16", fill_w4a16, folders.itself)
W8A8 = Variant("compressed-w8a8", fill_w8a8, folders.itself)
FLOAT8 = Variant("compressed-fp8", fill_float8, folders.itself)
