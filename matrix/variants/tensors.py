"""Reading and writing safetensors files, with numbers where they are wanted.

The format: eight bytes of header length, a JSON header that names each tensor's dtype, shape and
place, and the bytes: https://github.com/huggingface/safetensors#format
"""

from __future__ import annotations

import json
import math
import random
import struct
from array import array
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

WEIGHTS = "model.safetensors"

Tensors = dict[str, "Tensor"]


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor as the file holds it: row-major, little-endian."""

    dtype: str
    """As safetensors calls it: F32, F16, I32, I8, U8, F8_E4M3, …"""
    shape: tuple[int, ...]
    data: bytes

    def floats(self) -> array[float]:
        """The numbers of a float32 tensor."""
        if self.dtype != "F32":
            raise ValueError(f"expected a float32 tensor, not {self.dtype}: derive variants from float32 weights")
        return array("f", self.data)


def of_floats(shape: tuple[int, ...], numbers: Iterable[float]) -> Tensor:
    """A float32 tensor."""
    return _checked("F32", shape, array("f", numbers).tobytes(), 4)


def of_halves(shape: tuple[int, ...], numbers: Iterable[float]) -> Tensor:
    """A float16 tensor."""
    flat = list(numbers)
    return _checked("F16", shape, struct.pack(f"<{len(flat)}e", *flat), 2)


def of_words(shape: tuple[int, ...], words: Iterable[int]) -> Tensor:
    """An int32 tensor from unsigned 32-bit words, as packed weights are built."""
    return _checked("I32", shape, array("I", words).tobytes(), 4)


def of_longs(shape: tuple[int, ...], numbers: Iterable[int]) -> Tensor:
    """An int64 tensor."""
    return _checked("I64", shape, array("q", numbers).tobytes(), 8)


def of_bytes(dtype: str, shape: tuple[int, ...], codes: Iterable[int]) -> Tensor:
    """A tensor of one byte an element (I8, U8, F8_E4M3), from the codes 0 to 255."""
    return _checked(dtype, shape, bytes(codes), 1)


def noise(shape: tuple[int, ...], scale: float, seed: str) -> Tensor:
    """A float32 tensor of normal noise, the same for the same seed."""
    rng = random.Random(seed)  # noqa: S311 - repeatable noise, no secrets
    return of_floats(shape, (rng.gauss(0.0, scale) for _ in range(math.prod(shape))))


def read(path: Path) -> Tensors:
    """The tensors of a safetensors file, in the order of its header."""
    data = path.read_bytes()
    (size,) = struct.unpack_from("<Q", data)
    found = {}
    for name, entry in json.loads(data[8 : 8 + size]).items():
        if name != "__metadata__":
            begin, end = (8 + size + offset for offset in entry["data_offsets"])
            found[name] = Tensor(entry["dtype"], tuple(entry["shape"]), data[begin:end])
    return found


def dump(tensors: Mapping[str, Tensor]) -> bytes:
    """A safetensors file. transformers wants to be told that it came from PyTorch ("pt")."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    place = 0
    for name, tensor in tensors.items():
        end = place + len(tensor.data)
        header[name] = {"dtype": tensor.dtype, "shape": list(tensor.shape), "data_offsets": [place, end]}
        place = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return b"".join([struct.pack("<Q", len(text)), text, *(tensor.data for tensor in tensors.values())])


def write(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write a safetensors file."""
    path.write_bytes(dump(tensors))


def _checked(dtype: str, shape: tuple[int, ...], data: bytes, width: int) -> Tensor:
    if len(data) != math.prod(shape) * width:
        raise ValueError(
            f"a {dtype} tensor of shape {shape} takes {math.prod(shape)} numbers, not {len(data) // width}"
        )
    return Tensor(dtype, shape, data)
