"""The two runs as functions: one that both call with what they differ in, or two where that is not one place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from harness.repro.calls import Step
from harness.repro.loops import Passes
from harness.repro.roles import Role
from harness.repro.shapes import Shape
from harness.repro.source import REST, Code, Invocation, Value, repeated, statement, string

PROMPTS = "PROMPTS"


def prompts(control: Role, treated: Role) -> list[Value] | None:
    """The prompts of each batch where both runs have the same, one that failed the first of them; else None."""
    shorter, longer = sorted((control.passes.batches, treated.passes.batches), key=len)
    failed = "error" in treated.expected
    return longer if shorter == (longer[: len(shorter)] if failed else longer) else None


def batched(batches: Sequence[Value]) -> Value:
    """Prompts as they are written: of one batch, or all batches in a list."""
    return repeated(batches[0] if len(batches) == 1 and isinstance(batches[0], list) else list(batches))


def functions(control: Role, treated: Role, shape: Shape, shared: Mapping[str, str]) -> list[list[str]]:
    """Lines of each function; `control` and `treated` are the last two.

    Args:
        control: the run without the value.
        treated: the run with it.
        shape: the library's calls as a script.
        shared: environment variables that are set for both already.
    """
    common = prompts(control, treated)

    def body(role: Role, load: Sequence[Step], passes: Passes) -> list[str]:
        batches = role.passes.batches if common is None else common
        given = batched(batches) if common is None else Code(PROMPTS)
        loops = passes.lines(given, 1, looped=len(batches) > 1)
        return [*_variables(role, shared), *_body(role, shape, load, loops, ran=bool(passes.batch))]

    difference = _Difference()
    try:
        load, passes = difference.runs(control, treated)
    except _Apart:
        return [[f"def {role.name}():", *body(role, role.run.load(), role.passes)] for role in (control, treated)]
    return [
        ["def run(**given):", *body(control, load, passes)],
        *(
            [f"def {name}():", *statement("return ", Invocation("run", (), given), indent=1)]
            for name, given in zip(("control", "treated"), difference.given, strict=True)
        ),
    ]


def _variables(role: Role, shared: Mapping[str, str]) -> list[str]:
    own = {name: value for name, value in role.run.variables.items() if name not in shared}
    return [f"    os.environ[{string(name)}] = {string(value)}" for name, value in own.items()]


def _body(role: Role, shape: Shape, load: Sequence[Step], loops: Sequence[str], *, ran: bool) -> list[str]:
    loaded, ended = role.readings(shape.at_load), role.readings(shape.at_end)
    made = [line for step in load for line in step.lines(1)]
    if not ran:
        return [*made, *loops, "    return {}"]
    if loaded:
        made += ["    seen = {", *_entries(loaded), "    }"]
    made += [*(f"    {line}" for line in shape.before), *loops, *(f"    {line}" for line in shape.after)]
    outputs = "[spelled(ids) for ids in outputs]" + (f"[:{role.cut}]" if role.cut else "")
    if not loaded and not ended:
        return [*made, f'    return {{"outputs": {outputs}, "text": list(text)}}']
    before = ["        **seen,"] if loaded else []
    entries = [*before, *_entries(ended), f'        "outputs": {outputs},', '        "text": list(text),']
    return [*made, "    return {", *entries, "    }"]


def _entries(readings: Mapping[str, str]) -> Iterator[str]:
    return (f"        {string(path)}: {expression}," for path, expression in readings.items())


class _Apart(Exception):
    """The runs differ in more than the keyword arguments of one call."""


@dataclass(slots=True)
class _Difference:
    """What the runs hand over differently, all of it to one call."""

    given: list[Mapping[str, Value]] = field(default_factory=list)
    """The control's and the treated run's keyword arguments of that call."""

    def runs(self, control: Role, treated: Role) -> tuple[list[Step], Passes]:
        """Both as one: what is loaded, and the passes.

        Raises:
            _Apart: they are not.
        """
        failed = "error" in treated.expected
        ours, theirs = control.passes, treated.passes
        load = self._steps(control.run.load(), treated.run.load(), failed=failed)
        head = self._steps(ours.head, theirs.head, failed=failed)
        batch = self._steps(ours.batch, theirs.batch, failed=failed)
        loops = (ours.name, ours.values) == (theirs.name, theirs.values) or (failed and not theirs.batch)
        if not self.given or not loops or control.run.variables != treated.run.variables:
            raise _Apart
        return load, replace(ours, head=head, batch=batch)

    def _steps(self, control: Sequence[Step], treated: Sequence[Step], *, failed: bool) -> list[Step]:
        """The steps of both; a treated run that failed has ended early."""
        rest = control[len(treated) :] if failed else []
        if len(control) != len(treated) + len(rest):
            raise _Apart
        both = list(zip(control, treated, strict=False))
        if any(ours.form != theirs.form for ours, theirs in both):
            raise _Apart
        return [*(replace(o, invocation=self._call(o.invocation, t.invocation)) for o, t in both), *rest]

    def _call(self, control: Invocation, treated: Invocation) -> Invocation:
        if control == treated:
            return control
        if control.function != treated.function or len(control.args) != len(treated.args):
            raise _Apart
        args = [self._value(ours, theirs) for ours, theirs in zip(control.args, treated.args, strict=True)]
        kwargs: dict[str, Value] = {}
        alone: tuple[dict[str, Value], dict[str, Value]] = ({}, {})
        for name in {**control.kwargs, **treated.kwargs}:
            sides = [side.kwargs[name] for side in (control, treated) if name in side.kwargs]
            if len(sides) == 2 and (_equal(*sides) or all(isinstance(side, Invocation) for side in sides)):
                kwargs[name] = self._value(*sides)
            else:
                for side, own in zip((control, treated), alone, strict=True):
                    if name in side.kwargs:
                        own[name] = side.kwargs[name]
        if any(alone):
            if self.given:
                raise _Apart
            self.given = list(alone)
            kwargs[REST] = Code("given")
        return Invocation(control.function, args, kwargs)

    def _value(self, control: Value, treated: Value) -> Value:
        if _equal(control, treated):
            return control
        if isinstance(control, Invocation) and isinstance(treated, Invocation):
            return self._call(control, treated)
        raise _Apart


def _equal(one: Value, other: Value) -> bool:
    """Whether they are written alike: True is not 1, nor 1 1.0."""
    return repr(one) == repr(other)
