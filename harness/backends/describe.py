"""A JSON picture of any object, for evidence: the standard library alone."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields as fields_of
from dataclasses import is_dataclass

from harness.jsontypes import JSON


def describe(value: object, depth: int = 4) -> JSON:  # noqa: PLR0911 - one kind of value a line
    """A JSON picture of any object: plain data as it is, tensors by shape, the rest by class."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else repr(value)
    if isinstance(value, Mapping):
        return {str(key): describe(item, depth - 1) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [describe(item, depth - 1) for item in value]
    shape = getattr(value, "shape", None)
    if shape is not None and hasattr(value, "dtype"):
        return f"{type(value).__name__}{list(shape)}:{value.dtype}"
    fields = _fields(value) if depth > 0 else None
    if fields is not None:
        stated = {key: item for key, item in fields.items() if item is not None}
        return {"class": type(value).__name__, **{k: describe(v, depth - 1) for k, v in stated.items()}}
    text = str(value)
    return f"<{type(value).__name__}>" if " object at 0x" in text else text


def _fields(value: object) -> Mapping[str, object] | None:
    """The public fields of an object that knows them: a config, a dataclass, a msgspec struct."""
    to_dict = getattr(value, "to_dict", None)
    if callable(to_dict):
        listed: Mapping[str, object] = to_dict()
        return listed
    names = [f.name for f in fields_of(value)] if is_dataclass(value) else getattr(value, "__struct_fields__", None)
    if names is None or isinstance(value, type):
        return None
    return {name: getattr(value, name, None) for name in names if not name.startswith("_")}
