"""YAML text to plain data with line numbers, and back. Safe, strict, and with clear errors.

Only the values of JSON are known, spelt as YAML 1.2 spells them: ``yes`` and ``2024-01-01`` are
strings, ``1e3`` is a number. A key may occur once, and aliases may not blow up.
"""

import re
import sys
from dataclasses import dataclass, field
from typing import Any

import yaml

from harness.config.problems import Problem
from harness.jsontypes import JSON

__all__ = ["NotYaml", "Parsed", "dump", "parse"]

Path = tuple[str, ...]

_CORE = "tag:yaml.org,2002:"
_SCALARS: tuple[tuple[str, str, str], ...] = (
    ("null", r"^(?:~|null|Null|NULL|)$", "~nN\0"),
    ("bool", r"^(?:true|True|TRUE|false|False|FALSE)$", "tTfF"),
    ("int", r"^[-+]?[0-9]+$", "-+0123456789"),
    ("float", r"^[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$", "-+.0123456789"),
    ("float", r"^[-+]?\.(?:inf|Inf|INF)$|^\.(?:nan|NaN|NAN)$", "-+."),
    ("merge", r"^<<$", "<"),
)
_MOST_NODES = 10_000
_MOST_DIGITS = 100


class NotYaml(ValueError):
    """Text that is no acceptable YAML; ``problem`` says where and why."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.what)
        self.problem = problem


@dataclass(frozen=True, slots=True)
class Parsed:
    """Plain data, and the line (from 1) of each key by its path."""

    data: Any
    lines: dict[Path, int]

    def line_of(self, path: str) -> int | None:
        """Return the line of ``path``, or of the nearest mapping around it."""
        parts = tuple(path.split("."))
        for end in range(len(parts), 0, -1):
            if parts[:end] in self.lines:
                return self.lines[parts[:end]]
        return None


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 - yaml declares it so


class _Dumper(yaml.SafeDumper):
    """Quotes every string that YAML 1.1 or this module's loader would take for something else."""


for _name, _pattern, _first in _SCALARS:
    for _class in (_Loader, _Dumper):
        _chars = ["" if char == "\0" else char for char in _first]
        _class.add_implicit_resolver(_CORE + _name, re.compile(_pattern), _chars)


def _refuse(what: str, actual: str, expected: str, fix: str, line: int | None) -> NotYaml:
    return NotYaml(Problem("", what, actual, expected, fix, line=line))


@dataclass(slots=True)
class _Builder:
    lines: dict[Path, int] = field(default_factory=dict)
    nodes: int = 0
    open: set[int] = field(default_factory=set)

    def build(self, node: yaml.Node, path: Path) -> Any:
        self.nodes += 1
        line = node.start_mark.line + 1
        if self.nodes > _MOST_NODES:
            raise _refuse(
                "aliases multiply, or the file is too big",
                f"more than {_MOST_NODES} values",
                "a config of ordinary size",
                "write the values out instead of using aliases",
                line,
            )
        if id(node) in self.open:
            raise _refuse("an alias contains itself", "a cycle", "a tree", "remove the alias", line)
        self.open.add(id(node))
        try:
            if isinstance(node, yaml.MappingNode) and node.tag == _CORE + "map":
                return self._mapping(node, path)
            if isinstance(node, yaml.SequenceNode) and node.tag == _CORE + "seq":
                return [self.build(item, (*path, str(i))) for i, item in enumerate(node.value)]
            return _scalar(node)
        finally:
            self.open.discard(id(node))

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[Any, Any]:
        merged: dict[Any, Any] = {}
        own: dict[Any, Any] = {}
        first: dict[Any, int] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if key_node.tag == _CORE + "merge":
                merged = {**self._merge(value_node, path), **merged}
                continue
            key = _scalar(key_node)
            if isinstance(key, bool) or not isinstance(key, str | int):
                raise _refuse(
                    "a key is neither a string nor an integer",
                    f"key {key!r}",
                    "a field name",
                    "quote the key",
                    line,
                )
            if key in own:
                raise _refuse(
                    f"duplicate key {key!r}",
                    f"lines {first[key]} and {line}",
                    "each key once",
                    "remove one of the two",
                    line,
                )
            first[key] = self.lines[(*path, str(key))] = line
            own[key] = self.build(value_node, (*path, str(key)))
        return {**merged, **own}

    def _merge(self, node: yaml.Node, path: Path) -> dict[Any, Any]:
        sources = node.value if isinstance(node, yaml.SequenceNode) else [node]
        merged: dict[Any, Any] = {}
        for source in sources:
            if not isinstance(source, yaml.MappingNode):
                raise _refuse(
                    "'<<' merges something other than a mapping",
                    f"a {_kind(source)}",
                    "a mapping, or a list of mappings",
                    "merge a mapping, or quote '<<'",
                    node.start_mark.line + 1,
                )
            merged = {**self.build(source, path), **merged}
        return merged


def _kind(node: yaml.Node) -> str:
    return type(node).__name__.removesuffix("Node").lower()


def _scalar(node: yaml.Node) -> JSON:
    line, text = node.start_mark.line + 1, node.value
    kind = node.tag.removeprefix(_CORE)
    if isinstance(node, yaml.ScalarNode):
        if kind in ("int", "float") and len(text) > _MOST_DIGITS:
            raise _refuse(
                "number with too many digits",
                f"{len(text)} characters",
                f"at most {_MOST_DIGITS}",
                "write a smaller number",
                line,
            )
        try:
            match kind:
                case "str" | "merge":
                    return str(text)
                case "null":
                    return None
                case "bool":
                    return {"true": True, "false": False}[text.lower()]
                case "int":
                    return int(text)
                case "float":
                    return float(text.replace(".inf", "inf").replace(".nan", "nan").lower())
        except (KeyError, ValueError):
            pass
    raise _refuse(
        "a value of a kind that configs do not have",
        f"tag {node.tag!r} on a {_kind(node)}",
        "null, a boolean, a number, a string, a list or a mapping",
        "remove the tag, or quote the value",
        line,
    )


def parse(text: str) -> Parsed:
    """Parse one YAML document. Raises :class:`NotYaml` with the one problem that stopped it."""
    builder = _Builder()
    try:
        node = yaml.compose(text, Loader=_Loader)
        data = None if node is None else builder.build(node, ())
    except RecursionError:
        raise _refuse("nested too deeply", "hundreds of levels", "a few levels", "flatten it", None) from None
    except yaml.MarkedYAMLError as error:
        raise _syntax(error) from None
    except yaml.YAMLError as error:
        actual = " ".join(str(error).split())
        raise _refuse("not YAML", actual, "printable text", "remove control characters", None) from None
    return Parsed(data, builder.lines)


def _syntax(error: yaml.MarkedYAMLError) -> NotYaml:
    mark = error.problem_mark or error.context_mark
    line = mark.line + 1 if mark else None
    told = " ".join(filter(None, (error.context, error.problem)))
    if "'\\t'" in told:
        return _refuse("a tab where YAML wants spaces", told, "spaces", "replace the tab by spaces", line)
    if "single document" in told:
        return _refuse("more than one document", told, "one document", "split the file at '---'", line)
    return _refuse("not YAML", told, "valid YAML", "correct the syntax at this line", line)


def dump(data: JSON, *, wrapped: bool = True) -> str:
    """Write plain data as YAML text that :func:`parse` reads back unchanged; long strings over lines, if `wrapped`."""
    width = None if wrapped else sys.maxsize
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=width)
