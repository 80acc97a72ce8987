"""The results store: JSON Lines, appended as cells end, read strictly, rewritten atomically.

A file of verdicts is a `Results`; other files of cells are further tables, kept in the same way.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Generic, Self, TypeVar

from pydantic import TypeAdapter, ValidationError

from harness.records import LINE, BackendInfo, CellRecord, OfCell, Planned, RunRecord
from harness.verdict import Outcome

C = TypeVar("C", bound=OfCell)


class StoreError(RuntimeError):
    """A results file that cannot be read or written; one line with the mend."""


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
    cells: dict[str, C] = field(default_factory=dict)
    planned: dict[str, Planned] = field(default_factory=dict)
    fingerprints: dict[str, str] = field(default_factory=dict)
    """Cell to its fingerprint, as the newest header that covers its column tells it."""

    def add(self, record: RunRecord | C) -> None:
        """Take in the next line of a file."""
        if not isinstance(record, RunRecord):
            self.cells[record.cell] = record
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

    @property
    def unmeasured(self) -> list[Planned]:
        """Planned cells without a record: their run was interrupted."""
        return [plan for cell, plan in self.planned.items() if cell not in self.cells]

    @property
    def latest(self) -> RunRecord | None:
        """The run that started last."""
        return max(self.runs.values(), key=lambda run: (run.started, run.run), default=None)

    @property
    def measured(self) -> list[C]:
        """Records of planned cells: the rest is of rows that the matrix no longer has."""
        return [self.cells[cell] for cell in self.planned if cell in self.cells]

    def info(self, cell: C) -> BackendInfo:
        """What a cell was measured on."""
        return self.runs[cell.run].backends[cell.backend]

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read and validate a file.

        Raises:
            StoreError: missing, unreadable, torn, or not what the schema says.
        """
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            raise StoreError(
                f"{path}: no such results file. Run `{cls.made_by}` first, or name one with --results."
            ) from None
        except OSError as error:
            raise StoreError(f"{path}: cannot be read: {error.strerror}") from None
        table = cls()
        for number, line in _lines(path, data):
            try:
                record: RunRecord | C = cls.line.validate_json(line)
            except ValidationError as error:
                first = error.errors()[0]
                where = ".".join(str(part) for part in first["loc"]) or "line"
                raise StoreError(
                    f"{path}:{number}: not a results line ({error.error_count()} problems; {where}: {first['msg']}). "
                    f"Expected a record as {cls.schema} says; restore the file or start a new one."
                ) from None
            if not isinstance(record, RunRecord):
                table.check(record, f"{path}:{number}")
            table.add(record)
        return table

    def check(self, record: C, where: str) -> None:
        """Whether the run that a record refers to is known.

        Raises:
            StoreError: it is not.
        """
        if record.run not in self.runs:
            raise StoreError(
                f"{where}: cell {record.cell} refers to run {record.run}, which no line before it describes. "
                "Put the run's header line back, or start a new file."
            )
        if record.backend not in self.runs[record.run].backends:
            raise StoreError(
                f"{where}: cell {record.cell} is of backend {record.backend}, which its run {record.run} "
                "does not describe. Restore the file or start a new one."
            )

    def compacted(self) -> bytes:
        """The file without superseded cell records and the runs that nothing refers to any more.

        Headers keep their order and all they planned, and stand before the cells: what they say
        together about the matrix stays the same, whatever the order of the cells was.
        """
        latest = self.latest
        needed = {cell.run for cell in self.cells.values()} | ({latest.run} if latest else set())
        kept = list(self.runs.values())
        for run in self.runs.values():
            without = [other for other in kept if other is not run]
            if run.run not in needed and self._told(without) == (self.planned, self.fingerprints):
                kept = without
        records: list[RunRecord | OfCell] = [*kept, *self.cells.values()]
        return b"".join(dump(record) for record in records)

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

    @property
    def stale(self) -> set[str]:
        """Cells whose record is of other inputs than the newest header of their column names."""
        told = self.fingerprints
        return {name for name, cell in self.cells.items() if name in told and told[name] != cell.fingerprint}

    def counts(self, backend: str) -> dict[Outcome, int]:
        """Planned cells of a backend by outcome."""
        found = dict.fromkeys(Outcome, 0)
        for cell in self.measured:
            if cell.backend == backend:
                found[cell.verdict] += 1
        return found


def read(path: Path) -> Results:
    """Read and validate a file of verdicts.

    Raises:
        StoreError: missing, unreadable, torn, or not what the schema says.
    """
    return Results.read(path)


