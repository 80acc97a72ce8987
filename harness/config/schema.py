"""The schema as data: every leaf path with its types, limits and description."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from harness.config._section import Section
from harness.config._types import BACKENDS
from harness.config.experiment import ExperimentConfig

__all__ = ["LeafField", "leaf_fields", "leaf_paths", "schema_field"]

_IDENTITY = ("model", "backend")


@dataclass(frozen=True, slots=True)
class LeafField:
    """One leaf of the schema.

    ``kinds`` are the JSON kinds accepted besides null; ``choices`` the only strings accepted, or
    None where strings are open; ``backend`` the backend whose section it is in, or None if shared.
    """

    path: str
    kinds: tuple[str, ...]
    choices: tuple[str, ...] | None
    constraints: Mapping[str, Any]
    default: Any
    description: str
    backend: str | None


def _flatten(annotation: Any, limits: dict[str, Any] | None = None) -> Iterator[Any]:
    """Yield the arms of a union; note in ``limits`` those of scalars and of lists (not of their items)."""
    origin = get_origin(annotation)
    if origin is Annotated:
        inner, *metadata = get_args(annotation)
        if limits is not None and get_origin(inner) in (None, list):
            limits |= _limits(metadata)
        yield from _flatten(inner, limits)
    elif origin in (Union, UnionType):
        for arm in get_args(annotation):
            yield from _flatten(arm, limits)
    elif annotation is not type(None):
        yield annotation


def _limits(metadata: Iterable[Any]) -> dict[str, Any]:
    names = ("ge", "gt", "le", "lt", "min_length", "max_length", "pattern")
    found: dict[str, Any] = {}
    for item in metadata:
        if isinstance(item, FieldInfo):
            found |= _limits(item.metadata)
        found |= {name: value for name in names if (value := getattr(item, name, None)) is not None}
    return found


def _kind(arm: Any) -> str:
    if get_origin(arm) is Literal:
        return "str"
    return (get_origin(arm) or arm).__name__  # type: ignore[no-any-return]


def _walk(section: type[Section], prefix: str) -> Iterator[LeafField]:
    for name, info in section.model_fields.items():
        path = prefix + name
        if path in _IDENTITY:
            continue
        limits: dict[str, Any] = {}
        arms = list(_flatten(info.annotation, limits))
        nested = [arm for arm in arms if isinstance(arm, type) and issubclass(arm, Section)]
        if nested:
            yield from _walk(nested[0], path + ".")
            continue
        literals = [value for arm in arms if get_origin(arm) is Literal for value in get_args(arm)]
        limits |= _limits(info.metadata)
        head = path.partition(".")[0]
        yield LeafField(
            path=path,
            kinds=tuple(dict.fromkeys(_kind(arm) for arm in arms)),
            choices=tuple(literals) if literals else None,
            constraints=MappingProxyType(limits),
            default=info.default,
            description=info.description or "",
            backend=head if head in BACKENDS else None,
        )


@cache
def leaf_fields() -> Mapping[str, LeafField]:
    """Every leaf of the schema by its dotted path, in schema order; not ``model``, ``backend``."""
    return MappingProxyType({leaf.path: leaf for leaf in _walk(ExperimentConfig, "")})


@cache
def leaf_paths(backend: str | None = None) -> tuple[str, ...]:
    """Every leaf path, or those that a config for ``backend`` may set (shared ones and its own)."""
    if backend is not None and backend not in BACKENDS:
        raise ValueError(f"unknown backend {backend!r}; choose one of {', '.join(BACKENDS)}")
    return tuple(path for path, leaf in leaf_fields().items() if backend is None or leaf.backend in (None, backend))


def schema_field(path: str) -> LeafField:
    """Return the leaf at ``path``; ``KeyError`` with the nearest names if there is none."""
    leaves = leaf_fields()
    if path not in leaves:
        import difflib  # only for the error

        near = ", ".join(difflib.get_close_matches(path, leaves, n=3)) or "none"
        raise KeyError(f"no config field {path!r}; nearest: {near}")
    return leaves[path]
