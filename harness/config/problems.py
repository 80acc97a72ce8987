"""What is wrong with a config, as data: path, what failed, actual, expected, and how to fix it."""

import dataclasses
import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import ValidationError

from harness.config import _check, rules
from harness.config._types import BACKENDS
from harness.config.experiment import ExperimentConfig
from harness.config.schema import LeafField, leaf_fields

__all__ = ["Problem", "problems_of", "warnings_for"]

_ARTICLES = {
    "bool": "true or false",
    "int": "an integer",
    "float": "a number",
    "str": "a string",
    "dict": "a mapping",
    "list": "a list",
}
_SHOWN = 80
_SHOWN_NAMES = 8


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong: where, what failed, actual against expected, why, and how to fix it."""

    path: str
    what: str
    actual: str
    expected: str
    fix: str
    reason: str = ""
    severity: Literal["error", "warning"] = "error"
    rule: str | None = None
    parameters: tuple[str, ...] = ()
    line: int | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the problem as a JSON object."""
        return {**dataclasses.asdict(self), "parameters": list(self.parameters)}


def warnings_for(config: ExperimentConfig) -> tuple[Problem, ...]:
    """Return what a valid config probably does not mean: settings that will have no effect, etc."""
    values = _check.facts(config)
    return tuple(
        _rule_problem(broken, _check.location(broken, values), broken.actual(values))
        for broken in rules.violations(values)
        if broken.severity == "warning"
    )


def problems_of(error: ValidationError) -> tuple[Problem, ...]:
    """Turn pydantic's errors about an experiment config into problems.

    The arms of a union each have an error in pydantic; a field is reported once here.
    """
    found: dict[tuple[str, str], Problem] = {}
    for item in error.errors(include_url=False):
        problem = _problem(item)
        found.setdefault((problem.path, problem.rule or ""), problem)
    return tuple(found.values())


def _rule_problem(broken: rules.Rule, path: str, actual: str) -> Problem:
    return Problem(
        path=path,
        what=broken.combination,
        actual=actual,
        expected=broken.expected,
        fix=broken.resolution,
        reason=broken.reason,
        severity=broken.severity,
        rule=broken.id,
        parameters=broken.parameters,
    )


def _problem(item: Mapping[str, Any]) -> Problem:
    kind, loc, context = item["type"], tuple(map(str, item["loc"])), item.get("ctx", {})
    if kind.startswith(_check.RULE_ERROR):
        return _rule_problem(rules.rule(context["rule"]), ".".join(loc), context["actual"])
    path = _field_path(loc)
    actual = _shown(item["input"])
    if kind == "missing":
        return Problem(path, "required field is missing", "not set", "a value", f"add `{path}`")
    if kind in ("extra_forbidden", "invalid_key"):
        return _unknown(path, actual)
    if kind == "value_error":
        what, _, fix = str(context.get("error", item["msg"])).partition("; ")
        return Problem(path, what, actual, "a meaningful value", fix or "change the value")
    expected = _expected(path)
    what = "value out of range" if "than" in kind else "not an accepted value"
    return Problem(path, what, actual, expected, f"write {expected}")


def _field_path(loc: tuple[str, ...]) -> str:
    """Return the field of ``loc``, without what pydantic adds for unions and mappings."""
    for end in range(1, len(loc) + 1):
        if (path := ".".join(loc[:end])) in leaf_fields():
            return path
    return ".".join(loc)


def _unknown(path: str, actual: str) -> Problem:
    names = [*leaf_fields(), "model", "backend"]
    parent, _, last = path.rpartition(".")
    near = difflib.get_close_matches(path, names, n=1, cutoff=0.75) or [
        name for name in names if name.rpartition(".")[2] == last
    ]
    siblings = [name for name in names if name.rpartition(".")[0] == parent]
    expected = f"one of {_listed(path, siblings)}" if parent and siblings else "a known field"
    fix = f"use `{near[0]}`" if near else "remove it, or hand it to upstream in passthrough_kwargs"
    return Problem(path, "unknown field", actual, expected, fix)


def _listed(path: str, names: list[str]) -> str:
    """All of a few names, and of many those that are most like `path`."""
    if len(names) <= _SHOWN_NAMES:
        return ", ".join(names)
    shown = difflib.get_close_matches(path, names, n=_SHOWN_NAMES, cutoff=0)
    return f"{', '.join(shown)} and {len(names) - len(shown)} more"


def _expected(path: str) -> str:
    if path in leaf_fields():
        return _leaf_expected(leaf_fields()[path])
    if path == "backend":
        return f"one of {', '.join(BACKENDS)}"
    if path == "model":
        return "a string"
    return "a mapping of settings"


def _leaf_expected(leaf: LeafField) -> str:
    words = [_ARTICLES[kind] for kind in leaf.kinds if not (kind == "str" and leaf.choices)]
    if leaf.choices:
        words.append(("one of " if len(leaf.choices) > 1 else "") + ", ".join(leaf.choices))
    text = " or ".join(words)
    limits = leaf.constraints
    bounds = [
        f"{word} {limits[limit]:g}" if isinstance(limits[limit], float) else f"{word} {limits[limit]}"
        for limit, word in (("ge", "at least"), ("gt", "above"), ("le", "at most"), ("lt", "below"))
        if limit in limits
    ]
    if "pattern" in limits:
        bounds.append(f"matching {limits['pattern']}")
    if "min_length" in limits:
        bounds.append("not empty")
    return ", ".join([text, *bounds])


def _shown(value: Any) -> str:
    text = repr(value)
    text = text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."
    return f"{text} ({type(value).__name__})"
