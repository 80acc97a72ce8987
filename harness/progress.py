"""Live progress of a run: a bar on a terminal, one line a cell elsewhere."""

from __future__ import annotations

import sys
import time

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

from harness.records import CellRecord
from harness.verdict import Outcome


class Progress:
    """Cells done of total, the cell at work, and the time left at the pace so far."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.done = 0
        self.began = time.monotonic()
        self.console = Console(file=sys.__stdout__, highlight=False, soft_wrap=True)
        self.bar: Bar | None = None
        if self.console.is_terminal:
            self.bar = Bar(
                TextColumn("{task.fields[cell]}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TextColumn("{task.fields[left]}"),
                console=self.console,
                transient=True,
            )
            self.task = self.bar.add_task("", total=total, cell="starting", left="")
            self.bar.start()

    def begin(self, cell: str) -> None:
        """A cell is being run."""
        if self.bar:
            self.bar.update(self.task, cell=cell)

    def end(self, record: CellRecord) -> None:
        """A cell has its verdict."""
        tail = "" if record.verdict is Outcome.PASS else f"{record.cause.value}: {record.reason}"
        self.told(f"{record.verdict.symbol} {record.cell}", record.timing.wall_s, tail)

    def told(self, what: str, wall_s: float, tail: str) -> None:
        """A cell is done."""
        self.done += 1
        left = self.left()
        if self.bar:
            self.bar.update(self.task, completed=self.done, left=left)
        count = f"[{self.done:>{len(str(self.total))}}/{self.total}]"
        line = f"{count} {what}  {wall_s:.1f} s, {left}{f'  {tail}'[:160] if tail else ''}"
        self.console.print(line, markup=False)

    def left(self) -> str:
        """Time left, from the mean pace so far."""
        seconds = (time.monotonic() - self.began) / max(self.done, 1) * (self.total - self.done)
        return f"{seconds / 60:.0f} min left" if seconds >= 90 else f"{seconds:.0f} s left"

    def close(self) -> None:
        """Take the bar away."""
        if self.bar:
            self.bar.stop()
