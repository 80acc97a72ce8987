"""A judged cell as a results file keeps it in memory: what is asked of many cells at hand, the rest as its packed line.

A record in whole takes ten times the room of its text, nearly all of it for evidence, which pages show of few cells.
"""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from dataclasses import dataclass
from typing import Literal

from harness.records import CellRecord
from harness.store.lines import dump
from harness.store.packed import Packed, Packer
from harness.verdict import Cause, Outcome


@dataclass(frozen=True, slots=True)
class Judged:
    """What pages and counts look at, by the names that the record has for it."""

    run: str
    cell: str
    backend: str
    parameter: str
    row: str
    verdict: Outcome
    cause: Cause
    reason: str
    level: Literal["behaviour", "state"] | None
    """Of its evidence."""
    rejected_by_validation: str | None
    note: str
    fingerprint: str | None
    packed: Packed
    """Its line."""

    @classmethod
    def of(cls, record: CellRecord, packed: Packed) -> Judged:
        """What is kept of a record and its line."""
        return cls(
            record.run,
            record.cell,
            record.backend,
            record.parameter,
            record.row,
            record.verdict,
            record.cause,
            record.reason,
            record.evidence.level,
            record.rejected_by_validation,
            record.note,
            record.fingerprint,
            packed,
        )

    @property
    def line(self) -> bytes:
        """The record as it stands in a file."""
        return self.packed.line

    @property
    def whole(self) -> CellRecord:
        """The record, made anew from its line: some 0.1 ms."""
        return CellRecord.model_validate_json(self.line)


class Records(MutableMapping[str, CellRecord]):
    """Cell to its record, each made anew from its line when somebody asks for it."""

    def __init__(self) -> None:
        self.judged: dict[str, Judged] = {}
        self._packer = Packer()

    def keep(self, record: CellRecord, line: bytes | None = None) -> None:
        """Take in a record, which may have been read from `line`."""
        self.judged[record.cell] = self._judged(record, line or dump(record))

    def _judged(self, record: CellRecord, line: bytes) -> Judged:
        return Judged.of(record, self._packer.pack(line))

    def __getitem__(self, cell: str) -> CellRecord:
        return self.judged[cell].whole

    def __setitem__(self, cell: str, record: CellRecord) -> None:
        self.judged[cell] = self._judged(record, dump(record))

    def __delitem__(self, cell: str) -> None:
        del self.judged[cell]

    def __contains__(self, cell: object) -> bool:
        return cell in self.judged

    def __iter__(self) -> Iterator[str]:
        return iter(self.judged)

    def __len__(self) -> int:
        return len(self.judged)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({list(self.judged)})"
