"""What an engine told, and what it could not: an absence proves nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

from harness.declare import Probe, Seen, Shown
from harness.jsontypes import JSON
from matrix.probes.scores import number


def told(run: Seen, *path: str) -> Any:
    """A fact of the read-back, by the names of tables and the fact.

    Raises:
        LookupError: the engine did not tell it, which makes the finding uncertain.
    """
    return _at(run.read_back, path, run.read_back)


def observed(run: Seen, *path: str) -> Any:
    """A part of the observation, by its names. Raises as `told` does."""
    observation = cast("Mapping[str, JSON]", run.observation)
    return _at(observation, path, cast("Mapping[str, JSON]", observation.get("resolved", {})))


def _at(table: Mapping[str, JSON], path: tuple[str, ...], noted: Mapping[str, JSON]) -> JSON:
    found: JSON = dict(table)
    for name in path:
        found = found.get(name) if isinstance(found, dict) else None
    if found is None:
        unread = noted.get("unread")
        why = [f"{key}: {error}" for key, error in unread.items()] if isinstance(unread, dict) else []
        raise LookupError(f"the engine did not tell {'.'.join(path)}" + (f" ({'; '.join(why)[:200]})" if why else ""))
    return found


def count(run: Seen, *path: str) -> int:
    """A number of the read-back."""
    return int(number(told(run, *path)))


def if_told(probe: Probe, *paths: str) -> Probe:
    """The probe, for an engine that may be unable to tell what it asks for: `table.fact` of the read-back."""

    def effect(run: Seen, control: Seen, value: JSON) -> Shown:
        for side in (run, control):
            for path in paths:
                told(side, *path.split("."))
        return probe.effect(run, control, value)

    return replace(probe, effect=effect)
