"""How the toy is made deaf: it keeps what it is told, and answers as if it were not."""

from __future__ import annotations

import json

from tests import toy_backend


def to_requests() -> None:
    """What a request asks for is stored and not done."""

    class Told:
        dumps = staticmethod(lambda told: json.dumps({}) if told else json.dumps(told))
        loads = staticmethod(json.loads)

    setattr(toy_backend, "json", Told)  # noqa: B010 - a module by the name of another


def to_nothing() -> None:
    """A component that moved: nothing is neutralised."""
    raise AttributeError("no such component")
