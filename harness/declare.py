"""The language in which a matrix is declared: parameters, values, probes, workloads.

A declaration states intent and evidence, never procedure: which values to try, what they need
to be meaningful, what the control is, and which effect only a working parameter can show.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import Final

from harness.backends.base import INSTRUMENTS, Observation
from harness.declare_limits import Capability, Limitation, UseCase
from harness.jsontypes import JSON, Settings

EMPTY: Final[Mapping[str, JSON]] = MappingProxyType({})


class Scope(StrEnum):
    """When a value takes effect."""

    ENGINE = "engine"
    """At load time: the value needs an engine of its own."""
    REQUEST = "request"
    """At each request: the value can share a loaded engine."""


class Level(StrEnum):
    """How deep the evidence of a pass goes: found by `harness.level`, never declared."""

    BEHAVIOUR = "behaviour"
    """Seen in what the backend did: its probe refuses a run that stored the value and behaved as the control."""
    STATE = "state"
    """Read back from the live objects that do the work: its probe confirms such a run as well."""


@dataclass(frozen=True, slots=True)
class Seen:
    """All that was seen of one run: its observation, the engine's read-back, the upstream calls."""

    observation: Observation
    read_back: Mapping[str, JSON]
    calls: Sequence[Mapping[str, JSON]]


@dataclass(frozen=True, slots=True)
class Shown:
    """Whether an effect is there, and in one line what was seen either way."""

    holds: bool
    saw: str


Effect = Callable[[Seen, Seen, JSON], Shown]
"""`effect(run, control, value)`: does `run` show what `value` does, measured against `control`?

The harness evaluates it twice: on (treated, control), where it must hold, and on
(control, control), where it must not. An effect that the control shows too proves nothing.
"""


@dataclass(frozen=True, slots=True)
class Probe:
    """An effect that only the working parameter can show, and what it takes to see it."""

    says: str
    """The effect in words, as a reader of the page should understand it."""
    effect: Effect
    instruments: frozenset[str] = frozenset()
    decisive: bool = True
    """True when an applied value always shows the effect, so that its absence means `ignored`.
    False when the absence proves nothing (the verdict is then `uncertain`)."""
    statistics: str = ""
    """Where the effect is told by chance: the test, its sample and its error rates. False confirmation is to be
    1e-4 at most, false refusal 1e-3."""

    def __post_init__(self) -> None:
        if unknown := self.instruments - INSTRUMENTS:
            raise ValueError(f"unknown instruments {sorted(unknown)}: expected {sorted(INSTRUMENTS)}")


@dataclass(frozen=True, slots=True)
class Deaf:
    """A component that acts on a parameter, neutralised: upstream accepts, stores and reports the value all the same.

    For the audit alone, in engines of its own: see `harness.deafening`.
    """

    says: str
    """What is neutralised, in words: "the processor returns its logits unchanged"."""
    file: Path
    """A source file that needs the standard library and the backend's alone."""
    function: str
    """Its function that does it, without arguments, before the engine loads."""


class OutputRule(StrEnum):
    """What the treated run's tokens must be, measured against the control's."""

    LOSSLESS = "lossless"
    """Exactly the control's greedy tokens."""
    LOSSY = "lossy"
    """Close to the control's: see `Bound`."""
    FREE = "free"
    """The parameter is about the tokens: any are right."""


@dataclass(frozen=True, slots=True)
class Bound:
    """How far a lossy value may take the logits from the control's.

    `relative_error` is |treated - control|₂ / |control - mean(control)|₂ of the first generated
    position's logits, worst prompt. Needs the `logits` instrument, which the plan adds.
    """

    relative_error: float


@dataclass(frozen=True, slots=True)
class Workload:
    """What is generated: the same for the treated run and its control."""

    name: str
    prompts: tuple[str, ...]
    max_new_tokens: int = 16
    seeds: tuple[int, ...] = (0,)

    def __post_init__(self) -> None:
        if not self.prompts or not self.seeds or self.max_new_tokens < 1:
            raise ValueError(f"workload {self.name!r} needs prompts, seeds and max_new_tokens >= 1")


