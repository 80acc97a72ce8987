"""A matrix that is judged several times: one pass after the other, and one record a cell made of all of them.

Every pass runs all cells in a random order of its own, with hosts and engines of its own, and writes a results file
of its own beside the results. So what drifts with time meets every cell alike, and two repeats of a cell share
neither an engine nor their neighbours. Only when the passes are over is the results file itself written; nobody else
writes it meanwhile.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from harness import store
from harness.failure import one_line
from harness.records import CellRecord, Repeat, RunRecord, Timing
from harness.verdict import Cause

Measure = Callable[[Path], int]
"""Judges the cells into a results file, in random order; pytest's exit status."""

_GOES_ON = (0, 1)
"""Exit status of a pass that ended by itself: everything well, or tests failed."""


def measure(once: Measure, target: Path, times: int) -> int:
    """Judge `times` times and write what came of it to `target`; the first exit status that is not 0.

    A pass that is interrupted ends the repeats: what was judged until then is folded and written.

    Raises:
        StoreError: another run is writing `target`, or a results file cannot be read or written; the passes' own files
            are then left where they are, until the next time.
    """
    before = target.exists()
    writer = store.Writer(target)
    writer.found = None  # nobody asks for it in all these passes
    try:
        return _measure(once, writer, times)
    finally:
        if not before and target.exists() and target.stat().st_size == 0:
            target.unlink()  # nothing came of it
        writer.close()


def _measure(once: Measure, writer: store.Writer, times: int) -> int:
    target = writer.path
    for left in target.parent.iterdir():
        if re.fullmatch(rf"{re.escape(target.stem)}\.repeat-\d+{re.escape(target.suffix)}", left.name):
            left.unlink()  # of a time when it was killed
    files = [target.with_name(f"{target.stem}.repeat-{number}{target.suffix}") for number in range(1, times + 1)]
    codes: list[int] = []
    for file in files:
        codes.append(int(once(file)))
        if codes[-1] not in _GOES_ON:
            break
    there = [file for file in files if file.exists()]
    for file in there:
        store.mend(file)  # of a pass to which something happened
    for line in _folded([store.read(file) for file in there]):
        writer.append(line)
    for file in there:
        file.unlink()
    return next((code for code in codes if code), 0)


def _folded(passes: Sequence[store.Results]) -> Iterator[RunRecord | CellRecord]:
    """The headers that are referred to, that of the last pass, and one record for each cell that any pass judged."""
    headers = [header for one in passes for header in one.runs.values()]
    stated = [header for header in headers if header.planned]  # others are of nodes that differ from the run's first
    if not stated:
        return
    judged = [[one.cells[plan.cell] for one in passes if plan.cell in one.cells] for plan in stated[-1].planned]
    cells = [fold(repeats) for repeats in judged if repeats]
    needed = {stated[-1].run} | {cell.run for cell in cells}
    yield from (header for header in headers if header.run in needed)
    yield from cells


def fold(records: Sequence[CellRecord]) -> CellRecord:
    """One record of a cell's repeats, in order.

    Equal causes are the last repeat's record. Different ones are `flaky`, except that a fault of the harness in
    any repeat is a fault of the harness. Times and attempts are those of all repeats together. What inputs it is of
    cannot be told where they changed in between: it has no fingerprint, and so is stale.

    Raises:
        ValueError: no records, or of different cells.
    """
    if len({record.cell for record in records}) != 1:
        raise ValueError(f"expected repeats of one cell, got records of {sorted({r.cell for r in records})}")
    repeats = [Repeat(run=r.run, verdict=r.verdict, cause=r.cause, reason=r.reason) for r in records]
    marks = {record.fingerprint for record in records}
    shared = {
        "fingerprint": marks.pop() if len(marks) == 1 else None,
        "repeats": repeats,
        "timing": _together([record.timing for record in records]),
        "attempts": [attempt for record in records for attempt in record.attempts],
    }
    causes = Counter(record.cause for record in records)
    if len(causes) == 1:
        return _changed(records[-1], **shared)
    if faults := [record for record in records if record.cause is Cause.HARNESS_ERROR]:
        return _changed(faults[0], **shared)
    told = "; ".join(f"{cause} {count} times: {_first(records, cause)}" for cause, count in causes.most_common())
    evidence = records[-1].evidence.model_copy(update={"level": None})
    reason = one_line(f"{len(records)} repeats disagree: {told}")
    return _changed(
        records[-1],
        **shared,
        verdict=Cause.FLAKY.outcome,
        cause=Cause.FLAKY,
        reason=reason,
        evidence=evidence,
    )


def _first(records: Sequence[CellRecord], cause: Cause) -> str:
    return one_line(next(record.reason for record in records if record.cause is cause), 100)


def _changed(record: CellRecord, **fields: object) -> CellRecord:
    """A record with other fields, validated again."""
    return CellRecord.model_validate(record.model_copy(update=fields).model_dump())


def _together(timings: Sequence[Timing]) -> Timing:
    names = Timing.model_fields
    return Timing(**{name: round(sum(getattr(one, name) for one in timings), 4) for name in names})
