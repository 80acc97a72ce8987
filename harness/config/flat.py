"""The flat view of a config: dotted path to JSON value, and back."""

from collections.abc import Mapping
from typing import Any

from harness.config._check import declared
from harness.config.experiment import ExperimentConfig
from harness.config.presets import expand_preset
from harness.jsontypes import JSON

__all__ = ["config_from_settings", "nest", "settings", "to_plain"]

_IDENTITY = ("model", "backend")


def _json(value: Any) -> JSON:
    if isinstance(value, Mapping):
        return {str(key): _json(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_json(item) for item in value]
    return value  # type: ignore[no-any-return]


def settings(config: ExperimentConfig) -> dict[str, JSON]:
    """Return every setting the config states, by dotted path, as JSON values.

    Leaves that are None are absent; ``model`` and ``backend`` travel separately; a mapping stays
    one value (its keys become strings, as JSON has no others); a preset is kept and expanded.
    """
    return expand_preset({path: _json(value) for path, value in declared(config) if path not in _IDENTITY})


def nest(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Turn dotted paths into nested mappings; ``ValueError`` if one path runs through another."""
    nested: dict[str, Any] = {}
    for path, value in flat.items():
        parents = path.split(".")
        crossed = [".".join(parents[:end]) for end in range(1, len(parents))]
        if clash := [parent for parent in crossed if flat.get(parent) is not None]:
            raise ValueError(f"{path!r} lies inside {clash[0]!r}, which has a value of its own")
        place = nested
        for parent in parents[:-1]:
            place = place.setdefault(parent, {})
        place[parents[-1]] = value
    return nested


def config_from_settings(flat: Mapping[str, Any], *, model: str, backend: str = "pytorch") -> ExperimentConfig:
    """Build a validated config from a flat view; the inverse of :func:`settings`.

    Raises ``ValidationError`` for an invalid config.
    """
    return ExperimentConfig.model_validate({"model": model, "backend": backend, **nest(flat)})


def to_plain(config: ExperimentConfig) -> dict[str, Any]:
    """Return what a config states as nested JSON data: what a config file would hold."""
    return nest({path: _json(value) for path, value in declared(config)})
