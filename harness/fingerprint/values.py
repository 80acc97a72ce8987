"""Declared values as text that says all that tells them apart, and nothing else: no address, no order of a set."""

from __future__ import annotations

import dataclasses
import enum
import functools
import hashlib
import json
import re
import types
from collections.abc import Callable, Collection, Mapping
from pathlib import Path, PurePath
from typing import Any, Final

from harness.fingerprint.sources import closure, has_source

FOLLOWED_ELSEWHERE: Final = frozenset(
    {
        "harness.plan",
        "harness.declare",
        "harness.declare_limits",
        "harness.config",
        "harness.records",
        "harness.fingerprint.sources",
        "harness.fingerprint.values",
    }
)
"""Modules whose product is in the planned cell, or in the record, and is told there: a changed word in a config rule
runs only the cells again that it touches. And what tells the fingerprint itself."""

_PLAIN: Final = (bool, int, float, str, bytes, type(None), type(Ellipsis), complex, range)


class FingerprintError(ValueError):
    """A value of which nobody can tell whether it changed; one line with the mend."""


class Teller:
    """Tells values; what is shared between cells is told once."""

    def __init__(self, root: Path) -> None:
        """`root`: the project, so that it may lie anywhere."""
        self.root = root
        self._sources: dict[str, str] = {}
        self._known: dict[int, tuple[object, str]] = {}
        self._kinds: tuple[tuple[Any, Callable[[Any, tuple[int, ...]], str]], ...] = (
            (Mapping, self._mapping),
            ((list, tuple), self._collection),
            ((set, frozenset), self._set),
            (PurePath, self._path),
            (re.Pattern, self._pattern),
            (type, self._class),
            (types.ModuleType, self._module),
            (functools.partial, self._partial),
            (types.MethodType, self._method),
            (types.FunctionType, self._function),
            ((types.BuiltinFunctionType, types.MethodDescriptorType, types.WrapperDescriptorType), self._builtin),
        )

    def tell(self, value: object) -> str:
        """A digest that is equal for equal values, in every process.

        Raises:
            FingerprintError: it holds something that cannot be told.
        """
        return _hash(self._text(value, ()))

    def _text(self, value: object, around: tuple[int, ...]) -> str:
        if isinstance(value, enum.Enum):
            return f"{_name(type(value))}.{value.name}"
        if isinstance(value, _PLAIN):
            return f"{type(value).__name__}:{value!r}"
        if id(value) in self._known:
            return self._known[id(value)][1]
        if id(value) in around:
            raise FingerprintError(f"{_name(type(value))} holds itself, so that what it is cannot be told")
        inside = (*around, id(value))
        tell = next((tell for kinds, tell in self._kinds if isinstance(value, kinds)), self._object)
        text = tell(value, inside)
        if callable(value) or dataclasses.is_dataclass(value):
            # told again with every cell: hashed once, and kept, so that no other value gets its id
            text = f"#{_hash(text)}"
            self._known[id(value)] = value, text
        return text

    def _set(self, value: Collection[object], around: tuple[int, ...]) -> str:
        return f"{{{','.join(sorted(self._text(item, around) for item in value))}}}"

    def _path(self, value: PurePath, around: tuple[int, ...]) -> str:
        del around
        return f"path:{value.relative_to(self.root) if value.is_relative_to(self.root) else value}"

    def _class(self, value: type, around: tuple[int, ...]) -> str:
        del around
        return f"class:{_name(value)}{self._source(value.__module__)}"

    def _module(self, value: types.ModuleType, around: tuple[int, ...]) -> str:
        del around
        return f"module:{value.__name__}{self._source(value.__name__)}"

    def _pattern(self, value: re.Pattern[Any], around: tuple[int, ...]) -> str:
        return self._call("pattern", around, value.pattern, value.flags)

    def _partial(self, value: functools.partial[object], around: tuple[int, ...]) -> str:
        return self._call("partial", around, value.func, value.args, value.keywords)

    def _method(self, value: types.MethodType, around: tuple[int, ...]) -> str:
        return self._call("method", around, value.__func__, value.__self__)

    def _builtin(self, value: Any, around: tuple[int, ...]) -> str:
        return self._call(f"builtin:{value.__qualname__}", around, getattr(value, "__self__", None))

    def _collection(self, value: Collection[object], around: tuple[int, ...]) -> str:
        return self._call(type(value).__name__, around, *value)

    def _mapping(self, value: Mapping[Any, object], around: tuple[int, ...]) -> str:
        items = sorted((self._text(key, around), self._text(item, around)) for key, item in value.items())
        return f"{{{','.join(f'{key}={item}' for key, item in items)}}}"

    def _function(self, value: types.FunctionType, around: tuple[int, ...]) -> str:
        """Its place in its module, the source of that and of what it imports, and the values it was made with."""
        inner = _captured(value)
        return self._call(
            f"def:{_name(value)}:{value.__code__.co_firstlineno}",
            around,
            self._source(value.__module__),
            _code(value.__code__),
            value.__defaults__,
            value.__kwdefaults__,
            {name: item for name, item in inner.items() if item is not value},
        )

    def _object(self, value: object, around: tuple[int, ...]) -> str:
        """Of a class that is written in Python: its attributes, and the source of its module."""
        kind = type(value)
        if kind is object or any(not has_source(one.__module__) for one in kind.__mro__[:-1]):
            raise FingerprintError(
                f"a probe or variant captures a {_name(kind)}, of which nobody can tell whether it changed: "
                "let it capture plain values, or a dataclass of them"
            )
        slots = {name for one in kind.__mro__ for name in _slots(one)}
        inside = {name: getattr(value, name) for name in slots if hasattr(value, name)} | getattr(value, "__dict__", {})
        call = [kind.__call__] if callable(value) else []
        source = "" if kind.__module__ in FOLLOWED_ELSEWHERE else self._source(kind.__module__)
        return self._call(f"{_name(kind)}{source}", around, inside, *call)

    def _source(self, module: str) -> str:
        """The source of a module, and of what it imports from its own package and from the harness."""
        if module not in self._sources:
            self._sources[module] = "@" + _hash(json.dumps(closure([module], without=FOLLOWED_ELSEWHERE)))
        return self._sources[module]

    def _call(self, name: str, around: tuple[int, ...], *parts: object) -> str:
        return f"{name}({','.join(self._text(part, around) for part in parts)})"


def _captured(function: types.FunctionType) -> dict[str, object]:
    """The values that a function took from around it, by name; a name that has none yet is left out."""
    found = {}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            found[name] = cell.cell_contents
        except ValueError:  # assigned later
            continue
    return found


def _code(code: types.CodeType) -> str:
    """What tells two functions on one line apart."""
    consts = [_code(item) if isinstance(item, types.CodeType) else _const(item) for item in code.co_consts]
    return json.dumps([code.co_names, code.co_varnames, code.co_freevars, consts])


def _const(value: object) -> str:
    return f"{{{','.join(sorted(map(repr, value)))}}}" if isinstance(value, frozenset) else repr(value)


def _slots(kind: type) -> tuple[str, ...]:
    named = vars(kind).get("__slots__", ())
    return (named,) if isinstance(named, str) else tuple(named)


def _name(value: Any) -> str:
    return f"{value.__module__}.{value.__qualname__}"


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]
