"""What a live engine says of itself, and the shape of a probe that asks it."""

from __future__ import annotations

from harness.declare import Effect, Probe, Seen
from harness.jsontypes import JSON
from matrix.probes.state import LOGITS

MODULES = frozenset({"modules"})


def facts(run: Seen, name: str) -> dict[str, JSON]:
    """A table of the read-back; empty when there is none."""
    table = run.read_back.get(name)
    return table if isinstance(table, dict) else {}


def listed(value: JSON) -> list[JSON]:
    """A list of the read-back; empty when there is none."""
    return value if isinstance(value, list) else []


def arguments(run: Seen, call: str, name: str) -> list[JSON]:
    """What each of the upstream calls of that name was given; None where it was not."""
    named = [entry.get("kwargs") for entry in run.calls if entry.get("call") == call]
    return [given.get(name) if isinstance(given, dict) else None for given in named]


def probe(
    says: str,
    effect: Effect,
    *,
    logits: bool = False,
    instruments: frozenset[str] = frozenset(),
) -> Probe:
    """A probe of a loaded engine."""
    return Probe(says=says, effect=effect, instruments=instruments | LOGITS if logits else instruments)
