"""Values and calls as Python source, laid out as formatters do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

WIDTH = 100
REST = "**"
"""A name for keyword arguments that are handed on."""
_STEP = "    "


@dataclass(frozen=True, slots=True)
class Code:
    """Source that stands as it is."""

    text: str


@dataclass(frozen=True, slots=True)
class Invocation:
    """A call of a function or class."""

    function: str
    args: Sequence[Value] = ()
    kwargs: Mapping[str, Value] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Repeated:
    """A list several times over."""

    items: Sequence[Value]
    times: int


Value: TypeAlias = (
    "Code | Invocation | Repeated | bool | int | float | str | Sequence[Value] | Mapping[str, Value] | None"
)


def statement(text: str, value: Value, *, indent: int = 0) -> list[str]:
    """Lines of `text` followed by a value: `statement("x = ", 1)`."""
    return _laid_out(_STEP * indent + text, value, "", indent)


def _laid_out(before: str, value: Value, after: str, indent: int) -> list[str]:
    """One line if it fits, else what is in the outermost brackets on a line of its own, else one item a line."""
    flat = f"{before}{inline(value)}{after}"
    if len(flat) <= WIDTH or not _items(value):
        return [flat]
    opening, closing = _brackets(value)
    inner = _STEP * (indent + 1)
    items = _items(value)
    together = inner + ", ".join(f"{name}{inline(item)}" for name, item in items)
    if isinstance(value, Invocation) and len(together) <= WIDTH:
        body = [together]
    else:
        body = [line for name, item in items for line in _laid_out(inner + name, item, ",", indent + 1)]
    return [before + opening, *body, _STEP * indent + closing + after]


def inline(value: Value) -> str:
    """A value on one line."""
    if isinstance(value, Code):
        return value.text
    if isinstance(value, str):
        return string(value)
    if isinstance(value, (Invocation, Repeated, Mapping, Sequence)):
        opening, closing = _brackets(value)
        return opening + ", ".join(f"{name}{inline(item)}" for name, item in _items(value)) + closing
    return repr(value)


def string(text: str) -> str:
    """A string literal, in double quotes unless these would need more escapes."""
    body = repr(f'{text}"')[1:-2].replace("\\'", "'")  # a double quote inside makes repr choose single ones
    if text.count('"') > text.count("'"):
        return "'" + body.replace("'", "\\'") + "'"
    return '"' + body.replace('"', '\\"') + '"'


def _brackets(value: Value) -> tuple[str, str]:
    if isinstance(value, Invocation):
        return f"{value.function}(", ")"
    if isinstance(value, Repeated):
        return "[", f"] * {value.times}"
    return ("{", "}") if isinstance(value, Mapping) else ("[", "]")


def _items(value: Value) -> list[tuple[str, Value]]:
    """What stands between the brackets, each with what comes before it."""
    if isinstance(value, Invocation):
        return [
            *(("", item) for item in value.args),
            *((name if name == REST else f"{name}=", item) for name, item in value.kwargs.items()),
        ]
    if isinstance(value, Repeated):
        return [("", item) for item in value.items]
    if isinstance(value, Mapping):
        return [(f"{key(name)}: ", item) for name, item in value.items()]
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [("", item) for item in value]
    return []


def key(name: str) -> str:
    """A key of a mapping: JSON has strings only, so one of digits was a number."""
    return name if name.isdigit() and name == str(int(name)) else string(name)


def repeated(items: Sequence[Value]) -> Value:
    """A list, written as its shortest repetition where it is one."""
    for size in range(2, len(items) // 2 + 1):
        if len(items) % size == 0 and list(items) == list(items[:size]) * (len(items) // size):
            return Repeated(items[:size], len(items) // size)
    return list(items)
