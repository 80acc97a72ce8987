"""What an installed library offers, in words that two versions can be compared in, and how it is read.

Only signatures, annotations and registries are read: no model is loaded. What cannot be read says
so (`failed`, `unlisted`) instead of looking like something that upstream no longer has.
"""

from __future__ import annotations

import ast
import dataclasses
import enum
import inspect
import re
import textwrap
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import metadata
from typing import Any, NotRequired, TypedDict, cast

from harness.backends.describe import describe
from harness.jsontypes import JSON

Tables = Mapping[str, Mapping[str, str]]
"""Upstream call, as `Calls` records it, to {parameter path: argument}: what an adapter forwards."""


class Argument(TypedDict):
    """One argument of an upstream call."""

    type: str
    """As upstream writes it; empty where it does not."""
    default: NotRequired[JSON]
    """Left out when it is required, or has no readable default."""
    values: NotRequired[list[JSON]]
    """All that upstream itself names. Left out when it names none."""
    values_from: NotRequired[str]
    """The annotation or registry that names them."""
    aliases: NotRequired[dict[str, JSON]]
    """Other spelling of a value, as text, to the one in `values`."""
    parts: NotRequired[str]
    """The call in this interface that makes the object it takes."""


class UpstreamCall(TypedDict):
    """A class or function of the library, with its arguments by name."""

    read_from: str
    arguments: dict[str, Argument]
    open: NotRequired[str]
    """What it takes besides, and why that cannot be listed: what is missing here may still be taken."""
    note: NotRequired[str]
    """What else a reader should know about this list."""
    failed: NotRequired[str]
    """Why it could not be read. Nothing is known about its arguments then."""


class Interface(TypedDict):
    """What the installed libraries offer to an adapter."""

    libraries: dict[str, str]
    """Library to the version that was read."""
    calls: dict[str, UpstreamCall]


def read(libraries: Mapping[str, Sequence[str]], readers: Mapping[str, Callable[[], UpstreamCall]]) -> Interface:
    """Run each reader; one that fails spoils its own call only.

    Args:
        libraries: what the calls belong to, each with the distributions that may bring it.
        readers: the calls, in the order of the page.
    """
    calls: dict[str, UpstreamCall] = {}
    for name, reader in readers.items():
        try:
            calls[name] = reader()
        except Exception as error:  # noqa: BLE001 - another version may have anything in these places
            calls[name] = {"read_from": "", "arguments": {}, "failed": f"{type(error).__name__}: {error}"}
    return {"libraries": {name: _version(names) for name, names in libraries.items()}, "calls": calls}


def _version(distributions: Sequence[str]) -> str:
    for name in distributions:
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return "unknown"


def of_function(function: Callable[..., Any], *, ignore: Iterable[str] = ()) -> dict[str, Argument]:
    """Arguments in a signature; `self` and those collected by `*` and `**` left out."""
    hints = _hints(inspect.unwrap(function))
    found: dict[str, Argument] = {}
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind in {parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD} or name in {"self", *ignore}:
            continue
        annotation = hints.get(name, parameter.annotation)
        found[name] = argument(None if annotation is parameter.empty else annotation)
        if parameter.default is not parameter.empty:
            found[name]["default"] = plain(parameter.default)
    return found


def of_dataclass(cls: type) -> dict[str, Argument]:
    """Fields of a dataclass, of the standard library or pydantic, that its constructor takes."""
    hints = _hints(cls)
    found: dict[str, Argument] = {}
    for field in dataclasses.fields(cls):
        if not field.init or field.name.startswith("_"):
            continue
        found[field.name] = argument(hints.get(field.name, field.type))
        default: Any = field.default
        factory: Any = field.default_factory
        if hasattr(default, "default_factory"):  # pydantic's Field(...) stands where the default would
            default, factory = default.default, default.default_factory or dataclasses.MISSING
        if factory is not dataclasses.MISSING:
            default = factory()
        if default is not dataclasses.MISSING and type(default).__name__ != "PydanticUndefinedType":
            found[field.name]["default"] = plain(default)
    return found


def of_model(cls: Any) -> dict[str, Argument]:
    """Fields of a pydantic model."""
    found: dict[str, Argument] = {}
    for name, field in cls.model_fields.items():
        found[name] = argument(field.annotation)
        if not field.is_required():
            found[name]["default"] = plain(field.get_default(call_default_factory=True))
    return found


