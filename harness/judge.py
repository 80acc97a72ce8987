"""Findings from observations: probe(control, treated). Pure: no processes, no files."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass

from harness.backends.base import OWN
from harness.declare import Bound, OutputRule, Seen, Shown
from harness.failure import one_line
from harness.jsontypes import JSON
from harness.plan import Cell
from harness.verdict import Cause, Verdict


@dataclass(frozen=True, slots=True)
class Finding:
    """What a pair of runs says about a cell."""

    verdict: Verdict
    treated: Shown | None = None
    control: Shown | None = None
    output: str | None = None
    """How the treated tokens compare with the control's, where that is judged."""
    forwarded: tuple[str, ...] = ()
    """Upstream arguments of the treated run that its control did not get."""


def judge(cell: Cell, treated: Seen, control: Seen) -> Finding:
    """Judge one cell from its treated run and its control.

    A pass needs all of it: the value was handed to the library, the effect is there in the treated
    run, it is not there in the control, and the output is what the declaration allows.
    """
    forwarded = forwarded_difference(treated, control)
    if not _handed_over(cell, treated, control, forwarded):
        to = "the harness's own part was given" if cell.by_harness else "the adapter handed over"
        reason = f"{to} nothing for {cell.row} that the control did not get as well"
        return Finding(Verdict(Cause.HARNESS_ERROR, one_line(reason)))
    try:
        shown = cell.probe.effect(treated, control, cell.value)
        null = cell.probe.effect(control, control, cell.value)
        fine, output = _output(cell.output, treated, control)
    except Exception as error:  # noqa: BLE001 - a probe is user code: what it raises is its own problem
        reason = one_line(f"the probe could not read the observation: {type(error).__name__}: {error}")
        return Finding(Verdict(Cause.PROBE_ERROR, reason), forwarded=forwarded)
    return Finding(_verdict(cell, shown, null, fine, output), shown, null, output, forwarded)


def _handed_over(cell: Cell, treated: Seen, control: Seen, forwarded: tuple[str, ...]) -> bool:
    """Whether the value went where it belongs, as far as the treated run's calls tell.

    Where the adapter's tables name its argument, one of that name must differ: companions, or another model, make
    others differ that say nothing of it. Of several calls that take it by the tables, each that was made must have
    got it. Where no call of either run takes it, it may choose the very class.
    """
    if cell.by_harness or not cell.arguments:
        return any(item.startswith(OWN) is cell.by_harness for item in forwarded)
    names = frozenset(name for _, name in cell.arguments)
    ours, theirs = (_named(seen, names) for seen in (treated, control))
    if not ours and not theirs:
        return not _called(treated) <= _called(control)
    # of two values one may be handed over besides: a build that the control does not take up again
    differing = {path for path, values in ours.items() if values != theirs.get(path)}
    made = {f"{call}.{name}" for call, name in cell.arguments if call in _called(treated)}
    return bool(differing) and made <= differing


def _called(seen: Seen) -> set[str]:
    """Names of the upstream calls."""
    return {name for call in seen.calls if not (name := str(call["call"])).startswith(OWN)}


def _named(seen: Seen, names: frozenset[str]) -> dict[str, set[str]]:
    """Values of each argument of upstream calls with one of the names, or entry of one that is a mapping.

    Objects as a whole.
    """
    found: dict[str, set[str]] = {}
    for call in seen.calls:
        name, named = call["call"], call.get("kwargs")
        if isinstance(named, dict) and not str(name).startswith(OWN):
            for path, value in _parts(str(name), named, names):
                found.setdefault(path, set()).add(value)
    return found


def _parts(path: str, mapping: dict[str, JSON], names: frozenset[str]) -> Iterator[tuple[str, str]]:
    for key, value in mapping.items():
        if key in names:
            yield f"{path}.{key}", json.dumps(value, sort_keys=True)
        elif isinstance(value, dict) and "class" not in value:
            yield from _parts(f"{path}.{key}", value, names)


def _verdict(cell: Cell, shown: Shown, null: Shown, fine: bool, output: str | None) -> Verdict:
    against = "" if cell.contrast == "withheld" else f" with {cell.contrast}"
    if not shown.holds and cell.probe.decisive:
        if null.holds:
            text = f"{shown.saw}; the control{against} shows the effect instead: {null.saw}"
        else:
            text = f"accepted but not applied: {shown.saw}; control{against}: {null.saw}"
        return Verdict(Cause.IGNORED, one_line(text))
    if not fine:
        return Verdict(Cause.WRONG_OUTPUT, one_line(f"{output}; {shown.saw}"))
    if not shown.holds:
        return Verdict(Cause.NO_EFFECT, one_line(f"{shown.saw}; control{against}: {null.saw}"))
    if null.holds:
        return Verdict(Cause.NO_EFFECT, one_line(f"the control{against} shows it too: {null.saw}"))
    return Verdict(Cause.CONFIRMED, one_line(f"{shown.saw}; control{against}: {null.saw}"))