def _lines(path: Path, data: bytes) -> Iterator[tuple[int, bytes]]:
    if data and not data.endswith(b"\n"):
        number = data.count(b"\n") + 1
        torn = len(data) - data.rfind(b"\n") - 1
        raise StoreError(
            f"{path}:{number}: the last line is torn ({torn} bytes without a line end), "
            "expected whole lines. `paramatrix repair` sets it aside and keeps the rest."
        )
    for number, line in enumerate(data.split(b"\n")[:-1], start=1):
        if line.strip():
            yield number, line


def mend(path: Path) -> Path | None:
    """Set a torn last line aside where no run is writing; the file it is in now, or None if none was torn.

    Raises:
        StoreError: another run is writing it, or it cannot be written.
    """
    try:
        fd = _open_alone(path)
    except OSError as error:
        raise StoreError(f"{path}: cannot be written: {error.strerror}") from None
    try:
        return repair(path)
    finally:
        os.close(fd)


def repair(path: Path) -> Path | None:
    """Move a torn last line into a file beside the results; that file, or None if none was torn.

    Torn is also a line of which the disk kept the end alone. One that lacks nothing but its end is whole.
    """
    data = path.read_bytes()
    whole, last = _last(data)
    if _is_json(last):
        if not data.endswith(b"\n"):
            replace(path, data + b"\n")
        return None
    aside = path.with_name(path.name + ".torn")
    with aside.open("ab") as file:
        file.write(last + b"\n")
        file.flush()
        os.fsync(file.fileno())
    replace(path, whole)
    return aside


def _last(data: bytes) -> tuple[bytes, bytes]:
    """A file's last line without its end, and what stands before it."""
    start = data.rfind(b"\n", 0, len(data) - 1) + 1
    return data[:start], data[start:].removesuffix(b"\n")


def _is_json(line: bytes) -> bool:
    if not line.strip(b" \r"):
        return True  # nothing there: a blank line is passed over
    try:
        json.loads(line)
    except ValueError:
        return False
    return True


def dump(record: RunRecord | OfCell) -> bytes:
    """One line."""
    value = record.model_dump(mode="json")
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode() + b"\n"


class Writer:
    """Appends records; each is on the disk, whole, before the next begins."""

    def __init__(self, path: Path, table: type[Table[Any]] = Results) -> None:
        """Open `path`, a file of `table`, for appending.

        Raises:
            StoreError: it cannot be written, another run is writing it, or what it holds cannot be read.
        """
        self.path = path
        self.table = table
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._fd = _open_alone(path)
        except OSError as error:
            raise StoreError(
                f"{path}: cannot be written: {error.strerror}. "
                "Make the folder writable or choose another file with --results."
            ) from None
        try:
            self.found = table.read(path)
        except StoreError:
            os.close(self._fd)
            raise
        self._appended = False

    def append(self, record: RunRecord | OfCell) -> None:
        """Write one record in a single call, so that a killed run leaves whole lines.

        Raises:
            StoreError: the disk does not take it.
        """
        line = dump(record)
        try:
            written = os.write(self._fd, line)
        except OSError as error:
            raise StoreError(f"{self.path}: cannot be written: {error.strerror}") from None
        self._appended = True
        if written != len(line):
            raise StoreError(f"{self.path}: only {written} of {len(line)} bytes were written. Is the disk full?")
        os.fdatasync(self._fd)

    def close(self) -> None:
        """Rewrite the file without superseded records, then let others write it."""
        try:
            if self._appended:
                compact(self.path, self.table)
        finally:
            os.close(self._fd)


def _open_alone(path: Path) -> int:
    """A descriptor that appends to `path`, and the only one: another run would be compacted away."""
    while True:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # the other run may just have put a compacted file in the place of the one we opened
            if os.path.samestat(os.fstat(fd), path.stat()):
                return fd
        except BlockingIOError:
            os.close(fd)
            raise StoreError(
                f"{path}: another run is writing it. Wait for its end, or choose another file with --results."
            ) from None
        except FileNotFoundError:
            pass
        os.close(fd)


def compact(path: Path, table: type[Table[Any]] = Results) -> None:
    """Rewrite a file of `table` without what nobody asks for any more: see `Table.compacted`."""
    replace(path, table.read(path).compacted())


def replace(path: Path, data: bytes) -> None:
    """Replace a file's content atomically: readers see the old or the new, never a part."""
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with scratch.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        scratch.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            scratch.unlink()
        raise StoreError(f"{path}: cannot be written: {error.strerror}. Make the folder writable.") from None
