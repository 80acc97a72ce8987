"""Several results files as one: what different machines measured, each its part of the matrix."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path

from harness.records import RunRecord
from harness.store import Judged, Results, alone, dump, read, replace_by

Place = tuple[str, str, int]
"""When a run began, or the one that it follows; that one's id; how many stand in between."""


class MergeError(RuntimeError):
    """Results that do not go together; one line with the mend."""


def merge(target: Path, sources: Mapping[Path, Results]) -> Results:
    """Write one file that holds all runs and cells of others; what it holds.

    Neither the order of the sources matters nor how often one is given: equal sources make equal bytes.

    Raises:
        MergeError: two files tell different things of one cell or run, are of different plans, or `target` holds
            what no source has.
        StoreError: `target` cannot be read or written.
    """
    found = merged(sources)
    save(target, found)
    return found


def save(target: Path, found: Results) -> None:
    """Write what `merged` found.

    Raises:
        MergeError: `target` holds what was not among the sources.
        StoreError: `target` cannot be read or written, or a run is writing it.
    """
    with alone(target):
        if target.exists() and (unheld := [cell for cell in read(target).cells if cell not in found.cells]):
            raise MergeError(
                f"{target} holds {len(unheld)} cells that none of the sources has, {unheld[0]} first: "
                "name it among the sources, or choose another file"
            )
        replace_by(target, chain(map(dump, found.runs.values()), (judged.line for judged in found.judged)))


def merged(sources: Mapping[Path, Results]) -> Results:
    """All runs and cells of `sources`, in memory.

    Raises:
        MergeError: as `merge`, but for the target.
    """
    runs = _runs(sources)
    cells = _cells(sources)
    found = Results()
    for run in runs:
        found.add(run)
    for cell in cells.values():
        found.take(cell)
    if lost := [cell for cell in cells if cell not in found.planned]:
        raise MergeError(
            f"{lost[0]} is planned by one run and no more by a later one of its whole column, "
            f"and so are {len(lost) - 1} others: measure both with one state of the declarations"
        )
    return found


def _runs(sources: Mapping[Path, Results]) -> list[RunRecord]:
    """Headers in the order in which the runs were made."""
    found: dict[str, tuple[RunRecord, Path]] = {}
    for path, results in sources.items():
        for run in results.runs.values():
            known, where = found.setdefault(run.run, (run, path))
            if known != run:
                raise MergeError(f"run {run.run} has one header in {where} and another in {path}: one was edited")
    _one_plan(found.values())
    places: dict[str, Place] = {}
    for results in sources.values():
        for name, place in _places(results):
            places[name] = max(place, places.get(name, place))
    return sorted((run for run, _ in found.values()), key=lambda run: places[run.run])


def _places(results: Results) -> Iterator[tuple[str, Place]]:
    """Where each run stands in time. A clock may be set back; a file tells all the same which run came after which.

    What says that it began before the one that it follows in a file has its place behind that one.
    """
    latest, behind = ("", ""), 0
    for run in results.runs.values():
        own = run.started, run.run
        latest, behind = (own, 0) if run.started >= latest[0] else (latest, behind + 1)
        yield run.run, (*latest, behind)


def _one_plan(runs: Iterable[tuple[RunRecord, Path]]) -> None:
    """Shards of two plans, or of one plan split in two ways, do not make a whole."""
    first: tuple[RunRecord, Path] | None = None
    for run, path in runs:
        if run.shard is None:
            continue
        first = first or (run, path)
        known = first[0].shard
        if known is not None and (known.plan, known.of) != (run.shard.plan, run.shard.of):
            raise MergeError(
                f"{first[1]} is of shard {known} of plan {known.plan}, {path} of shard {run.shard} of plan "
                f"{run.shard.plan}: expected shards of one plan, split in one way. Merge each plan by itself"
            )


def _cells(sources: Mapping[Path, Results]) -> dict[str, Judged]:
    found: dict[str, tuple[Judged, Path]] = {}
    for path, results in sources.items():
        for cell in results.judged:
            known, where = found.setdefault(cell.cell, (cell, path))
            if known.line == cell.line:
                continue
            if known.whole != cell.whole:
                raise MergeError(
                    f"{cell.cell} is {known.cause} in {where} (run {known.run}) and {cell.cause} in {path} "
                    f"(run {cell.run}): expected each cell in one of the files. Leave one of them out"
                )
            # the same, written in another way: which one is taken must not depend on the order of the sources
            found[cell.cell] = min((known, where), (cell, path), key=lambda told: told[0].line)
    return {cell: judged for cell, (judged, _) in found.items()}
