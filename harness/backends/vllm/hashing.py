"""Counts the calls of the function by which an engine core hashes cache blocks."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Self

from harness.backends.vllm.readback import hash_cell

if TYPE_CHECKING:
    from types import TracebackType


class Hashes:
    """Counts while it is entered; nothing where the core is in another process, or hashes no blocks."""

    def __init__(self, engine: Any) -> None:
        client = getattr(getattr(engine, "llm_engine", None), "engine_core", None)
        self.cell = hash_cell(getattr(client, "engine_core", None))
        self.calls: Counter[str] = Counter()

    def __enter__(self) -> Self:
        if self.cell is not None:
            self.original = self.cell.cell_contents
            self.cell.cell_contents = self._counting
        return self

    def _counting(self, value: Any) -> Any:
        self.calls[self.original.__name__] += 1
        return self.original(value)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.cell is not None:
            self.cell.cell_contents = self.original
