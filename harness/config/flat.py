"""The flat view of a config: dotted path to JSON value, and back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from harness.config._types import JSON, Section
from harness.config.experiment import ExperimentConfig
from harness.config.presets import PRESETS

__all__ = ["config_from_settings", "expand_preset", "nest", "settings"]

_IDENTITY = ("model", "backend")


def _json(value: Any) -> JSON:
    if isinstance(value, Mapping):
        return {str(key): _json(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_json(item) for item in value]
    return value  # type: ignore[no-any-return]


def declared(section: Section) -> Iterator[tuple[str, JSON]]:
    """Yield (dotted path, JSON value) of each leaf that is set, in schema order."""
    for name in type(section).model_fields:
        value = getattr(section, name)
        if isinstance(value, Section):
            yield from declared(value)
        elif value is not None:
            yield section.path_prefix + name, _json(value)


def expand_preset(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Add the fields that ``decoder.preset`` stands for; those already set win."""
    expanded = dict(flat)
    preset = flat.get("decoder.preset")
    if isinstance(preset, str):
        for name, value in PRESETS.get(preset, {}).items():
            expanded.setdefault(f"decoder.{name}", value)
    return expanded


def settings(config: ExperimentConfig) -> dict[str, JSON]:
    """Return every setting the config states, by dotted path, as JSON values.

    Leaves that are None are absent; ``model`` and ``backend`` travel separately; a mapping stays
    one value (its keys become strings, as JSON has no others); a preset is kept and expanded.
    """
    return expand_preset({path: value for path, value in declared(config) if path not in _IDENTITY})


def nest(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Turn dotted paths into nested mappings; ``ValueError`` if one path runs through another."""
    nested: dict[str, Any] = {}
    for path, value in flat.items():
        *parents, leaf = path.split(".")
        place = nested
        for parent in parents:
            place = place.setdefault(parent, {})
            if not isinstance(place, dict):
                raise ValueError(f"{path!r} lies inside {parent!r}, which already has a value")
        if isinstance(place.get(leaf), dict):
            raise ValueError(f"{path!r} would replace settings below it; give leaves only")
        place[leaf] = value
    return nested


def config_from_settings(
    flat: Mapping[str, Any], *, model: str, backend: str = "pytorch"
) -> ExperimentConfig:
    """Build a validated config from a flat view; the inverse of :func:`settings`.

    Raises ``ValidationError`` for an invalid config.
    """
    return ExperimentConfig.model_validate({"model": model, "backend": backend, **nest(flat)})
