"""A model's layers in the processes that hold them: alike where they are of one kind, and each held once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from harness.backends.torchside import DIFFERING
from harness.jsontypes import JSON
from matrix.probes.readback import listed

Process = Mapping[str, JSON]
"""What was read back from one process."""


def uneven(processes: Iterable[Process], tables: Iterable[str]) -> list[str]:
    """Kinds whose layers differ in one of these tables of a process."""
    found = [table for process in processes for name in tables if isinstance(table := process.get(name), dict)]
    return sorted({kind for table in found for kind, shown in table.items() if _differ(shown)})


def _differ(shown: JSON) -> bool:
    return isinstance(shown, dict) and DIFFERING in shown


def unlike(run: Iterable[Process], control: Iterable[Process], *tables: str) -> list[str]:
    """Kinds whose layers differ in the run; LookupError where the control's do as well, as they may by nature."""
    if other := uneven(control, tables):
        raise LookupError(f"layers of one kind differ in the control as well: {', '.join(other)}")
    return uneven(run, tables)


@dataclass(frozen=True, slots=True)
class Dealt:
    """How the layers of a model are dealt out to processes."""

    held: list[int]
    """How many layers each process has."""
    whole: int
    """How many the model has."""
    absent: list[str]
    """Layers that no process has."""
    surplus: list[str]
    """Layers that several processes have, or the model has not."""

    @property
    def once(self) -> bool:
        """Whether every process has some, and together they have each of the model's just once."""
        return all(self.held) and not self.absent and not self.surplus

    def __str__(self) -> str:
        text = f"{self.held} of {self.whole} layers"
        lacking = f", {' '.join(self.absent)} in none" if self.absent else ""
        return text + lacking + (f", {' '.join(self.surplus)} too many" if self.surplus else "")


def dealt(run: Iterable[Process], control: Iterable[Process]) -> Dealt:
    """The control's layers in the processes of the run, by their names.

    LookupError where the control, of one process or of several, has no layer that is known as one.
    """
    whole = {name for process in control for name in _layers(process)}
    if not whole:
        raise LookupError("no layers were read back from the control, so it is not known which there are")
    each = [_layers(process) for process in run]
    times = Counter(name for own in each for name in own)
    return Dealt(
        [len(own) for own in each],
        len(whole),
        sorted(whole - times.keys()),
        sorted(name for name, count in times.items() if count > 1 or name not in whole),
    )


def _layers(process: Process) -> list[str]:
    kinds = process.get("decoder_layers")
    named = kinds if isinstance(kinds, dict) else {}
    return [f"{kind}.{number}" for kind, numbers in named.items() for number in listed(numbers)]
