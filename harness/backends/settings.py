"""Declared settings as arguments: what every adapter does the same way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.backends.base import Declared


class ConflictingSettingsError(ValueError):
    """Two settings of one experiment ask for different things of one upstream argument."""


def take(settings: Declared, table: Mapping[str, str]) -> dict[str, Any]:
    """The upstream arguments that `settings` declares by `table` (path to argument), values as they are.

    Raises:
        ConflictingSettingsError: two paths give one argument different values.
    """
    arguments: dict[str, Any] = {}
    origin: dict[str, str] = {}
    for path, name in table.items():
        if path not in settings:
            continue
        value = settings[path]
        if name in arguments and arguments[name] != value:
            raise ConflictingSettingsError(
                f"{path}={value!r} contradicts {origin[name]}={arguments[name]!r}: both are `{name}` upstream"
            )
        arguments[name] = value
        origin[name] = path
    return arguments
