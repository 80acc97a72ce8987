"""How deep a pass goes is found: a probe that confirms an echo has looked at stored values alone."""

from __future__ import annotations

from dataclasses import replace

import pytest

from harness.declare import Level, Probe, Seen, Shown
from harness.jsontypes import JSON
from harness.judge import judge
from harness.level import echo, level
from harness.verdict import Outcome
from tests.toys import cell, handed_over, seen


def _run(ids: tuple[int, ...], stored: JSON, *, applied: bool) -> Seen:
    made = seen(applied=applied, ids=ids)
    return replace(made, observation={**made.observation, "resolved": {"stored": stored}})


TREATED = handed_over(_run((1,), 1, applied=True), top_k=1)
CONTROL = _run((1, 2), None, applied=False)


def _reads_back(run: Seen, control: Seen, value: JSON) -> Shown:
    del control, value
    return Shown(run.read_back["applied"] is True, "read back")


def _resolves(run: Seen, control: Seen, value: JSON) -> Shown:
    del control
    return Shown(run.observation["resolved"]["stored"] == value, "resolved")


def _is_handed(run: Seen, control: Seen, value: JSON) -> Shown:
    del control, value
    return Shown("top_k" in str(run.calls), "handed over")


def _generates(run: Seen, control: Seen, value: JSON) -> Shown:
    del control
    return Shown(len(run.observation["outputs"][0]["token_ids"]) == value, "generated")


def _both(run: Seen, control: Seen, value: JSON) -> Shown:
    return Shown(_resolves(run, control, value).holds and _generates(run, control, value).holds, "both")


def _either(run: Seen, control: Seen, value: JSON) -> Shown:
    return Shown(_resolves(run, control, value).holds or _generates(run, control, value).holds, "either")


def _cannot_read_an_echo(run: Seen, control: Seen, value: JSON) -> Shown:
    del control
    if run.observation["resolved"]["stored"] == value and len(run.observation["outputs"][0]["token_ids"]) != value:
        raise LookupError("stored, and not done")
    return _resolves(run, run, value)


@pytest.mark.parametrize(
    ("effect", "found"),
    [
        (_reads_back, Level.STATE),
        (_resolves, Level.STATE),
        (_is_handed, Level.STATE),
        (_generates, Level.BEHAVIOUR),
        (_both, Level.BEHAVIOUR),
        (_either, Level.STATE),
        (_cannot_read_an_echo, Level.BEHAVIOUR),
    ],
)
def test_a_level_is_what_the_probe_cannot_do_without(effect: object, found: Level) -> None:
    planned = cell(probe=Probe(says="x", effect=effect))  # type: ignore[arg-type]
    assert judge(planned, TREATED, CONTROL).verdict.outcome is Outcome.PASS
    assert level(planned, TREATED, CONTROL) is found


def test_an_echo_stored_the_value_and_did_everything_as_without_it() -> None:
    made = echo(TREATED, CONTROL)
    assert (made.read_back, made.calls) == (TREATED.read_back, TREATED.calls)
    assert made.observation == {**CONTROL.observation, "resolved": {"stored": 1}}


def test_an_echo_has_nothing_resolved_where_the_treated_run_has_not() -> None:
    assert "resolved" not in echo(seen(), CONTROL).observation
