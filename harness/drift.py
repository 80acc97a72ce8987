"""What is declared here against what the installed upstream offers, and against the version before.

Which parameter is which upstream argument comes from the adapter's own tables, the tested values from
the declarations, and upstream's side from the installed libraries. Nothing is said about an argument
whose call could not be read, and an open list never proves that an argument is gone.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness import report, signs
from harness.backends.upstream import Tables
from harness.declare import Column, Matrix, label
from harness.interfaces import Argument, Call, Offered
from harness.jsontypes import JSON

PAGE = "upstream-drift.md"


@dataclass(frozen=True, slots=True)
class Undeclared:
    """An argument that upstream has and no parameter is."""

    call: str
    argument: str
    type: str
    default: str | None
    """None: it is required, or its default cannot be read."""
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Gone:
    """A parameter whose argument upstream's call does not list."""

    parameter: str
    call: str
    argument: str
    cells: int
    """Values that the matrix tests."""
    certain: bool
    """False where the call takes keywords that it does not list."""


@dataclass(frozen=True, slots=True)
class Values:
    """Values that upstream names for an argument, against those tested."""

    parameters: tuple[str, ...]
    call: str
    argument: str
    named_by: str
    tested: tuple[str, ...]
    untested: tuple[str, ...]
    unnamed: tuple[str, ...]
    """Tested, and not among those that upstream names."""


@dataclass(frozen=True, slots=True)
class Change:
    """One difference between two versions."""

    what: str
    call: str
    argument: str
    before: str | None
    after: str | None
    parameters: tuple[str, ...]
    """Ours that it concerns."""


@dataclass(frozen=True, slots=True)
class Drift:
    """All that there is to say about one backend."""

    backend: str
    versions: str
    before: str | None
    """The version that `changes` is against; None when no older one was recorded."""
    changes: tuple[Change, ...]
    gone: tuple[Gone, ...]
    values: tuple[Values, ...]
    undeclared: tuple[Undeclared, ...]
    elsewhere: tuple[str, ...]
    """Tested parameters that are no argument of a listed call: the adapter or the harness carries them out."""
    unread: tuple[tuple[str, str], ...]
    """Calls of the adapter that could not be read, and why."""
    remarks: tuple[tuple[str, str], ...]
    """Per call: what its list leaves out."""


def compare(offered: Offered, older: Offered | None, tables: Tables, matrix: Matrix) -> Drift:
    """Hold declarations and the version before against what is offered."""
    tested = tested_values(matrix, offered.backend)
    mapped = {path for table in tables.values() for path in table}
    unread = [(name, call.failed) for name, call in offered.calls.items() if call.failed]
    unread += [(name, "the adapter does not say how to read it") for name in tables if name not in offered.calls]
    return Drift(
        backend=offered.backend,
        versions=offered.versions,
        before=older.versions if older else None,
        changes=tuple(_changes(older, offered, tables)) if older else (),
        gone=tuple(_gone(offered, tables, tested)),
        values=tuple(_values(offered, tables, tested)),
        undeclared=tuple(_undeclared(offered, tables)),
        elsewhere=tuple(sorted(tested.keys() - mapped)),
        unread=tuple(unread),
        remarks=tuple((name, said) for name, call in offered.calls.items() for said in (call.open, call.note) if said),
    )


def tested_values(matrix: Matrix, backend: str) -> dict[str, list[JSON]]:
    """Parameter to the values that a backend's column tests."""
    found: dict[str, list[JSON]] = {}
    for parameter in matrix.parameters:
        if isinstance(parameter.columns.get(backend), Column):
            values = [item.value for item in parameter.values if item.backends is None or backend in item.backends]
            found.setdefault(parameter.path, []).extend(values)
    return found


def _readable(offered: Offered, tables: Tables) -> Iterator[tuple[str, Call, Mapping[str, str]]]:
    for name, call in offered.calls.items():
        if not call.failed:
            yield name, call, tables.get(name, {})


