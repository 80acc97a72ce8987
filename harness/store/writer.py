"""The one who writes a file: appends records, and rewrites it at the end without what nobody asks for any more."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any

from harness.records import OfCell, RunRecord
from harness.store.lines import StoreError, dump, open_alone, replace_by
from harness.store.table import Results, Table


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
            self._fd = open_alone(path)
        except OSError as error:
            raise StoreError(
                f"{path}: cannot be written: {error.strerror}. "
                "Make the folder writable or choose another file with --results."
            ) from None
        try:
            self.found: Any = table.read(path)
            """What the file holds, until something is appended: a run of many cells does not carry it to its end."""
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
        self._appended = True
        self.found = None
        try:
            written = os.write(self._fd, line)
            if written != len(line):
                # whoever reads the file finds whole lines, as before
                os.ftruncate(self._fd, os.fstat(self._fd).st_size - written)
                raise StoreError(
                    f"{self.path}: only {written} of {len(line)} bytes could be written. Is the disk full?"
                )
            os.fdatasync(self._fd)
        except OSError as error:
            raise StoreError(f"{self.path}: cannot be written: {error.strerror}") from None
        self._demand_own()

    def _demand_own(self) -> None:
        """Whoever reads `path` has to find what was written.

        Raises:
            StoreError: somebody removed the file, or put another in its place.
        """
        with contextlib.suppress(OSError):
            if os.path.samestat(os.fstat(self._fd), self.path.stat()):
                return
        raise StoreError(
            f"{self.path}: it was removed or replaced while this run wrote it, and what the run wrote went with it. "
            "Leave the file alone and run again."
        )

    def close(self) -> None:
        """Rewrite the file without superseded records, then let others write it."""
        try:
            if self._appended:
                self._demand_own()
                compact(self.path, self.table)
        finally:
            os.close(self._fd)


def compact(path: Path, table: type[Table[Any]] = Results) -> None:
    """Rewrite a file of `table` without what nobody asks for any more: see `Table.compacted`."""
    replace_by(path, table.read(path).compacted())
