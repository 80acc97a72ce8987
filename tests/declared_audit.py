"""Declarations over the toy, one of them with a good probe and the others with probes that can be fooled."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from harness.declare import Column, Deaf, Effect, OutputRule, Parameter, Probe, Scope, Seen, Shown, Value
from harness.jsontypes import JSON
from tests.declared_toy import MATRIX as TOYS

FILE = Path(__file__).with_name("toy_deaf.py")
DEAF = Deaf("what a request asks for is stored and not done", FILE, "to_requests")
MOVED = Deaf("what is no longer there", FILE, "to_nothing")


def _did(run: Seen) -> dict[str, JSON]:
    """What the toy did."""
    told: dict[str, JSON] = json.loads(run.observation["outputs"][0]["text"])
    return told


def _good(path: str) -> Effect:
    def effect(run: Seen, control: Seen, value: JSON) -> Shown:
        del control
        return Shown(_did(run).get(path) == value, f"did {_did(run).get(path)}")

    return effect


def _stored(path: str) -> Effect:
    def effect(run: Seen, control: Seen, value: JSON) -> Shown:
        del control
        stored = run.observation["resolved"]["settings"]
        return Shown(isinstance(stored, dict) and stored.get(path) == value, f"stored {stored}")

    return effect


def _differs(path: str) -> Effect:
    """Does not look at the value."""

    def effect(run: Seen, control: Seen, value: JSON) -> Shown:
        del value
        return Shown(_did(run).get(path) != _did(control).get(path), f"did {_did(run).get(path)}")

    return effect


def _handed(path: str) -> Effect:
    """Looks at what the adapter says that it handed over."""

    def effect(run: Seen, control: Seen, value: JSON) -> Shown:
        del control
        name = path.rpartition(".")[2]
        handed = [call["kwargs"].get(name) for call in run.calls if isinstance(call["kwargs"], dict)]
        return Shown(value in handed, f"handed over {handed}")

    return effect


def _always(path: str) -> Effect:
    def effect(run: Seen, control: Seen, value: JSON) -> Shown:
        del run, control, value
        return Shown(holds=True, saw=path)

    return effect


def _parameter(path: str, effect: Effect, deaf: Deaf | None = DEAF) -> Parameter:
    on = Column(Scope.REQUEST, Probe(says="x", effect=effect), OutputRule.FREE, deaf=deaf)
    return Parameter(path, section="Decoder", values=(Value(0.25), Value(0.5)), columns={"pytorch": on})


GOOD = _parameter("decoder.temperature", _good("decoder.temperature"))
STORED = _parameter("decoder.top_p", _stored("decoder.top_p"))
DIFFERS = _parameter("decoder.repetition_penalty", _differs("decoder.repetition_penalty"))
HANDED = _parameter("decoder.beam_search.length_penalty", _handed("decoder.beam_search.length_penalty"))
ALWAYS = _parameter("decoder.top_p", _always("decoder.top_p"))
UNDEAFENED = _parameter("decoder.temperature", _good("decoder.temperature"), MOVED)

MATRIX = replace(TOYS, parameters=(GOOD, STORED))
"""Probes that no audit finds fault with."""
FOOLED = replace(TOYS, parameters=(GOOD, DIFFERS))
"""The second of them takes any value for the declared one."""
