"""Makes pydantic apply the rules, and report all problems of a config at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

from harness.config import rules
from harness.config._types import BACKENDS
from harness.config.presets import expand_preset

if TYPE_CHECKING:
    from pydantic import ModelWrapValidatorHandler

    from harness.config._section import Section

    S = TypeVar("S", bound=Section)

__all__ = ["RULE_ERROR", "declared", "facts", "location", "validated"]

RULE_ERROR = "rule."
"""Prefix of the pydantic error type that a violated rule is reported under."""


def declared(section: Section) -> Iterator[tuple[str, Any]]:
    """Yield (dotted path, value) of each leaf that is set, in schema order."""
    for name in type(section).model_fields:
        value = getattr(section, name)
        if value is None:
            continue
        if hasattr(value, "path_prefix"):
            yield from declared(value)
        else:
            yield section.path_prefix + name, value


def facts(section: Section) -> dict[str, Any]:
    """Return what the rules look at: declared leaves, presets expanded, and the backend."""
    owner = section.path_prefix.partition(".")[0]
    values = {"backend": owner} if owner in BACKENDS else {}
    return expand_preset({**values, **dict(declared(section))})


def validated(cls: type[S], data: Any, handler: ModelWrapValidatorHandler[S]) -> S:
    """Validate ``data``, then hold the rules of the section against it."""
    try:
        section = handler(data)
    except ValidationError as error:
        raise _completed(cls, data, error) from None
    values = facts(section)
    broken = _errors(cls, values)
    if broken:
        raise ValidationError.from_exception_data(cls.__name__, [_line(cls, candidate, values) for candidate in broken])
    return section


def location(broken: rules.Rule, values: rules.Values) -> str:
    """Return the path to report a violated rule at: its first parameter that is set."""
    below = [path for path in broken.parameters if path in values and path != "backend"]
    return next(iter(below), broken.parameters[-1])


def _errors(cls: type[Section], values: rules.Values) -> list[rules.Rule]:
    broken = rules.violations(values, cls.path_prefix)
    return [candidate for candidate in broken if candidate.severity == "error"]


def _line(cls: type[Section], broken: rules.Rule, values: rules.Values) -> InitErrorDetails:
    path = location(broken, values)
    inside = path.removeprefix(cls.path_prefix)
    return InitErrorDetails(
        type=PydanticCustomError(
            RULE_ERROR + broken.id,
            "{text}",
            {"text": broken.message(values), "rule": broken.id, "actual": broken.actual(values)},
        ),
        loc=tuple(inside.split(".")),
        input=values.get(path),
    )


def _completed(cls: type[Section], data: Any, error: ValidationError) -> ValidationError:
    """Add to the errors found so far the rules that the well-typed part of ``data`` violates."""
    known = error.errors(include_url=False)
    lines = [_again(item) for item in known]
    bad = {tuple(item["loc"]) for item in known if not item["type"].startswith(RULE_ERROR)}
    reported = {item["type"] for item in known}
    unclear = {cls.path_prefix + ".".join(map(str, loc)) for loc in bad}
    values = _salvage(cls, data, bad)
    lines += [
        _line(cls, candidate, values)
        for candidate in _errors(cls, values)
        if RULE_ERROR + candidate.id not in reported and not _touches(candidate, unclear)
    ]
    return ValidationError.from_exception_data(cls.__name__, lines)


def _touches(broken: rules.Rule, unclear: set[str]) -> bool:
    """Whether the rule depends on a value that has an error of its own."""
    return any(
        f"{path}.".startswith(f"{bad}.") or f"{bad}.".startswith(f"{path}.")
        for path in broken.parameters
        for bad in unclear
    )


def _again(item: Mapping[str, Any]) -> InitErrorDetails:
    """Turn a reported error back into the form that errors are made from."""
    kind: Any = item["type"]
    context = item.get("ctx", {})
    if kind.startswith(RULE_ERROR):
        return InitErrorDetails(type=PydanticCustomError(kind, "{text}", context), loc=item["loc"], input=item["input"])
    return InitErrorDetails(type=kind, loc=item["loc"], input=item["input"], ctx=context)


def _salvage(cls: type[Section], data: Any, bad: set[tuple[int | str, ...]]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    owner = cls.path_prefix.partition(".")[0]
    if owner in BACKENDS:
        values["backend"] = owner
    elif not cls.path_prefix and isinstance(data, Mapping) and "backend" not in data:
        values["backend"] = cls.model_fields["backend"].default
    values.update(_well_typed(cls, data, (), bad))
    return expand_preset(values)


def _well_typed(
    cls: type[Section],
    data: Any,
    loc: tuple[str, ...],
    bad: set[tuple[int | str, ...]],
) -> Iterator[tuple[str, Any]]:
    if not isinstance(data, Mapping):
        return
    for name, info in cls.model_fields.items():
        value, here = data.get(name), (*loc, name)
        nested = _section_type(info.annotation)
        if value is None:
            continue
        if hasattr(value, "path_prefix"):
            yield from declared(value)
        elif nested is not None:
            yield from _well_typed(nested, value, here, bad)
        elif not any(problem[: len(here)] == here for problem in bad):
            yield cls.path_prefix + name, value


def _section_type(annotation: Any) -> type[Section] | None:
    arms = getattr(annotation, "__args__", ())
    return next((arm for arm in arms if hasattr(arm, "path_prefix")), None)