def forwarded_difference(treated: Seen, control: Seen) -> tuple[str, ...]:
    """Arguments of upstream calls that the treated run made and the control did not: `generate.top_k=1`.

    A value equal to upstream's default behaves the same when the adapter drops it, so behaviour
    alone cannot tell; what was handed over can. Of a mapping each entry counts by itself:
    `LLM.compilation_config.backend="eager"`, so that one less of them is nothing more.
    """
    theirs = set(_arguments(control))
    return tuple(dict.fromkeys(item for item in _arguments(treated) if item not in theirs))


def _arguments(seen: Seen) -> list[str]:
    found: list[str] = []
    for call in seen.calls:
        name, positional, named = call.get("call"), call.get("args"), call.get("kwargs")
        listed = list(enumerate(positional)) if isinstance(positional, list) else []
        listed += list(named.items()) if isinstance(named, dict) else []
        for key, value in listed:
            found += _entries(f"{name}.{key}", value)
        if not listed and "variables" not in call:
            # an object of upstream's defaults: that it was made is all there is to hand over
            found.append(f"{name}()")
    return found


def _entries(path: str, value: JSON) -> Iterator[str]:
    if not _tells(value):
        return
    if isinstance(value, dict) and value:
        for key, entry in value.items():
            yield from _entries(f"{path}.{key}", entry)
    else:
        yield f"{path}={json.dumps(value, sort_keys=True)}"


def _tells(value: JSON) -> bool:
    """Whether an argument can be the parameter's.

    Not an object: its construction is a call of its own, and its picture shows upstream's defaults as
    well. Not a tensor, of which only the shape is known. Not a place for processes to meet.
    """
    if isinstance(value, dict):
        return "class" not in value
    return not (isinstance(value, str) and value.startswith(("Tensor[", "file://")))


def _output(rule: OutputRule | Bound, treated: Seen, control: Seen) -> tuple[bool, str | None]:
    if isinstance(rule, Bound):
        error = relative_error(treated, control)
        text = f"logits differ from the control's by {error:.3g} (bound {rule.relative_error:g})"
        return error <= rule.relative_error, text
    if rule is OutputRule.FREE:
        return True, None
    ours, theirs = tokens(treated), tokens(control)
    if not theirs:
        raise ValueError("the control has no outputs to compare with")
    if ours == theirs:
        return True, f"all {len(ours)} outputs equal the control's token for token"
    differing = [key for key in sorted(set(ours) | set(theirs)) if ours.get(key) != theirs.get(key)]
    first = differing[0]
    text = (
        f"{len(differing)} of {len(theirs)} outputs differ from the control's greedy tokens, first: prompt "
        f"{first[0]} gives {_head(ours.get(first))} against {_head(theirs.get(first))}"
    )
    return False, text


def tokens(seen: Seen) -> dict[tuple[int, int], list[int]]:
    """(prompt, seed) to the generated ids."""
    return {(o["prompt"], o["seed"]): list(o["token_ids"]) for o in seen.observation["outputs"]}


def relative_error(treated: Seen, control: Seen) -> float:
    """Worst prompt's relative error of the first position's logits (see `Bound`); inf when not finite.

    Raises:
        ValueError: the control's own logits are no measure, or the prompts differ.
    """
    ours, theirs = treated.observation["logits"], control.observation["logits"]
    if len(ours) != len(theirs) or not ours:
        raise ValueError(f"logits of {len(ours)} prompts against {len(theirs)}")
    worst = 0.0
    for row, reference in zip(ours, theirs, strict=True):
        if not all(map(math.isfinite, reference)):
            raise ValueError("the control's logits are not finite")
        mean = math.fsum(reference) / len(reference)
        spread = math.dist(reference, [mean] * len(reference))
        if spread == 0:
            raise ValueError("the control's logits are all equal")
        if len(row) != len(reference):
            raise ValueError(f"{len(row)} logits against {len(reference)}")
        finite = all(map(math.isfinite, row))
        worst = max(worst, math.dist(row, reference) / spread if finite else math.inf)
    return worst


def _head(ids: list[int] | None) -> JSON:
    return None if ids is None else ids[:8]
