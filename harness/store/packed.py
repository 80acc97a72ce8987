"""Lines of a results file in memory: ten thousand are some 80 MiB as text, and a tenth of it as what they differ in."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Final

_LEVEL: Final = 1
"""Of zlib: a higher one takes twice the time for little less room."""


@dataclass(frozen=True, slots=True)
class Packed:
    """A line as what it has besides a pattern."""

    data: bytes
    pattern: bytes
    """Another line, which many share."""

    @property
    def line(self) -> bytes:
        """The line, byte for byte (zlib compares a checksum)."""
        return zlib.decompressobj(zdict=self.pattern).decompress(self.data)


class Packer:
    """Packs lines that are much alike: each repeats most of an earlier one, which zlib takes as its dictionary."""

    def __init__(self) -> None:
        self._pattern = b""

    def pack(self, line: bytes) -> Packed:
        """A line to be kept."""
        packing = zlib.compressobj(_LEVEL, zdict=self._pattern)
        made = Packed(packing.compress(line) + packing.flush(), self._pattern)
        # a column that was not run has short lines, which tell little of the others; doubling, patterns stay few
        if len(line) > 2 * len(self._pattern):
            self._pattern = line
        return made
