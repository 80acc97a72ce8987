"""A file of cells in memory: what its lines say together."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator, MutableMapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Generic, Self, TypeVar

from pydantic import TypeAdapter, ValidationError

from harness.records import FORMAT, LINE, BackendInfo, CellRecord, OfCell, Planned, RunRecord
from harness.store.judged import Judged, Records
from harness.store.lines import StoreError, dump, lines
from harness.verdict import Outcome

C = TypeVar("C", bound=OfCell)


def _format(line: bytes) -> int:
    """The format that a header says it is of; 0 for any other line."""
    with contextlib.suppress(ValueError, RecursionError):
        match json.loads(line):
            case {"record": "run", "format": int(found)}:
                return found
    return 0


@dataclass(slots=True)
class Table(Generic[C]):
    """A file as it is to be read: each cell's latest record, with the run it refers to."""

    line: ClassVar[TypeAdapter[Any]]
    """What a line may be."""
    schema: ClassVar[str]
    """The document that says so."""
    made_by: ClassVar[str]
    """The command that makes such a file."""

    runs: dict[str, RunRecord] = field(default_factory=dict)
    cells: MutableMapping[str, C] = field(default_factory=dict)
    planned: dict[str, Planned] = field(default_factory=dict)
    fingerprints: dict[str, str] = field(default_factory=dict)
    """Cell to its fingerprint, as the newest header that covers its column tells it."""

    def add(self, record: RunRecord | C, line: bytes | None = None) -> None:
        """Take in the next record of a file, which may have been read from `line`."""
        if not isinstance(record, RunRecord):
            self._keep(record, line)
            return
        self.runs[record.run] = record
        wanted = {plan.cell: plan for plan in record.planned}
        if not record.narrowed:
            # A whole run states what the matrix is: rows it no longer plans are gone.
            for gone in [c for c, plan in self.planned.items() if plan.backend in record.backends and c not in wanted]:
                self.planned.pop(gone)
                self.cells.pop(gone, None)
                self.fingerprints.pop(gone, None)
        self.planned.update(wanted)
        for cell in [cell for cell in wanted if cell not in record.fingerprints]:
            self.fingerprints.pop(cell, None)
        self.fingerprints.update(record.fingerprints)

    def _keep(self, record: C, line: bytes | None) -> None:
        del line
        self.cells[record.cell] = record

    @property
    def origins(self) -> Iterable[C | Judged]:
        """What tells of each cell that has a record by which run it was measured, and for which backend."""
        return self.cells.values()

    @property
    def unmeasured(self) -> list[Planned]:
        """Planned cells without a record: their run was interrupted."""
        return [plan for cell, plan in self.planned.items() if cell not in self.cells]

    @property
    def latest(self) -> RunRecord | None:
        """The run that started last."""
        return max(self.runs.values(), key=lambda run: (run.started, run.run), default=None)

    @property
    def measured(self) -> Iterator[C]:
        """Records of planned cells, one after the other: the rest is of rows that the matrix no longer has."""
        return (self.cells[cell] for cell in self.planned if cell in self.cells)

    def info(self, cell: OfCell | Judged) -> BackendInfo:
        """What a cell was measured on."""
        return self.runs[cell.run].backends[cell.backend]

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read and validate a file.

        Raises:
            StoreError: missing, unreadable, torn, or not what the schema says.
        """
        table = cls()
        for problem in table.take_in(path):
            raise StoreError(problem)
        return table

    def take_in(self, path: Path) -> Iterator[str]:
        """Read a file's lines; for each that cannot be taken in, where it is and what is wrong with it.

        Raises:
            StoreError: missing, unreadable or torn.
        """
        for number, line in lines(path, self.made_by):
            try:
                record: RunRecord | C = self.line.validate_json(line)
            except ValidationError as error:
                yield f"{path}:{number}: {self._refused(line, error)}"
                continue
            if not isinstance(record, RunRecord) and (problem := self.check(record)):
                yield f"{path}:{number}: {problem}"
                continue
            self.add(record, line)

    def _refused(self, line: bytes, error: ValidationError) -> str:
        """Why a line is no record, and what to do."""
        if (newer := _format(line)) > FORMAT:
            return (
                f"written by a newer paramatrix: format {newer}, and this one reads up to {FORMAT}. "
                "Read it with that one, or start a new file."
            )
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "line"
        return (
            f"not a results line ({error.error_count()} problems; {where}: {first['msg']}). "
            f"Expected a record as {self.schema} says; restore the file or start a new one."
        )

    def check(self, record: C) -> str | None:
        """What is wrong with a record whose run no line before it describes."""
        if record.run not in self.runs:
            return (
                f"cell {record.cell} refers to run {record.run}, which no line before it describes. "
                "Put the run's header line back, or start a new file."
            )
        if record.backend not in self.runs[record.run].backends:
            return (
                f"cell {record.cell} is of backend {record.backend}, which its run {record.run} "
                "does not describe. Restore the file or start a new one."
            )
        return None

    def compacted(self) -> Iterator[bytes]:
        """The lines of the file without superseded cell records and the runs that nothing refers to any more.

        Headers keep their order and all they planned, and stand before the cells: what they say
        together about the matrix stays the same, whatever the order of the cells was.
        """
        latest = self.latest
        needed = {cell.run for cell in self.origins} | ({latest.run} if latest else set())
        kept = list(self.runs.values())
        for run in self.runs.values():
            without = [other for other in kept if other is not run]
            if run.run not in needed and self._told(without) == (self.planned, self.fingerprints):
                kept = without
        yield from map(dump, kept)
        yield from self._kept()

    def _kept(self) -> Iterator[bytes]:
        return map(dump, self.cells.values())

    @classmethod
    def _told(cls, runs: list[RunRecord]) -> tuple[dict[str, Planned], dict[str, str]]:
        table = cls()
        for run in runs:
            table.add(run)
        return table.planned, table.fingerprints


@dataclass(slots=True)
class Results(Table[CellRecord]):
    """A file of verdicts."""

    line = LINE
    schema = "docs/results.schema.json"
    made_by = "make matrix"

    cells: Records = field(default_factory=Records)

    def _keep(self, record: CellRecord, line: bytes | None) -> None:
        self.cells.keep(record, line)

    def take(self, judged: Judged) -> None:
        """Take in a record that another table holds."""
        self.cells.judged[judged.cell] = judged

    @property
    def origins(self) -> Iterable[Judged]:
        """What is at hand of every record."""
        return self.cells.judged.values()

    def _kept(self) -> Iterator[bytes]:
        return (judged.line for judged in self.origins)

    @property
    def judged(self) -> list[Judged]:
        """Of planned cells what is at hand: the rest of their records is made anew when it is asked for."""
        return [self.cells.judged[cell] for cell in self.planned if cell in self.cells]

    @property
    def stale(self) -> set[str]:
        """Cells whose record is of other inputs than the newest header of their column names.

        None of what that very run measured, on nodes that differ from the header's: their inputs cannot be told.
        """
        told = self.fingerprints
        by = {cell: run.run for run in self.runs.values() for cell in run.fingerprints}
        return {
            name
            for name, cell in self.cells.judged.items()
            if name in told and told[name] != cell.fingerprint and not cell.run.startswith(f"{by.get(name)}-")
        }

    def counts(self, backend: str) -> dict[Outcome, int]:
        """Planned cells of a backend by outcome."""
        found = dict.fromkeys(Outcome, 0)
        for cell in self.judged:
            if cell.backend == backend:
                found[cell.verdict] += 1
        return found


def read(path: Path) -> Results:
    """Read and validate a file of verdicts.

    Raises:
        StoreError: missing, unreadable, torn, or not what the schema says.
    """
    return Results.read(path)
