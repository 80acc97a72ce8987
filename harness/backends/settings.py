"""Declared settings as arguments: what every adapter does the same way."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.backends.base import Calls, Declared
    from harness.jsontypes import JSON


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


def seed_of(settings: Declared, own: int, calls: Calls) -> int:
    """The seed of a pass: the declared one, whatever the pass's own."""
    if "random_seed" not in settings:
        return own
    return calls.own("seed", _declared, random_seed=settings["random_seed"])


def _declared(*, random_seed: int) -> int:
    return random_seed


def expand_preset(settings: Declared) -> None:
    """Read `decoder.preset`: a name for a set of fields, which the config has expanded and declares themselves."""
    if "decoder.preset" in settings:
        settings["decoder.preset"]


def passthrough(settings: Declared) -> dict[str, Any]:
    """`passthrough_kwargs` as they are: they win over everything else, which is their purpose."""
    if "passthrough_kwargs" not in settings:
        return {}
    return dict(cast("dict[str, Any]", settings["passthrough_kwargs"]))


def beside(model: str, path: str) -> str:
    """A folder given relative to the model's own (an adapter, a draft model), else `path` as it is."""
    inside = Path(model) / path
    return str(inside.resolve()) if inside.is_dir() else path


def strategy_and_degree(settings: Declared, takes: str) -> tuple[JSON, JSON] | None:
    """`parallelism.strategy` with `parallelism.degree`, for a library that `takes` one only with the other.

    Raises:
        ConflictingSettingsError: one of them without the other.
    """
    strategy, degree = settings.get("parallelism.strategy"), settings.get("parallelism.degree")
    if strategy is None and degree is None:
        return None
    if strategy is None or degree is None:
        raise ConflictingSettingsError(
            f"parallelism.strategy={strategy!r} with parallelism.degree={degree!r}: {takes}, so set both"
        )
    return strategy, degree
