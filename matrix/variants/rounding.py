"""Rounding weights to few bits: the numbers that quantised checkpoints are made of."""

from __future__ import annotations

import bisect
import itertools
import struct
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from matrix.variants.tensors import Tensor

Number = TypeVar("Number", int, float)


@dataclass(frozen=True, slots=True)
class Rounded:
    """A weight of `rows` outputs and `columns` inputs: about (code - zero) * scale of its group.

    A group is some neighbouring inputs of one output.
    """

    rows: int
    columns: int
    group: int
    codes: Sequence[int]
    """Row by row."""
    scales: Sequence[float]
    """One a group, row by row; numbers that float16 holds exactly."""
    zeros: Sequence[int]

    def transposed(self) -> list[int]:
        """The codes input by input."""
        return [self.codes[row * self.columns + column] for column in range(self.columns) for row in range(self.rows)]

    def by_group(self, of_groups: Sequence[Number]) -> list[Number]:
        """Scales or zeros with the groups of all outputs next to each other, as `transposed` has the codes."""
        groups = self.columns // self.group
        return [of_groups[row * groups + group] for group in range(groups) for row in range(self.rows)]


def to_integers(weight: Tensor, *, bits: int, group: int, symmetric: bool) -> Rounded:
    """Round a float32 weight to unsigned integers of `bits`, each group on a scale of its own.

    Symmetric, zero is the middle of the range; else the range reaches from the group's smallest
    to its largest number.
    """
    rows, columns = weight.shape
    if columns % group:
        raise ValueError(f"groups of {group} do not divide a weight of {columns} inputs")
    top = 2**bits - 1
    numbers = weight.floats()
    codes = array("B")
    scales: list[float] = []
    zeros: list[int] = []
    for begin in range(0, len(numbers), group):
        part = numbers[begin : begin + group]
        low, high = min(0.0, *part), max(0.0, *part)
        if symmetric:
            scale = as_half(max(-low, high) / (top // 2)) or 1.0
            zero = top // 2 + 1
        else:
            scale = as_half((high - low) / top) or 1.0
            zero = min(top, round(-low / scale))
        codes.extend([min(top, max(0, round(number / scale) + zero)) for number in part])
        scales.append(scale)
        zeros.append(zero)
    return Rounded(rows, columns, group, codes, scales, zeros)


def as_half(number: float) -> float:
    """The nearest float16: scales are stored so, and rounding must go by what is stored."""
    (half,) = struct.unpack("<e", struct.pack("<e", number))
    return float(half)


def packed(codes: Iterable[int]) -> Iterator[int]:
    """Words of 32 bits, each of the next eight 4-bit codes; the first one in the lowest bits."""
    for eight in zip(*[iter(codes)] * 8, strict=True):
        word = 0
        for place, code in enumerate(eight):
            word |= code << (4 * place)
        yield word


def _float8(code: int) -> float:
    exponent, mantissa = code >> 3, code & 7
    return float(mantissa) * 2.0**-9 if exponent == 0 else (8 + mantissa) * 2.0 ** (exponent - 10)


_FLOATS8: Final = [_float8(code) for code in range(0x7F)]
"""What the codes of float8 e4m3fn stand for, up to 448; 0x7F is no number."""
_BOUNDS: Final = [(low + high) / 2 for low, high in itertools.pairwise(_FLOATS8)]
LARGEST_FLOAT8: Final = _FLOATS8[-1]


def to_float8(numbers: Sequence[float], scale: float) -> Iterator[int]:
    """The codes of the float8 (e4m3fn) nearest to each number over `scale`."""
    for number in numbers:
        code = bisect.bisect_left(_BOUNDS, abs(number) / scale)
        yield code | 0x80 if number < 0 else code
