"""Scalar types and the field helper of the config schema."""

import math
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, Field, StringConstraints

__all__ = [
    "BACKENDS",
    "INT32_MAX",
    "INT64_MAX",
    "SEED_MAX",
    "Backend",
    "DeviceMap",
    "JSONSchema",
    "MaxMemory",
    "NonBlank",
    "NonEmpty",
    "Passthrough",
    "TokenBias",
    "TokenId",
    "opt",
]

Backend = Literal["pytorch", "vllm", "tensorrt"]
BACKENDS: tuple[Backend, ...] = get_args(Backend)

INT32_MAX = 2**31 - 1  # counts end up in 32-bit tensors and C ints upstream
SEED_MAX = 2**32 - 1  # numpy.random.seed, which every backend's seeding calls, accepts no more
INT64_MAX = 2**63 - 1
_MAX_DEPTH = 16
_SIZE = re.compile(r"^\d+(\.\d+)?\s?[KMG]i?B$", re.IGNORECASE)  # what accelerate 1.15 parses
_MEMORY_DEVICES = ("cpu", "disk", "mps")  # beside indices, all that accelerate knows


def opt(description: str, **constraints: Any) -> Any:
    """Declare an optional field: default None, a description, and any pydantic constraints."""
    return Field(default=None, description=description, **constraints)


def _check_json(value: Any, where: str, depth: int) -> None:
    """Raise ``ValueError``, the one pydantic collects, unless ``value`` survives JSON unchanged."""
    if depth > _MAX_DEPTH:
        raise ValueError(f"{where} is nested deeper than {_MAX_DEPTH} levels; flatten it")
    match value:
        case None | bool() | str():
            pass
        case int() if abs(value) > INT64_MAX:
            raise ValueError(f"{where} is an integer beyond 64 bits; use a smaller one")
        case float() if not math.isfinite(value):
            raise ValueError(f"{where} is {value}; use a finite number")
        case int() | float():
            pass
        case list():
            for index, item in enumerate(value):
                _check_json(item, f"{where}[{index}]", depth + 1)
        case dict():
            for key, item in value.items():
                _check_json(item, f"{where}.{_string_key(key, where)}", depth + 1)
        case _:
            kind = type(value).__name__
            raise ValueError(f"{where} is a {kind}; use null, a scalar, a list or a mapping")


def _string_key(key: Any, where: str) -> str:
    match key:
        case str():
            return key
        case _:
            raise ValueError(f"{where} has the key {key!r}; keys must be strings")


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
        if device in keyed:
            raise ValueError(f"device {device} is named twice; keep one entry")
        keyed[device] = item
    return keyed


def _memory_limits(value: Mapping[int | str, int | str]) -> dict[int | str, int | str]:
    keyed = _device_keys(value)
    for device, limit in keyed.items():
        if isinstance(device, str) and device not in _MEMORY_DEVICES:
            known = ", ".join(_MEMORY_DEVICES)
            raise ValueError(f"device {device!r} is unknown; use an index (0, 1, …) or one of {known}")
        if isinstance(limit, str) and not _SIZE.match(limit):
            raise ValueError(f"limit {limit!r} of device {device} is no size; write it as '10GiB'")
        if isinstance(limit, int) and not 0 < limit <= INT64_MAX:
            raise ValueError(f"limit {limit} of device {device} is out of range; use bytes > 0")
    return keyed


def _token_bias(value: Mapping[int | str, float]) -> dict[str, float]:
    """Turn token ids into digit strings, the only form JSON keys can take."""
    keyed: dict[str, float] = {}
    for key, bias in value.items():
        token = str(key)
        if not re.fullmatch(r"0|[1-9][0-9]{0,9}", token) or int(token) > INT32_MAX:
            raise ValueError(f"token {key!r} is no token id; use a number from 0 to {INT32_MAX}")
        if token in keyed:
            raise ValueError(f"token {token} is named twice; keep one entry")
        keyed[token] = bias
    return keyed


def _placements(value: str | dict[str, int | str]) -> str | dict[str, int | str]:
    if not value:
        raise ValueError("device_map is empty; use 'auto', a device such as 'cpu', or a mapping")
    for module, device in value.items() if isinstance(value, dict) else ():
        if device == "" or (isinstance(device, int) and not 0 <= device <= INT32_MAX):
            raise ValueError(f"module {module!r} is placed on {device!r}; use an index, 'cpu' or 'disk'")
    return value


MaxMemory = Annotated[dict[int | str, int | str], AfterValidator(_memory_limits)]
"""Memory limit per device (index, ``"cpu"`` …): bytes, or a size such as ``"10GiB"``."""

DeviceMap = Annotated[str | dict[str, int | str], AfterValidator(_placements)]
"""A placement policy or device name, or a mapping from module name to device."""

Passthrough = Annotated[dict[str, Any], AfterValidator(_json_mapping)]
"""Upstream keyword arguments as JSON values."""

NonEmpty = Annotated[str, StringConstraints(min_length=1)]
"""A string of at least one character."""

NonBlank = Annotated[str, StringConstraints(pattern=r"\S")]
"""A string that is not white space alone."""

TokenId = Annotated[int, Field(ge=0, le=INT32_MAX)]
"""A token of the model's vocabulary, whose size the config does not know."""

TokenBias = Annotated[dict[int | str, float], AfterValidator(_token_bias)]
"""Token id to number; the ids become digit strings."""

JSONSchema = Annotated[dict[str, Any], AfterValidator(_json_mapping)]
"""A JSON schema as a mapping."""
