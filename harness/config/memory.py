"""How much memory a model's weights need under a config, and how much there is."""

from collections.abc import Sequence

from harness.config.environment import Device, EnvironmentSnapshot, ModelFacts
from harness.config.rules import Values

__all__ = ["available_bytes", "gibibytes", "needed_bytes", "quantised_bits"]

_WIDTHS = {"float32": 4, "float16": 2, "bfloat16": 2}
# One 4-byte constant for each block of 64 weights; quantised again, about 0.127 bits each.
_CONSTANTS_4BIT = 4 / 64
_CONSTANTS_4BIT_TWICE = 0.127 / 8
_HEADROOM = 1.1  # loading holds some tensors twice, and a cache and activations come on top
_TENSORRT_WIDTHS = {
    **dict.fromkeys(("fp8", "FP8_PER_CHANNEL_PER_TOKEN", "int8_sq", "int8_weight_only"), 1.0),
    **dict.fromkeys(("int4_weight_only", "int4_awq", "W4A8_AWQ"), 0.5625),
}


def quantised_bits(values: Values) -> int | None:
    """Return 4 or 8 if weights are loaded with bitsandbytes, in either section; else None."""
    for bits in (4, 8):
        if any(values.get(f"{part}.load_in_{bits}bit") is True for part in ("quantization", "pytorch")):
            return bits
    return None


def needed_bytes(values: Values, model: ModelFacts) -> int | None:
    """Estimate the bytes that loading needs, quantisation applied; None if too little is known."""
    width = _WIDTHS.get(values.get("fp_precision", ""))
    count = model.parameter_count
    if count is None or (width is None and model.weight_bytes is None):
        plain = model.weight_bytes
        return None if plain is None else int(plain * _HEADROOM)
    wide = width if width is not None else (model.weight_bytes or 0) / count
    linear = min(model.linear_parameters if model.linear_parameters is not None else count, count)
    narrow = _quantised_width(values)
    total = count * wide if narrow is None else (count - linear) * wide + linear * narrow
    return int(total * _HEADROOM)


def _quantised_width(values: Values) -> float | None:
    """Return the bytes of one quantised weight, its share of the constants included."""
    match quantised_bits(values):
        case 8:
            return 1.0
        case 4:
            twice = any(values.get(f"{part}.bnb_4bit_use_double_quant") is True for part in ("quantization", "pytorch"))
            return 0.5 + (_CONSTANTS_4BIT_TWICE if twice else _CONSTANTS_4BIT)
    return _TENSORRT_WIDTHS.get(values.get("tensorrt.quantization.method", ""))


def available_bytes(devices: Sequence[Device], snapshot: EnvironmentSnapshot) -> int | None:
    """Return the free bytes of the devices used, or of the host if none is; None if unknown."""
    if not devices:
        free = snapshot.available_bytes
        return snapshot.memory_bytes if free is None else free
    sizes = [device.free_bytes if device.free_bytes is not None else device.memory_bytes for device in devices]
    known = [size for size in sizes if size is not None]
    return sum(known) if len(known) == len(sizes) else None


def gibibytes(size: int) -> str:
    """Write bytes as GiB for people."""
    return f"{size / 2**30:.2f} GiB"
