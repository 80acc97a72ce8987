"""From a cell's runs to the evidence that its record keeps."""

from __future__ import annotations

import math
from typing import Final, Literal

from harness.declare import Seen, Shown
from harness.experiment import Result
from harness.failure import Failure
from harness.forwarded import kept
from harness.host import Attempt
from harness.jsontypes import JSON
from harness.judge import relative_error, tokens
from harness.level import level
from harness.plan import Cell
from harness.records import Evidence
from harness.rests import RESOLVED, at, rests_on
from harness.verdict import Outcome

_OUTPUTS: Final = 16
"""Most outputs of a run that its record keeps."""


def evidence(cell: Cell, result: Result) -> Evidence:
    """What is kept of the runs behind a verdict."""
    treated = result.treated
    seen = treated.seen if treated else None
    rests = _rests_on(result, cell)
    return Evidence(
        level=_level(cell, result),
        declared=cell.treated.settings,
        forwarded=[dict(call) for call in treated.calls] if treated and treated.calls else None,
        resolved=_read_back(seen) if seen else None,
        observed=_observed(cell, result, rests),
        control=_controlled(cell, result, rests),
    )


def _level(cell: Cell, result: Result) -> Literal["behaviour", "state"] | None:
    treated, control = result.treated, result.control
    if result.verdict.outcome is not Outcome.PASS or not (treated and treated.seen and control and control.seen):
        return None
    return level(cell, treated.seen, control.seen).value


def _read_back(seen: Seen) -> dict[str, JSON]:
    return {**seen.read_back, **seen.observation.get("resolved", {})}


def _observed(cell: Cell, result: Result, rests: tuple[str, ...]) -> dict[str, JSON] | None:
    if result.treated is None:
        return None
    facts: dict[str, JSON] = {"effect": cell.probe.says}
    if finding := result.finding:
        facts |= _shown(finding.treated)
        if finding.output:
            facts["output"] = finding.output
        facts["forwarded"] = list(finding.forwarded)
        facts["rests_on"] = list(rests)
        if "logits" in rests and result.control and result.control.seen and result.treated.seen:
            error = relative_error(result.treated.seen, result.control.seen)
            facts["relative_error"] = error if math.isfinite(error) else repr(error)
    return facts | _outputs(result.treated) | _failed(result.treated)


def _controlled(cell: Cell, result: Result, rests: tuple[str, ...]) -> dict[str, JSON] | None:
    if result.control is None:
        return None
    facts: dict[str, JSON] = {"contrast": cell.contrast}
    if result.finding:
        facts |= _shown(result.finding.control)
    if result.control.calls and result.treated:
        facts["calls"] = kept(result.control.calls, result.treated.calls)
    if result.control.seen:
        resolved = _read_back(result.control.seen)
        paths = (path.removeprefix(f"{RESOLVED}.") for path in rests if path.startswith(RESOLVED))
        facts[RESOLVED] = {path: at(resolved, path) for path in paths}
    return facts | _outputs(result.control) | _failed(result.control)


def _rests_on(result: Result, cell: Cell) -> tuple[str, ...]:
    """What the verdict was read from, where both runs were seen."""
    treated = result.treated.seen if result.treated else None
    control = result.control.seen if result.control else None
    return rests_on(cell, treated, control) if treated and control and result.finding else ()


def _outputs(attempt: Attempt) -> dict[str, JSON]:
    """Token ids of each prompt by seed: as many whole passes as are needed to run it again and compare."""
    if attempt.seen is None or "outputs" not in attempt.seen.observation:
        return {}
    passes: dict[str, list[JSON]] = {}
    for (_, seed), ids in tokens(attempt.seen).items():
        passes.setdefault(str(seed), []).append(list(ids))
    found: dict[str, JSON] = {}
    room = _OUTPUTS
    for name, listed in passes.items():
        if found and len(listed) > room:
            break
        found[name] = listed[:_OUTPUTS]
        room -= len(listed)
    return {"outputs": found}


def _shown(shown: Shown | None) -> dict[str, JSON]:
    return {"holds": shown.holds, "saw": shown.saw} if shown else {}


def _failed(attempt: Attempt) -> dict[str, JSON]:
    return {"failure": _failure(attempt.failure)} if attempt.failure else {}


def _failure(failure: Failure) -> dict[str, JSON]:
    facts: dict[str, JSON] = {"phase": failure.phase, "kind": failure.kind, "type": failure.type}
    facts["message"] = failure.message[:2000]
    if failure.root:
        facts["root"] = failure.root[:2000]
    if failure.traceback:
        facts["traceback"] = failure.traceback[-2000:]
    if failure.log:
        facts["log"] = failure.log[-2000:]
    return facts
