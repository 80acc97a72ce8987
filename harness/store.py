"""The results store: JSON Lines, appended as cells end, read strictly, rewritten atomically."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import ValidationError

from harness.records import LINE, BackendInfo, CellRecord, Planned, RunRecord
from harness.verdict import Outcome


class StoreError(RuntimeError):
    """A results file that cannot be read or written; one line with the mend."""


@dataclass(slots=True)
class Results:
    """A results file as it is to be read: each cell's latest record, with the run it refers to."""

    runs: dict[str, RunRecord] = field(default_factory=dict)
    cells: dict[str, CellRecord] = field(default_factory=dict)
    planned: dict[str, Planned] = field(default_factory=dict)

    def add(self, record: RunRecord | CellRecord) -> None:
        """Take in the next line of a file."""
        if isinstance(record, CellRecord):
            self.cells[record.cell] = record
            return
        self.runs[record.run] = record
        wanted = {plan.cell: plan for plan in record.planned}
        if not record.narrowed:
            # A whole run states what the matrix is: rows it no longer plans are gone.
            for gone in [c for c, plan in self.planned.items() if plan.backend in record.backends and c not in wanted]:
                self.planned.pop(gone)
                self.cells.pop(gone, None)
        self.planned.update(wanted)

    @property
    def unmeasured(self) -> list[Planned]:
        """Planned cells without a record: their run was interrupted."""
        return [plan for cell, plan in self.planned.items() if cell not in self.cells]

    @property
    def latest(self) -> RunRecord | None:
        """The run that started last."""
        return max(self.runs.values(), key=lambda run: (run.started, run.run), default=None)

    @property
    def measured(self) -> list[CellRecord]:
        """Records of planned cells: the rest is of rows that the matrix no longer has."""
        return [self.cells[cell] for cell in self.planned if cell in self.cells]

    def info(self, cell: CellRecord) -> BackendInfo:
        """What a cell was measured on."""
        return self.runs[cell.run].backends[cell.backend]

    def counts(self, backend: str) -> dict[Outcome, int]:
        """Planned cells of a backend by outcome."""
        found = dict.fromkeys(Outcome, 0)
        for cell in self.measured:
            if cell.backend == backend:
                found[cell.verdict] += 1
        return found


def read(path: Path) -> Results:
    """Read and validate a results file.

    Raises:
        StoreError: missing, unreadable, torn, or not what the schema says.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise StoreError(
            f"{path}: no such results file. Run `make matrix` first, or name one with --results."
        ) from None
    except OSError as error:
        raise StoreError(f"{path}: cannot be read: {error.strerror}") from None
    results = Results()
    for number, line in _lines(path, data):
        try:
            record = LINE.validate_json(line)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or "line"
            raise StoreError(
                f"{path}:{number}: not a results line ({error.error_count()} problems; {where}: {first['msg']}). "
                "Expected a record as docs/results.schema.json says; restore the file or start a new one."
            ) from None
        if isinstance(record, CellRecord) and record.run not in results.runs:
            raise StoreError(
                f"{path}:{number}: cell {record.cell} refers to run {record.run}, which no line before it describes. "
                "Put the run's header line back, or start a new file."
            )
        if isinstance(record, CellRecord) and record.backend not in results.runs[record.run].backends:
            raise StoreError(
                f"{path}:{number}: cell {record.cell} is of backend {record.backend}, which its run {record.run} "
                "does not describe. Restore the file or start a new one."
            )
        results.add(record)
    return results


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


def repair(path: Path) -> Path | None:
    """Move a torn last line into a file beside the results; that file, or None if none was torn."""
    data = path.read_bytes()
    if not data or data.endswith(b"\n"):
        return None
    whole, _, torn = data.rpartition(b"\n")
    aside = path.with_name(path.name + ".torn")
    with aside.open("ab") as file:
        file.write(torn + b"\n")
    replace(path, whole + b"\n" if whole else b"")
    return aside


def dump(record: RunRecord | CellRecord) -> bytes:
    """One line."""
    value = record.model_dump(mode="json")
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode() + b"\n"


class Writer:
    """Appends records; each is on its way to the disk, whole, before the next begins."""

    def __init__(self, path: Path) -> None:
        """Open `path` for appending.

        Raises:
            StoreError: it cannot be written, another run is writing it, or what it holds cannot be read.
        """
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._fd = _open_alone(path)
        except OSError as error:
            raise StoreError(
                f"{path}: cannot be written: {error.strerror}. "
                "Make the folder writable or choose another file with --results."
            ) from None
        try:
            read(path)
        except StoreError:
            os.close(self._fd)
            raise

    def append(self, record: RunRecord | CellRecord) -> None:
        """Write one record in a single call, so that a killed run leaves whole lines.

        Raises:
            StoreError: the disk does not take it.
        """
        line = dump(record)
        try:
            written = os.write(self._fd, line)
        except OSError as error:
            raise StoreError(f"{self.path}: cannot be written: {error.strerror}") from None
        if written != len(line):
            raise StoreError(f"{self.path}: only {written} of {len(line)} bytes were written. Is the disk full?")

    def close(self) -> None:
        """Rewrite the file without superseded records, then let others write it."""
        try:
            compact(self.path)
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


def compact(path: Path) -> None:
    """Rewrite a file without superseded cell records and the runs that nothing refers to any more.

    Headers keep their order and all they planned, and stand before the cells: what they say
    together about the matrix stays the same, whatever the order of the cells was.
    """
    results = read(path)
    latest = results.latest
    needed = {cell.run for cell in results.cells.values()} | ({latest.run} if latest else set())
    kept = list(results.runs.values())
    for run in results.runs.values():
        without = [other for other in kept if other is not run]
        if run.run not in needed and _planned(without) == results.planned:
            kept = without
    records: list[RunRecord | CellRecord] = [*kept, *results.cells.values()]
    replace(path, b"".join(dump(record) for record in records))


def _planned(runs: list[RunRecord]) -> dict[str, Planned]:
    results = Results()
    for run in runs:
        results.add(run)
    return results.planned


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
