"""Recorded upstream calls as statements, with objects written where they are handed over."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from harness.backends.base import OWN
from harness.forwarded import Call
from harness.jsontypes import JSON
from harness.repro.shapes import Form, NotReproducible, Shape
from harness.repro.source import Code, Invocation, Value, statement

_LEFT_OUT = re.compile(r"<(?:secret|tmp|python)>")
"""What redaction puts in the place of what must not be published."""
_TENSOR = re.compile(r"\w+\[[\d, ]*\]:[\w.]+")
_OBJECT = re.compile(r"<.*>", re.DOTALL)
"""How a record shows what is no plain data."""
_OURS = "harness."
"""How names of our own code begin: an argument that names some is there to observe, and is left out."""


@dataclass(frozen=True, slots=True)
class Step:
    """A call of a run as a statement."""

    call: str
    """Its name in the record."""
    form: Form
    invocation: Invocation

    def lines(self, indent: int) -> list[str]:
        """As the script has it."""
        made = statement(self.form.target, self.invocation, indent=indent)
        made[-1] += self.form.suffix
        return [*made, *("    " * indent + line for line in self.form.then)]

    def given(self, prompts: Value) -> Step:
        """The same call with other prompts."""
        first = self.invocation
        return replace(self, invocation=replace(first, args=[prompts, *first.args[1:]]))


@dataclass(frozen=True, slots=True)
class Run:
    """The recorded calls of one run."""

    shape: Shape
    calls: Sequence[Call]
    model: str
    """As the calls name it: an argument of the script, as are paths inside of it."""

    @property
    def variables(self) -> dict[str, str]:
        """Environment variables that were set for it."""
        found: dict[str, str] = {}
        for call in self.calls:
            for name, value in _mapping(call.get("variables")).items():
                self._spellable("the environment", str(value))
                found[name] = str(value)
        return found

    def check(self) -> None:
        """Look for calls that no script can make.

        Raises:
            NotReproducible: there is one.
        """
        for call in self.calls:
            if reason := self.shape.refused.get(str(call["call"]).partition(" ")[0]):
                raise NotReproducible(reason)

    def load(self) -> list[Step]:
        """What comes before the first pass over the prompts."""
        return self._steps(range(self._starts()[0]))

    def passes(self) -> list[list[Step]]:
        """What each pass calls."""
        starts = self._starts()
        return [steps for start, end in pairwise(starts) if (steps := self._steps(range(start, end)))]

    def _starts(self) -> list[int]:
        marks = [place for place, call in enumerate(self.calls) if call["call"] in self.shape.begins]
        return [*(marks or [len(self.calls)]), len(self.calls)]

    def _steps(self, places: range) -> list[Step]:
        """Statements. Making an object is one only where no call takes it: where that is what failed."""
        found = []
        for place in places:
            name = str(self.calls[place]["call"])
            if "variables" in self.calls[place] or name.startswith(OWN):
                continue
            if name in self.shape.forms:
                form = self.shape.forms[name]
            elif name not in self.shape.modules:
                raise NotReproducible(f"calls of {name} are not written as source")
            elif any(_takes(later, name) for later in self.calls[place + 1 :]):
                continue
            else:
                form = Form(name)
            found.append(Step(name, form, self._invocation(place, form)))
        return found

    def _invocation(self, place: int, form: Form) -> Invocation:
        call = self.calls[place]
        args: list[Value] = [Code(form.inputs)] if form.inputs else []
        for index, item in enumerate(_list(call.get("args"))):
            args.append(Code(form.first) if form.first and not index else self._value(place, item))
        kwargs = {
            name: self._value(place, item)
            for name, item in _mapping(call.get("kwargs")).items()
            if not _names_ours(item) and not (form.inputs and _is_tensor(item))
        } | dict(form.more)
        return Invocation(form.function, args, kwargs)

    def _value(self, place: int, value: JSON) -> Value:
        name = str(self.calls[place]["call"])
        if isinstance(value, str):
            if value == self.model:
                return Code("MODEL")
            self._spellable(name, value)
            inside = value.removeprefix(f"{self.model}/")
            return Code(f'f"{{MODEL}}/{inside}"') if inside != value and re.fullmatch(r"[\w./-]+", inside) else value
        if isinstance(value, Mapping):
            if isinstance(made := value.get("class"), str):
                return self._object(place, made)
            return {key: self._value(place, item) for key, item in value.items()}
        if isinstance(value, Sequence):
            return [self._value(place, item) for item in value]
        return value

    @staticmethod
    def _spellable(name: str, text: str) -> None:
        if _LEFT_OUT.search(text):
            raise NotReproducible(f"{name} was given what the record leaves out: {text}")
        if _OBJECT.fullmatch(text) or _is_tensor(text):
            raise NotReproducible(f"{name} was given an object that cannot be spelled: {text.partition(' ')[0]}")

    def _object(self, place: int, name: str) -> Value:
        for earlier in range(place - 1, -1, -1):
            if self.calls[earlier]["call"] == name:
                return self._invocation(earlier, Form(name))
        raise NotReproducible(f"{self.calls[place]['call']} was given a {name} whose making is not recorded")


def _takes(value: JSON | Call, name: str) -> bool:
    """Whether an object of that class is in the arguments of a call."""
    if isinstance(value, Mapping):
        return value.get("class") == name or any(_takes(item, name) for item in value.values())
    return isinstance(value, list) and any(_takes(item, name) for item in value)


def _names_ours(value: JSON) -> bool:
    return isinstance(value, str) and value.startswith(_OURS)


def _is_tensor(value: JSON) -> bool:
    return isinstance(value, str) and _TENSOR.fullmatch(value) is not None


def _list(value: JSON) -> Sequence[JSON]:
    return value if isinstance(value, list) else []


def _mapping(value: JSON) -> Mapping[str, JSON]:
    return value if isinstance(value, Mapping) else {}
