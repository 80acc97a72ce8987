"""A matrix that is judged several times: one pass after the other, and one record a cell made of all of them.

Every pass runs all cells in a random order of its own, with hosts and engines of its own, and writes a results file
of its own beside the results. So what drifts with time meets every cell alike, and two repeats of a cell share
neither an engine nor their neighbours. Only when the passes are over is the results file itself written.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
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
        StoreError: a results file cannot be read or written; the passes' own files are then left where they are.
    """
    files = [target.with_name(f"{target.stem}.repeat-{number}{target.suffix}") for number in range(1, times + 1)]
    for file in files:
        file.unlink(missing_ok=True)
    codes: list[int] = []
    for file in files:
        codes.append(int(once(file)))
        if codes[-1] not in _GOES_ON:
            break
    passes = [store.read(file) for file in files if file.exists()]
    headers = [header for one in passes for header in one.runs.values()]
    if headers:
        write(target, headers[-1], [one.cells for one in passes])
    for file in files:
        file.unlink(missing_ok=True)
    return next((code for code in codes if code), 0)


def write(target: Path, header: RunRecord, passes: Sequence[Mapping[str, CellRecord]]) -> None:
    """Append the run and one record for each cell that any pass judged, in the order of the plan.

    Raises:
        StoreError: `target` cannot be written.
    """
    writer = store.Writer(target)
    writer.append(header)
    for planned in header.planned:
        if repeats := [one[planned.cell] for one in passes if planned.cell in one]:
            writer.append(fold(repeats).model_copy(update={"run": header.run}))
    writer.close()


def fold(records: Sequence[CellRecord]) -> CellRecord:
    """One record of a cell's repeats, in order.

    Equal causes are the last repeat's record. Different ones are `flaky`, except that a fault of the harness in
    any repeat is a fault of the harness. Times and attempts are those of all repeats together.

    Raises:
        ValueError: no records, or of different cells.
    """
    if len({record.cell for record in records}) != 1:
        raise ValueError(f"expected repeats of one cell, got records of {sorted({r.cell for r in records})}")
    repeats = [Repeat(run=r.run, verdict=r.verdict, cause=r.cause, reason=r.reason) for r in records]
    shared = {
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
