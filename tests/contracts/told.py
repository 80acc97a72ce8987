"""Pictures of what was handed to a library, and of how a call ended. Standard library only."""

from __future__ import annotations

import dataclasses
import enum
from typing import Any


def told(value: Any, *, deep: bool = True) -> Any:
    """Plain data as it is; of an object its class and, where `deep`, the fields that were set.

    Libraries that normalise the fields of an object as it is made are told by the call that makes it: not `deep`.
    """
    if isinstance(value, enum.Enum):
        return f"{type(value).__name__}.{value.name}"
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, dict):
        return {str(key): told(item, deep=deep) for key, item in value.items()}
    if isinstance(value, (list, tuple, set)):
        return [told(item, deep=deep) for item in value]
    if not deep:
        return {"class": type(value).__name__, "fields": {}}
    if hasattr(value, "model_fields_set"):
        fields = {name: getattr(value, name) for name in value.model_fields_set}
    elif dataclasses.is_dataclass(value):
        fields = dict(vars(value))
    else:
        fields = {name: str(item) for name, item in vars(value).items()} if hasattr(value, "__dict__") else {}
    return {"class": type(value).__name__, "fields": told(fields)}


def refusal(raised: BaseException) -> dict[str, str]:
    """What was raised, and in whose file."""
    place = raised.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    code = place.tb_frame.f_code if place else None
    return {
        "type": type(raised).__name__,
        "message": str(raised),
        "file": code.co_filename if code else "",
        "function": code.co_name if code else "",
    }
