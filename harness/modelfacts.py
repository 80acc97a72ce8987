"""What a model folder says about itself: its parameters, read from file headers alone.

Standard library only; no weights are read. The pre-flight uses it to judge memory and layers.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterator
from pathlib import Path

from harness.jsontypes import JSON

_MOST_HEADER = 100 << 20  # what safetensors itself accepts
_OUTER = ("embed", "wte", "wpe", "lm_head")
"""Parts of module names that quantisation leaves alone by default."""


def model_facts(model: str) -> dict[str, JSON] | None:
    """The `model` object of an environment snapshot, or None where nothing can be read cheaply.

    Tensors with two dimensions outside embeddings and the output head are counted as linear
    layers: a header knows shapes, not classes.
    """
    folder = Path(model).expanduser()
    files = sorted(folder.glob("*.safetensors")) if folder.is_dir() else []
    try:
        tensors = [tensor for file in files for tensor in _tensors(file)]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, struct.error):
        return None
    if not tensors:
        return None
    linear = [(name, shape) for name, shape, _ in tensors if _is_linear(name, shape)]
    kinds = {_kind(name, shape) for name, shape, _ in tensors}
    return {
        "parameter_count": sum(math.prod(shape) for _, shape, _ in tensors),
        "weight_bytes": sum(size for _, _, size in tensors),
        "linear_parameters": sum(math.prod(shape) for _, shape in linear),
        "layer_types": sorted(kinds),
        "modules": _modules([name for name, _, _ in tensors]),
    }


def _tensors(file: Path) -> Iterator[tuple[str, list[int], int]]:
    """Name, shape and bytes of each tensor of a safetensors file."""
    with file.open("rb") as stream:
        (length,) = struct.unpack("<Q", stream.read(8))
        if length > _MOST_HEADER:
            raise ValueError(f"{file}: a header of {length} bytes")
        header = json.loads(stream.read(length))
    for name, entry in header.items():
        if name != "__metadata__":
            begin, end = entry["data_offsets"]
            yield name, entry["shape"], end - begin


def _is_linear(name: str, shape: list[int]) -> bool:
    return len(shape) == 2 and name.endswith(".weight") and not any(part in name for part in _OUTER)


def _kind(name: str, shape: list[int]) -> str:
    if _is_linear(name, shape) or "lm_head" in name:
        return "Linear"
    if len(shape) == 2:
        return "Embedding"
    return "Vector" if len(shape) < 2 else f"{len(shape)}-dimensional"


def _modules(names: list[str]) -> list[JSON]:
    """Every dotted prefix of the tensors' names: the modules they sit in."""
    found = {name[:end] for name in names for end, character in enumerate(name) if character == "."}
    return [*sorted(found)]
