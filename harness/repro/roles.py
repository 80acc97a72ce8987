"""A cell's two runs as its record has them: their calls, and what they must give again."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from harness.forwarded import Call, whole
from harness.jsontypes import JSON
from harness.records import CellRecord
from harness.repro.calls import Run
from harness.repro.loops import Passes, passes
from harness.repro.shapes import LOGITS, NotReproducible, Shape
from harness.repro.source import Value
from harness.rests import RESOLVED
from harness.verdict import Cause, Outcome

_ERROR = 160
"""Characters of an error's text that must come again; what follows may tell of the machine."""
_MACHINE = re.compile(r"<\w+>|~/|0x[0-9a-f]{4}|\bpid\b")
"""Where such things begin."""


@dataclass(frozen=True, slots=True)
class Role:
    """One of the two runs."""

    name: str
    run: Run
    passes: Passes
    expected: Mapping[str, Value]
    """What it must give again: outputs and values read back, or an error."""
    cut: int | None
    """How many of its outputs are on record, where that is not all."""

    def readings(self, expressions: Mapping[str, str]) -> dict[str, str]:
        """Those of the expressions whose values are on record."""
        return {path: what for path, what in expressions.items() if path in self.expected or path == LOGITS}


def roles(record: CellRecord, shape: Shape) -> tuple[Role, Role]:
    """The control and the treated run.

    Raises:
        NotReproducible: the record does not tell enough of them, or more than a script can show.
    """
    evidence = record.evidence
    observed, control = evidence.observed or {}, evidence.control or {}
    forwarded: list[Call] = list(evidence.forwarded or [])
    if not forwarded:
        raise NotReproducible("its calls are not on record: the process died before it could tell them")
    if "calls" not in control:
        raise NotReproducible(f"its control's calls are not on record; `make matrix CELL='{record.cell}'` records them")
    try:
        calls = whole(control["calls"], forwarded)
    except ValueError as error:
        raise NotReproducible(f"its control's calls cannot be read: {error}") from None
    ours, theirs = _read_back(record, [*shape.at_load, *shape.at_end])
    return _role("control", shape, calls, control, theirs), _role("treated", shape, forwarded, observed, ours)


def refusal(record: CellRecord) -> str | None:
    """Why its verdict alone leaves nothing to show, or None."""
    if record.verdict is Outcome.NOT_RUN:
        return f"nothing was learned about the parameter: {record.cause.value}: {record.reason}"
    if record.cause in {Cause.FLAKY, Cause.PROBE_ERROR, Cause.TIMED_OUT}:
        return f"its verdict is {record.cause.value}: {record.reason}"
    if record.by_harness:
        return "the harness itself does what the parameter asks for, so no call of the library shows it"
    return None


def _role(name: str, shape: Shape, calls: Sequence[Call], facts: Mapping[str, Any], read: Mapping[str, JSON]) -> Role:
    run = Run(shape, calls, _model(shape, calls))
    run.check()
    steps = run.passes()
    if failure := facts.get("failure"):
        # a process that died left no error: the script says so in these words
        died = failure["kind"] == "crashed"
        expected: dict[str, Value] = {"error": "the process died" if died else _error(failure)}
        return Role(name, run, passes(steps, shape.prompts), expected, None)
    recorded: Mapping[str, list[list[int]]] = facts.get("outputs", {})
    if not recorded:
        raise NotReproducible(f"the outputs of its {name} run are not on record")
    folded = passes(steps[: len(recorded)], shape.prompts)
    outputs = [" ".join(map(str, ids)) for listed in recorded.values() for ids in listed]
    made = len(recorded) * sum(len(batch) for batch in folded.batches if isinstance(batch, list))
    return Role(name, run, folded, {**read, "outputs": outputs}, len(outputs) if len(outputs) < made else None)


def _read_back(record: CellRecord, paths: Sequence[str]) -> tuple[dict[str, JSON], dict[str, JSON]]:
    """What the verdict rests on, of the values at these paths: the treated run's and the control's."""
    rests = [path.removeprefix(f"{RESOLVED}.") for path in (record.evidence.observed or {}).get("rests_on", [])]
    theirs: Mapping[str, JSON] = (record.evidence.control or {}).get(RESOLVED, {})
    ours, others = {}, {}
    for path in paths:
        for rest in rests:
            if rest in theirs and f"{path}.".startswith(f"{rest}."):
                pair = _at(record.evidence.resolved, path), _at(theirs[rest], path.removeprefix(rest))
                if None not in pair:
                    ours[path], others[path] = pair
    return ours, others


def _at(value: Any, path: str) -> JSON:
    """The value at a path of mappings and places of lists, None where there is none."""
    for part in filter(None, path.split(".")):
        if isinstance(value, Mapping):
            value = value.get(part)
        elif isinstance(value, list) and part.isdigit() and int(part) < len(value):
            value = value[int(part)]
        else:
            return None
    return cast("JSON", value)


def _model(shape: Shape, calls: Sequence[Call]) -> str:
    name, at = shape.model
    for call in calls:
        if call["call"] == name:
            given: Any = call["args"] if isinstance(at, int) else call["kwargs"]
            return str(given[at])
    return ""


def _error(failure: Mapping[str, str]) -> str:
    """How the text of the error begins, up to where it may tell of one machine."""
    told = " ".join(f"{failure['type']}: {failure['message']}".split())
    return _MACHINE.split(told)[0][:_ERROR].rstrip()
