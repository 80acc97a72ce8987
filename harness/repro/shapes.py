"""How a library's recorded calls are written: what the modules of the backends fill in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace


class NotReproducible(Exception):
    """A cell that no standalone script can show; the message says why."""


@dataclass(frozen=True, slots=True)
class Form:
    """How a call is written as a statement."""

    function: str
    target: str = ""
    """What stands before it: `llm = `."""
    first: str = ""
    """Stands for its first argument, where that is an object."""
    inputs: str = ""
    """Stands for arguments that are tensors, before all others."""
    more: Mapping[str, bool] = field(default_factory=dict)
    """Arguments that the record does not have."""
    suffix: str = ""
    then: tuple[str, ...] = ()
    """Lines that follow it."""


@dataclass(frozen=True, slots=True)
class Logits:
    """Lines that make `logits`: a row a prompt, those that its first token is chosen from."""

    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    """Lines before and after the passes."""
    forms: Mapping[str, Form] = field(default_factory=dict)
    """Calls that are written otherwise."""


@dataclass(frozen=True, slots=True)
class Shape:
    """A library's calls as a script."""

    forms: Mapping[str, Form]
    """Calls that are statements, by their names in a record."""
    modules: Mapping[str, str]
    """Names and where they are imported from; calls of them that `forms` lacks make objects for other calls."""
    model: tuple[str, str | int]
    """The call that loads the model, and which of its arguments that is."""
    begins: frozenset[str]
    """Calls that a pass over the prompts begins with."""
    prompts: frozenset[str]
    """Calls whose first argument is the prompts of a batch."""
    before: tuple[str, ...]
    """Lines before the passes."""
    after: tuple[str, ...]
    """Lines after them: they make `outputs`, a list of token ids for each prompt, and `text`."""
    logits: Logits
    helpers: Mapping[str, str]
    """Functions that these lines and the readings below may use, by name."""
    at_load: Mapping[str, str] = field(default_factory=dict)
    """Value that was read back, by its path in a record, to the expression that reads it after loading."""
    at_end: Mapping[str, str] = field(default_factory=dict)
    """The same, after the passes."""
    refused: Mapping[str, str] = field(default_factory=dict)
    """First words of calls that no script is made of, and why."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Environment variables, set unless they are."""
    environment_on_cpu: Mapping[str, str] = field(default_factory=dict)
    """The same, where there is no accelerator."""

    def with_logits(self) -> Shape:
        """The same, for runs whose logits are compared."""
        return replace(
            self,
            forms={**self.forms, **self.logits.forms},
            before=(*self.before, *self.logits.before),
            after=(*self.after, *self.logits.after),
            at_end={**self.at_end, LOGITS: "thin(logits)"},
            helpers={"thin": THIN, **self.helpers},
        )


COUNT = """
def count(names):
    return dict(Counter(map(str, names)))
"""
"""A helper of several backends."""

LOGITS = "logits"
THIN = '''
def thin(rows):
    """Of each row, evenly spaced logits: 256 at most."""
    return [row[:: -(-len(row) // 256)] for row in rows]
'''
