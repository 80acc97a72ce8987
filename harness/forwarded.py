"""The upstream calls of a control as its record keeps them: by reference where an equal one is there already."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import cast

from harness.jsontypes import JSON

Call = Mapping[str, JSON]


def kept(calls: Iterable[Call], treated: Sequence[Call]) -> list[JSON]:
    """Each call, or where an equal one stands: in the treated run's calls, or behind them in this list.

    An object that an earlier call made is its class alone here: what it was made of is in that call.
    """
    places: dict[str, int] = {}
    for place, call in enumerate(brief(treated)):
        places.setdefault(_key(call), place)
    found: list[JSON] = []
    for call in brief(calls):
        found.append(places.get(_key(call), cast("JSON", call)))
        places.setdefault(_key(call), len(treated) + len(found) - 1)
    return found


def whole(calls: Iterable[JSON], treated: Sequence[Call]) -> list[Call]:
    """The calls that `kept` stands for.

    Raises:
        ValueError: something that is neither a call nor the place of one before it.
    """
    theirs = brief(treated)
    found: list[Call] = []
    for call in calls:
        known = [*theirs, *found]
        if isinstance(call, Mapping):
            found.append(call)
        elif isinstance(call, int) and 0 <= call < len(known):
            found.append(known[call])
        else:
            raise ValueError(f"{call!r} is neither a call nor the place of one of the {len(known)} before it")
    return found


def brief(calls: Iterable[Call]) -> list[Call]:
    """The calls, with objects that earlier ones made reduced to their class."""
    made: set[str] = set()
    found: list[Call] = []
    for call in calls:
        found.append(cast("Call", _reduced(cast("JSON", call), made)))
        made.add(str(call.get("call")))
    return found


def _reduced(value: JSON, made: set[str]) -> JSON:
    if isinstance(value, Mapping):
        name = value.get("class")
        if isinstance(name, str) and name in made:
            return {"class": name}
        return {key: _reduced(item, made) for key, item in value.items()}
    if isinstance(value, list):
        return [_reduced(item, made) for item in value]
    return value


def _key(call: Call) -> str:
    return json.dumps(call, sort_keys=True)
