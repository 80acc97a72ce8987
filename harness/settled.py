"""What of a read-back can be compared between two runs, and what varies by nature.

Two runs of one version on one machine differ in process ids, addresses, measured seconds, the memory
of the process and where files lie. These are told apart by the tables of this module, that is by the
name of a value and by its form, never by the parameter under test. Whatever else varies can be taken
from data: give a second run of the same version to `paramatrix diff --repeat`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from harness.jsontypes import JSON

ABSENT: Final = "(absent)"
"""Stands for a value that only the other side has."""

VARYING: Final = re.compile(
    r"(?:^|_)(?:"
    r"p?pids?"  # processes
    r"|ports?(?:_list)?|ip|host|hostname|address|fd"  # and how they are reached
    r"|uuids?|(?:instance|engine|request)_id"  # made up at each start
    r"|(?:rss|uss|pss|vms)(?:_bytes)?|(?:available|free|used|peak|process)_(?:bytes|memory)"
    r")$"
)
"""Names of values that differ whenever a program is started again."""

SECONDS: Final = re.compile(r"(?:^|_)(?:s|ms|us|ns|secs?|seconds|time|at|elapsed)$")
"""Names of seconds: a number with many digits was measured, one with few was set by somebody."""

_SET_DIGITS: Final = 3

_FORMS: Final = (
    (re.compile(r"(?<![\w/.])(?:~|<\w+>|\.[\w.-]*)?/(?:[^\s/'\"(),]+/)*(?=[^\s/])"), ""),  # where a file lies
    (re.compile(r"\b(tcp|ipc|inproc|unix)://?[^\s'\"),]+"), r"\1://#"),  # sockets
    (re.compile(r"\b0x[0-9a-fA-F]{6,}\b"), "0x#"),  # addresses of objects
    # hashes inside of names: of our own code, of a cache; a value that is nothing but a hash is one to compare
    (re.compile(r"(?<![0-9A-Za-z])(?=[0-9a-f]*[0-9])(?=[0-9a-f]*[a-f])[0-9a-f]{8,}(?![0-9A-Za-z])"), "#"),
)
"""What varies inside of texts, and what it is replaced by before two are compared."""
_HASH: Final = re.compile(r"[0-9a-f]{8,}")


@dataclass(frozen=True, slots=True)
class ValueChange:
    """A read-back value that differs: where it stands, and both sides as they were recorded."""

    path: str
    before: JSON
    after: JSON


def changes(before: Mapping[str, JSON] | None, after: Mapping[str, JSON] | None) -> list[ValueChange]:
    """Values that differ by more than nature, by path.

    Where only one side read back at all, that is the one change: its values have nothing to compare with.
    """
    if before is None or after is None:
        return [] if before == after else [ValueChange("", _any(before), _any(after))]
    old, new = dict(_leaves(before)), dict(_leaves(after))
    return [
        ValueChange(path, old.get(path, ABSENT), new.get(path, ABSENT))
        for path in sorted(old.keys() | new.keys())
        if not _equal(path, old.get(path, ABSENT), new.get(path, ABSENT))
    ]


def _any(side: Mapping[str, JSON] | None) -> str:
    return "nothing read back" if side is None else f"{len(side)} values read back"


def _leaves(value: JSON | Mapping[str, JSON], path: str = "") -> Iterator[tuple[str, JSON]]:
    """Every value by its path; a list without further structure is one value."""
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            yield from _leaves(item, f"{path}.{_text(key)}" if path else _text(key))
    elif isinstance(value, list) and any(isinstance(item, (dict, list)) for item in value):
        for index, item in enumerate(value):
            yield from _leaves(item, f"{path}[{index}]")
    else:
        yield path, value


def _equal(path: str, before: JSON, after: JSON) -> bool:
    name = re.sub(r"\[\d+\]", "", path).rpartition(".")[2]
    if VARYING.search(name):
        return True
    if SECONDS.search(name) and _number(before) and _number(after) and (_measured(before) or _measured(after)):
        return True
    # True == 1 in Python, but a flag that became a number is news
    return type(before) is type(after) and _settle(before) == _settle(after)


def _settle(value: JSON) -> JSON:
    if isinstance(value, str):
        return _text(value)
    return [_settle(item) for item in value] if isinstance(value, list) else value


def _text(text: str) -> str:
    if not _HASH.fullmatch(text):
        for form, replacement in _FORMS:
            text = form.sub(replacement, text)
    return text


def _number(value: JSON) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _measured(value: JSON) -> bool:
    return isinstance(value, float) and round(value, _SET_DIGITS) != value