@dataclass(frozen=True, slots=True)
class Variant:
    """A model derived from the shipped one, for values that need another checkpoint."""

    name: str
    build: Callable[[Path, Path], object]
    """`build(shipped_model, folder)` makes and fills `folder`."""
    locate: Callable[[Path], Mapping[str, str]]
    """`locate(folder)` says what to load: {"model": …} and perhaps {"cache_dir": …}."""


class Withheld:
    """Marks a control in which the parameter is not set at all."""

    def __repr__(self) -> str:
        return "withheld"


WITHHELD: Final = Withheld()


@dataclass(frozen=True, slots=True)
class Value:
    """One value to test. What is left out comes from the parameter's column."""

    value: JSON
    contrast: JSON | Withheld = WITHHELD
    """The parameter's value in the control. `WITHHELD` leaves it to upstream's default."""
    companions: Mapping[str, JSON] = field(default_factory=dict)
    """Settings of both runs, besides the column's."""
    control: Mapping[str, JSON] | None = None
    """Settings of the control alone that replace companions of the same path."""
    probe: Probe | None = None
    output: OutputRule | Bound | None = None
    workload: Workload | None = None
    variant: Variant | None = None
    needs: tuple[str, ...] | None = None
    by_harness: bool | None = None
    backends: tuple[str, ...] | None = None
    """Only these columns test the value (None: every column of the parameter)."""
    label: str | None = None
    """Stands for the value in ids and pages where its JSON would be unreadable."""
    deaf: Deaf | None = None


@dataclass(frozen=True, slots=True)
class Column:
    """How one backend's cells of a parameter are run and judged."""

    scope: Scope
    probe: Probe
    output: OutputRule | Bound
    companions: Mapping[str, JSON] = field(default_factory=dict)
    workload: Workload | None = None
    variant: Variant | None = None
    needs: tuple[str, ...] = ()
    """What the machine must have: "cuda", "devices:N" (N GPUs if it has any at all),
    "package:NAME", "cpus:N". Without it: not_run."""
    by_harness: bool = False
    """True when the harness itself does what the parameter asks for (it forms the batches, it paces the
    requests): then its own part must have been given the value (`Calls.own`), where else upstream must."""
    deaf: Deaf | Mapping[str, Deaf] | None = None
    """How to make upstream deaf to the parameter. A mapping says it by the value's label, where not every value
    has a component that acts on it: to what upstream does anyway nothing can be made deaf."""


@dataclass(frozen=True, slots=True)
class NotApplicable:
    """The parameter has no meaning for a backend, and why."""

    reason: str


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter, declared once for all backends."""

    path: str
    section: str
    values: tuple[Value, ...]
    columns: Mapping[str, Column | NotApplicable]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Excluded:
    """A field of the schema that has no cells of its own, and why."""

    path: str
    reason: str


Examples = Callable[[str, Settings], tuple[Settings, Workload]]
"""`examples(backend, settings)`: companions without which an example would say nothing here, and its workload."""


@dataclass(frozen=True, slots=True)
class Matrix:
    """Everything a project declares."""

    parameters: tuple[Parameter, ...]
    excluded: tuple[Excluded, ...]
    sections: tuple[str, ...]
    """Section headings in page order."""
    base: Mapping[str, Mapping[str, JSON]]
    """Backend to the settings every one of its cells starts from."""
    workload: Workload
    """Used where neither value nor column names one."""
    shipped_model: Path
    accelerator_model: str
    """Model used by default where there is an NVIDIA GPU."""
    examples: Examples | None = None
    """How a rule's witness and neighbour are run (None: as they are, with the workload)."""
    capabilities: tuple[Capability, ...] = ()
    limitations: tuple[Limitation, ...] = ()
    recommended: Path | None = None
    """Folder of config files to recommend."""
    use_cases: tuple[UseCase, ...] = ()

    def base_for(self, backend: str) -> Settings:
        """Settings every cell of `backend` starts from."""
        return dict(self.base.get(backend, EMPTY))


def label(value: JSON) -> str:
    """A value as it stands in ids and pages: `False`, `0.5`, `nf4`, `{"cpu":"4GiB"}`."""
    if isinstance(value, str):
        # what is not printable ASCII would reach pytest's ids in another spelling
        return value if value.isascii() and value.isprintable() else json.dumps(value)
    if value is None or isinstance(value, bool):
        return str(value)
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
