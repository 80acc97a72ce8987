"""Writing what torch.save writes, without torch: a zip of a pickle and the tensors' bytes.

The format: https://docs.pytorch.org/docs/stable/notes/serialization.html. The pickle names only
what `torch.load(weights_only=True)` allows.
"""

from __future__ import annotations

import math
import struct
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from matrix.variants.tensors import Tensor

STORAGES: Final = {"F32": "FloatStorage", "F16": "HalfStorage", "I32": "IntStorage", "I64": "LongStorage"}

# The pickle opcodes that it takes: https://docs.python.org/3/library/pickletools.html
PROTOCOL, EMPTY_DICT, MARK, SETITEMS, STOP = b"\x80\x02", b"}", b"(", b"u", b"."
TUPLE, EMPTY_TUPLE, REDUCE, PERSISTENT, FALSE = b"t", b")", b"R", b"Q", b"\x89"


def write(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write a file that torch.load reads as a dict of tensors."""
    # A fixed date keeps the files of equal tensors equal.
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(zipfile.ZipInfo("archive/data.pkl"), _pickled(tensors))
        file.writestr(zipfile.ZipInfo("archive/byteorder"), b"little")
        for key, tensor in enumerate(tensors.values()):
            file.writestr(zipfile.ZipInfo(f"archive/data/{key}"), tensor.data)
        file.writestr(zipfile.ZipInfo("archive/version"), b"3\n")


def _pickled(tensors: Mapping[str, Tensor]) -> bytes:
    items = (_text(name) + _tensor(key, tensor) for key, (name, tensor) in enumerate(tensors.items()))
    return b"".join([PROTOCOL, EMPTY_DICT, MARK, *items, SETITEMS, STOP])


def _tensor(key: int, tensor: Tensor) -> bytes:
    """torch._utils._rebuild_tensor_v2(storage, offset, shape, stride, requires_grad, hooks)."""
    count = math.prod(tensor.shape)
    strides = [math.prod(tensor.shape[place + 1 :]) for place in range(len(tensor.shape))]
    kind = _named("torch", STORAGES[tensor.dtype])
    storage = _tuple([_text("storage"), kind, _text(str(key)), _text("cpu"), _number(count)]) + PERSISTENT
    shape, stride = (_tuple(map(_number, numbers)) for numbers in (tensor.shape, strides))
    hooks = _named("collections", "OrderedDict") + EMPTY_TUPLE + REDUCE
    arguments = _tuple([storage, _number(0), shape, stride, FALSE, hooks])
    return _named("torch._utils", "_rebuild_tensor_v2") + arguments + REDUCE


def _tuple(items: Iterable[bytes]) -> bytes:
    return b"".join([MARK, *items, TUPLE])


def _named(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


def _text(text: str) -> bytes:
    data = text.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def _number(number: int) -> bytes:
    return b"J" + struct.pack("<i", number)
