"""How deep a pass goes: found by showing its probe an echo, never declared."""

from __future__ import annotations

from typing import cast

from harness.backends.base import Observation
from harness.declare import Level, Seen
from harness.plan import Cell
from harness.rests import RESOLVED


def level(cell: Cell, treated: Seen, control: Seen) -> Level:
    """The level of a cell that passed with these two runs.

    A probe that confirms the echo as well has looked at stored values alone.
    """
    try:
        holds = cell.probe.effect(echo(treated, control), control, cell.value).holds
    except Exception:  # noqa: BLE001 - a probe that cannot read an echo does not confirm it
        holds = False
    return Level.STATE if holds else Level.BEHAVIOUR


def echo(treated: Seen, control: Seen) -> Seen:
    """What upstream would look like had it taken and stored the value, and done everything as without it.

    All that can be read back is the treated run's, all that happened is the control's.
    """
    observation = dict(control.observation)
    observation.pop(RESOLVED, None)
    if RESOLVED in treated.observation:
        observation[RESOLVED] = treated.observation["resolved"]
    return Seen(cast("Observation", observation), treated.read_back, treated.calls)