def of_keywords(function: Callable[..., Any], keywords: str = "kwargs") -> dict[str, Argument]:
    """Arguments that a function pops from its `**keywords`, found in its source.

    This is how much of what `from_pretrained` takes is written down; types are not.
    """
    source = textwrap.dedent(inspect.getsource(inspect.unwrap(function)))
    found: dict[str, Argument] = {}
    for node in ast.walk(ast.parse(source)):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "pop"):
            continue
        if not (isinstance(node.func.value, ast.Name) and node.func.value.id == keywords and node.args):
            continue
        if not (isinstance(node.args[0], ast.Constant) and isinstance(node.args[0].value, str)):
            continue
        name = node.args[0].value
        if name.startswith("_") or name in found:
            continue
        found[name] = {"type": ""}
        if len(node.args) > 1 and isinstance(node.args[1], (ast.Constant, ast.Dict, ast.List, ast.Tuple)):
            found[name]["default"] = plain(ast.literal_eval(node.args[1]))
    return found


_DOCUMENTED = re.compile(r"^[ \t]+(\w+) ?\((.+?)\)\s*:\s*$", re.MULTILINE)
_TAIL = re.compile(r",? *\*optional\*.*|,? *defaults to.*")


def documented_types(docstring: str | None) -> dict[str, str]:
    """Argument to its type where a docstring says `name (`type`, *optional*, …):`."""
    found = {name: _TAIL.sub("", says).replace("`", "").strip() for name, says in _DOCUMENTED.findall(docstring or "")}
    return {name: says for name, says in found.items() if says}


def argument(annotation: object) -> Argument:
    """An argument by its annotation, with the values that are written into it."""
    found: Argument = {"type": spelled(annotation)}
    values, aliases = _values(annotation)
    if values:
        found["values"] = values
        found["values_from"] = "its annotation"
    if aliases:
        found["aliases"] = aliases
    return found


def with_values(found: Argument, values: Iterable[JSON], source: str) -> None:
    """Name the values of an argument from a registry."""
    found["values"] = list(dict.fromkeys(values))
    found["values_from"] = source


def spelled(annotation: object) -> str:
    """An annotation as text, without what differs between two readings of one version."""
    if annotation is None or annotation is inspect.Parameter.empty:
        return ""
    if isinstance(annotation, str):
        return annotation
    if typing.get_origin(annotation) is typing.Annotated:
        return spelled(typing.get_args(annotation)[0])
    text = inspect.formatannotation(annotation)
    return re.sub(r"<(?:function )?([\w.<>]+) at 0x[0-9a-f]+>", r"\1", text).replace("typing.", "")


def _values(annotation: object) -> tuple[list[JSON], dict[str, JSON]]:
    """Members of literals, enums and bool in an annotation; integer values of enums as aliases."""
    if typing.get_origin(annotation) is typing.Literal:
        return list(dict.fromkeys(typing.get_args(annotation))), {}
    if annotation is bool:
        return [False, True], {}
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        members = annotation.__members__
        return list(members), {str(item.value): name for name, item in members.items() if isinstance(item.value, int)}
    if typing.get_origin(annotation) in {typing.Union, types.UnionType, typing.Annotated}:
        values: list[JSON] = []
        aliases: dict[str, JSON] = {}
        for part in typing.get_args(annotation):
            more, others = _values(part)
            values += [value for value in more if not _has(values, value)]
            aliases |= others
        # `bool | dict` names all its booleans, but not all its values
        return ([], {}) if values == [False, True] and _others(annotation) else (values, aliases)
    return [], {}


def _others(annotation: object) -> bool:
    return any(part not in {bool, type(None)} for part in typing.get_args(annotation))


def _has(values: list[JSON], value: JSON) -> bool:
    return any(type(known) is type(value) and known == value for known in values)


def plain(value: object) -> JSON:
    """A default as JSON, the same whenever and wherever one version is read."""
    if isinstance(value, enum.Enum):
        return value.name
    if isinstance(value, (set, frozenset)):
        return sorted(cast("list[str]", [plain(item) for item in value]), key=str)
    if inspect.isroutine(value) or isinstance(value, type):
        return f"{value.__module__}.{value.__qualname__}"
    if dataclasses.is_dataclass(value) or hasattr(value, "model_fields"):
        # an object of its own defaults: its fields are another call's matter
        return f"{type(value).__name__}()"
    return describe(value)


def _hints(thing: Any) -> dict[str, Any]:
    """Resolved annotations; what cannot be resolved is left as it is written."""
    try:
        return typing.get_type_hints(thing)
    except Exception:  # noqa: BLE001 - a name imported for type checkers only raises NameError, and worse is known
        return {}
