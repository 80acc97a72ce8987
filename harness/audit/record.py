"""What an audit found, as `audit.json` holds it. `docs/audit.schema.json` is generated from these models."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from harness.records import BackendInfo, HarnessInfo
from harness.verdict import Cause

FILE: Final = "audit.json"


class AuditError(RuntimeError):
    """An audit cannot be made or read; one line with the mend."""


class Saboteur(StrEnum):
    """What is done between a declaration and the part of upstream that acts on it."""

    WITHHOLD = "withhold"
    """The adapter drops the value."""
    FLIP = "flip"
    """Another value arrives, recorded as the declared one."""
    ECHO = "echo"
    """Upstream stored the value, and did everything as without it."""
    DEAF = "deaf"
    """The component that acts on the value is neutralised."""


class Fate(StrEnum):
    """What became of a mutant."""

    KILLED = "killed"
    """Its verdict is not ✅, or it did not run."""
    SURVIVED = "survived"
    """It is ✅ all the same."""
    SAME = "same"
    """No mutant: nothing differs from the honest run, as with a default or a value that upstream treats alike."""
    ERROR = "error"
    """It could not be made, and nothing was learned."""


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Mutant(_Record):
    """One sabotaged run and what was judged."""

    saboteur: Saboteur
    how: str
    """What exactly was done, in words."""
    fate: Fate
    cause: Cause | None
    """Of the verdict under sabotage; None where there was no run to judge."""
    saw: str
    """The reason of that verdict, or how the run failed; one line."""


class Audited(_Record):
    """One ✅ of the results, under every saboteur."""

    cell: str
    backend: str
    row: str
    section: str
    scope: Literal["engine", "request"]
    recorded: Literal["behaviour", "state"] | None
    """Level in the results."""
    level: Literal["behaviour", "state"] | None
    """Level as found by the audit's own runs; None where these did not confirm the value."""
    honest: Cause | None
    """Verdict of the audit's own, honest runs; None where one failed."""
    saw: str
    """The reason of that verdict, or how the run failed."""
    mutants: list[Mutant]

    @property
    def missed(self) -> list[str]:
        """Why this cell misses the targets, one line each: there should be none."""
        if self.level is None:
            return [f"not confirmed by the audit's own runs: {self.honest or 'failed'}: {self.saw}"]
        found = [f"{m.saboteur}: {m.how}: {m.fate}: {m.saw}" for m in self.mutants if self._misses(m)]
        if (self.recorded, self.level) == ("behaviour", "state"):
            found.append("recorded as confirmed by behaviour, and an echo is confirmed as well")
        return found

    def _misses(self, mutant: Mutant) -> bool:
        if mutant.fate is Fate.SURVIVED:
            return mutant.saboteur in {Saboteur.WITHHOLD, Saboteur.FLIP} or self.level == "behaviour"
        return mutant.fate is Fate.ERROR


class Sample(_Record):
    """The part of the ✅ that was asked for."""

    size: int
    seed: str


class Audit(_Record):
    """A whole audit."""

    record: Literal["audit"] = "audit"
    format: Literal[1] = 1
    started: str
    """UTC, ISO 8601, seconds."""
    wall_s: float
    harness: HarnessInfo
    backends: dict[str, BackendInfo]
    runs: list[str]
    """Runs of the results whose ✅ were audited."""
    asked: int
    """✅ cells that were to be audited: more than `cells` where it was interrupted."""
    passes: dict[str, int]
    """✅ cells of the results, by backend."""
    narrowed: bool
    """True when only a part of the ✅ was asked for."""
    sample: Sample | None
    cells: list[Audited]

    @property
    def missed(self) -> list[str]:
        """Why the audit misses its targets, one line each."""
        found = [f"{cell.cell}: {text}" for cell in self.cells for text in cell.missed]
        if len(self.cells) < self.asked:
            found.append(f"interrupted: {len(self.cells)} of {self.asked} cells were audited")
        return found


def read(path: Path) -> Audit | None:
    """The audit of a folder's results; None where there is none.

    Raises:
        AuditError: it is no audit.
    """
    if not path.exists():
        return None
    try:
        return Audit.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        said = error.errors()[0]["msg"] if isinstance(error, ValidationError) else error.strerror
        raise AuditError(f"{path}: is no audit: {said}. `make audit` makes one.") from None


def schema() -> dict[str, Any]:
    """JSON Schema of an audit."""
    described = Audit.model_json_schema()
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **described,
        "title": "paramatrix audit",
    }


if __name__ == "__main__":
    print(json.dumps(schema(), indent=2))
