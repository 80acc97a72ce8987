"""A run's passes over the prompts as loops: written once, with a name for what differs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

from harness.repro.calls import Step
from harness.repro.shapes import NotReproducible
from harness.repro.source import Code, Invocation, Value, inline, statement


@dataclass(frozen=True, slots=True)
class Passes:
    """What is done in every pass."""

    head: list[Step]
    """Once a pass, before its batches."""
    batch: list[Step]
    """For each batch; its prompts are not in it."""
    batches: list[Value]
    """The prompts of each batch."""
    name: str = ""
    """Of the argument that differs between the passes."""
    values: list[Value] = field(default_factory=list)
    """What it is in each of them; empty where there is one pass."""

    def lines(self, prompts: Value, indent: int, *, looped: bool) -> list[str]:
        """The loops; `prompts` is what to write for those of the one batch, or of all batches to loop over."""
        made = []
        if self.values:
            made.append("    " * indent + f"for {self.name or '_'} in {inline(self.values)}:")
            indent += 1
        made += [line for step in self.head for line in step.lines(indent)]
        if looped:
            made += statement("for prompts in ", prompts, indent=indent)
            made[-1] += ":"
            indent += 1
        batch = [self.batch[0].given(Code("prompts") if looped else prompts), *self.batch[1:]] if self.batch else []
        return made + [line for step in batch for line in step.lines(indent)]


def passes(steps: Sequence[Sequence[Step]], takes_prompts: frozenset[str]) -> Passes:
    """Fold the steps of each pass.

    Args:
        steps: of each pass.
        takes_prompts: calls whose first argument is the prompts of a batch.

    Raises:
        NotReproducible: they differ in more than the prompts of a batch and one argument of a pass.
    """
    each = [_one(own, takes_prompts) for own in steps]
    if not each:
        return Passes([], [], [])
    first = each[0]
    if any(other.batches != first.batches for other in each):
        raise NotReproducible("its passes are given different prompts")
    if len(each) == 1:
        return first
    differing: dict[str, list[Value]] = {}
    head = _merged([own.head for own in each], differing)
    batch = _merged([own.batch for own in each], differing)
    if len(differing) > 1:
        raise NotReproducible(f"its passes differ in {' and '.join(differing)}")
    name, values = next(iter(differing.items()), ("", list[Value](range(len(each)))))
    return Passes(head, batch, first.batches, name, values)


def _one(steps: Sequence[Step], takes_prompts: frozenset[str]) -> Passes:
    """A pass: what it does for its first batch it must do for each, but that a run may end at any call."""
    starts = [place for place, step in enumerate(steps) if step.call in takes_prompts]
    found = [list(steps[start:end]) for start, end in pairwise([*starts, len(steps)])]
    batches = [own[0].invocation.args[0] for own in found]
    plain = [[own[0].given(None), *own[1:]] for own in found]
    if any(own != plain[0][: len(own)] for own in plain):
        raise NotReproducible("its calls differ from batch to batch in more than the prompts")
    return Passes(list(steps[: starts[0]] if starts else steps), plain[0] if plain else [], batches)


def _merged(each: Sequence[list[Step]], differing: dict[str, list[Value]]) -> list[Step]:
    if len({tuple(step.call for step in steps) for steps in each}) > 1:
        raise NotReproducible("its passes make different calls")
    return [
        replace(steps[0], invocation=_call([step.invocation for step in steps], differing))
        for steps in zip(*each, strict=True)
    ]


def _call(calls: Sequence[Invocation], differing: dict[str, list[Value]]) -> Invocation:
    first = calls[0]
    if len({(call.function, len(call.args), *call.kwargs) for call in calls}) > 1:
        raise NotReproducible(f"its passes call {first.function} with different arguments")
    return Invocation(
        first.function,
        [_value([call.args[place] for call in calls], "seed", differing) for place in range(len(first.args))],
        {name: _value([call.kwargs[name] for call in calls], name, differing) for name in first.kwargs},
    )


def _value(values: Sequence[Value], name: str, differing: dict[str, list[Value]]) -> Value:
    calls = [value for value in values if isinstance(value, Invocation)]
    if len(calls) == len(values):
        return _call(calls, differing)
    if all(value == values[0] for value in values):
        return values[0]
    if differing.setdefault(name, list(values)) != list(values):
        raise NotReproducible(f"its passes differ in more than one {name}")
    return Code(name)
