"""Scalar types, the section base class and the field helper of the config schema."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

__all__ = [
    "BACKENDS",
    "INT32_MAX",
    "JSON",
    "SEED_MAX",
    "Backend",
    "DeviceMap",
    "MaxMemory",
    "Passthrough",
    "Section",
    "opt",
]

Backend = Literal["pytorch", "vllm", "tensorrt"]
BACKENDS: tuple[Backend, ...] = get_args(Backend)

JSON = None | bool | int | float | str | list[Any] | dict[str, Any]

INT32_MAX = 2**31 - 1  # counts end up in 32-bit tensors and C ints upstream
SEED_MAX = 2**32 - 1  # numpy.random.seed, which every backend's seeding calls, accepts no more
_INT64_MAX = 2**63 - 1
_MAX_DEPTH = 16
_SIZE = re.compile(r"^\d+(\.\d+)?\s?([KMGT]i?B)$", re.IGNORECASE)


class Section(BaseModel):
    """A strict, immutable part of the config.

    Every field defaults to None, which states no intent: upstream's own default applies. Unknown
    keys are rejected; values are not coerced (``"true"``, ``1`` and ``True`` stay different).
    """

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, frozen=True)

    path_prefix: ClassVar[str] = ""
    """Where the section sits in the experiment config, with a trailing dot: ``"decoder."``."""


def opt(description: str, **constraints: Any) -> Any:
    """Declare an optional field: default None, a description, and any pydantic constraints."""
    return Field(default=None, description=description, **constraints)


def _check_json(value: Any, where: str, depth: int) -> None:
    if depth > _MAX_DEPTH:
        raise ValueError(f"{where} is nested deeper than {_MAX_DEPTH} levels; flatten it")
    if value is None or isinstance(value, bool | str):
        return
    if isinstance(value, int):
        if abs(value) > _INT64_MAX:
            raise ValueError(f"{where} is an integer beyond 64 bits; use a smaller one")
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{where} is {value}; use a finite number")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            _check_json(item, f"{where}[{index}]", depth + 1)
    elif isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise ValueError(f"{where} has the key {key!r}; keys must be strings")
            _check_json(item, f"{where}.{key}", depth + 1)
    else:
        raise ValueError(
            f"{where} is a {type(value).__name__}; "
            "use null, a boolean, a number, a string, a list or a mapping"
        )


def _json_mapping(value: dict[str, Any]) -> dict[str, Any]:
    for key, item in value.items():
        _check_json(item, key, 1)
    return value


def _device_keys(value: Mapping[int | str, Any]) -> dict[int | str, Any]:
    """Turn digit strings (the only form JSON keys can take) into device indices."""
    keyed: dict[int | str, Any] = {}
    for key, item in value.items():
        device: int | str = int(key) if isinstance(key, str) and key.isdecimal() else key
        if isinstance(device, int) and not 0 <= device <= INT32_MAX:
            raise ValueError(f"device index {device} is out of range; use 0 for the first device")
        if isinstance(device, str) and not device:
            raise ValueError("a device name is empty; use an index (0, 1, …), 'cpu' or 'disk'")
        if device in keyed:
            raise ValueError(f"device {device} is named twice; keep one entry")
        keyed[device] = item
    return keyed


def _memory_limits(value: Mapping[int | str, int | str]) -> dict[int | str, int | str]:
    keyed = _device_keys(value)
    for device, limit in keyed.items():
        if isinstance(limit, str) and not _SIZE.match(limit):
            raise ValueError(f"limit {limit!r} of device {device} is no size; write it as '10GiB'")
        if isinstance(limit, int) and not 0 < limit <= _INT64_MAX:
            raise ValueError(f"limit {limit} of device {device} is out of range; use bytes > 0")
    return keyed


def _placements(value: str | dict[str, int | str]) -> str | dict[str, int | str]:
    if not value:
        raise ValueError("device_map is empty; use 'auto', a device such as 'cpu', or a mapping")
    for module, device in value.items() if isinstance(value, dict) else ():
        if device == "" or (isinstance(device, int) and not 0 <= device <= INT32_MAX):
            raise ValueError(
                f"module {module!r} is placed on {device!r}; use an index, 'cpu' or 'disk'"
            )
    return value


MaxMemory = Annotated[dict[int | str, int | str], AfterValidator(_memory_limits)]
"""Memory limit per device (index, ``"cpu"`` …): bytes, or a size such as ``"10GiB"``."""

DeviceMap = Annotated[str | dict[str, int | str], AfterValidator(_placements)]
"""A placement policy or device name, or a mapping from module name to device."""

Passthrough = Annotated[dict[str, Any], AfterValidator(_json_mapping)]
"""Upstream keyword arguments as JSON values."""