def _undeclared(offered: Offered, tables: Tables) -> Iterator[Undeclared]:
    for name, call, table in _readable(offered, tables):
        known = set(table.values())
        for argument, found in call.arguments.items():
            # an object that declared parameters make is declared by its parts
            if argument not in known and not tables.get(found.parts):
                yield Undeclared(name, argument, found.type, _default(found), tuple(map(label, found.values or ())))


def _gone(offered: Offered, tables: Tables, tested: Mapping[str, Sequence[JSON]]) -> Iterator[Gone]:
    for name, call, table in _readable(offered, tables):
        for path, argument in table.items():
            if argument not in call.arguments:
                yield Gone(path, name, argument, len(tested.get(path, ())), certain=not call.open)


def _values(offered: Offered, tables: Tables, tested: Mapping[str, Sequence[JSON]]) -> Iterator[Values]:
    for name, call, table in _readable(offered, tables):
        for argument, found in call.arguments.items():
            paths = tuple(sorted(path for path, target in table.items() if target == argument))
            if not paths or found.values is None:
                continue
            named = list(dict.fromkeys(map(label, found.values)))
            values = [value for path in paths for value in tested.get(path, ())]
            ours, given = [_same(value, found) for value in values], dict.fromkeys(map(label, values))
            untested = tuple(value for value in named if value not in ours)
            unnamed = tuple(dict.fromkeys(value for value in ours if value not in named))
            if untested or unnamed:
                yield Values(paths, name, argument, found.values_from, tuple(given), untested, unnamed)


def _same(value: JSON, argument: Argument) -> str:
    """A tested value in upstream's spelling."""
    text = label(value)
    return label(argument.aliases[text]) if text in argument.aliases else text


def _changes(older: Offered, newer: Offered, tables: Tables) -> Iterator[Change]:
    for name, now in newer.calls.items():
        then = older.calls.get(name)
        # which calls are read is the adapter's choice, and of one that failed nothing is known: neither is news
        if then is not None and not then.failed and not now.failed:
            yield from _call_changes(name, then, now, tables.get(name, {}))


def _call_changes(name: str, then: Call, now: Call, table: Mapping[str, str]) -> Iterator[Change]:
    for argument in sorted(then.arguments.keys() | now.arguments.keys()):
        ours = tuple(sorted(path for path, target in table.items() if target == argument))
        old, new = then.arguments.get(argument), now.arguments.get(argument)
        if old is None or new is None:
            what = "added" if old is None else "removed"
            yield Change(what, name, argument, _default(old), _default(new), ours)
            continue
        if old.has_default != new.has_default or json.dumps(old.default) != json.dumps(new.default):
            yield Change("default changed", name, argument, _default(old), _default(new), ours)
        if old.values is None or new.values is None:
            continue
        lost = [label(value) for value in old.values if label(value) not in map(label, new.values)]
        gained = [label(value) for value in new.values if label(value) not in map(label, old.values)]
        if gained:
            yield Change("values added", name, argument, None, ", ".join(gained), ours)
        if lost:
            yield Change("values removed", name, argument, ", ".join(lost), None, ours)


def _default(argument: Argument | None) -> str | None:
    """A default as text, with the empty one to be seen."""
    if argument is None or not argument.has_default:
        return None
    return label(argument.default) or '""'


def render(drifts: Sequence[Drift], templates: Path) -> str:
    """The page.

    Raises:
        ReportError: the template is missing or wrong.
    """
    order = list(signs.COLUMNS)
    known = sorted(drifts, key=lambda drift: (order.index(drift.backend), drift.backend))
    return report.fill(templates, PAGE, columns=signs.COLUMNS, drifts=known, by_call=_by_call)


def _by_call(drift: Drift) -> dict[str, list[Undeclared]]:
    found: dict[str, list[Undeclared]] = {}
    for item in drift.undeclared:
        found.setdefault(item.call, []).append(item)
    return found
