"""Claims of the rules held against what upstream really did: the record, and how it is judged.

A rule claims two things: its witness cannot work, and its neighbour can. Both were run. What our
own adapter refused, and what this machine cannot run, says nothing about upstream and counts for
neither side.
"""

from __future__ import annotations

import json
from collections import Counter
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from harness import store
from harness.records import BackendInfo, HarnessInfo

FILE = "claims.json"
"""Name of the claims file, beside the results."""


class ClaimsError(RuntimeError):
    """A claims file that cannot be read; one line with the mend."""


class Outcome(StrEnum):
    """What became of a config that was run."""

    WORKS = "works"
    FAILS = "fails"
    REFUSED = "refused by our adapter"
    NOT_RUN = "not run"
    ELSEWHERE = "for another backend"


class Agreement(StrEnum):
    """What one example says about its rule."""

    AGREES = "agrees"
    OVER_STRICT = "over-strict"
    """Rejected, but works."""
    TOO_LENIENT = "too lenient"
    """Only warned of, but fails."""
    MISSING_RULE = "missing rule"
    """Accepted, but fails."""
    SILENT = "says nothing"


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Trial(_Record):
    """A config that was run, and how that ended."""

    settings: dict[str, Any]
    outcome: Outcome
    says: str = ""
    """What was seen: the error, or how the output compares."""
    phase: str | None = None
    """Where it failed: "load" or "generate"."""


class Claim(_Record):
    """One rule: its witness, run with the validator bypassed, and its neighbour, with it on."""

    rule: str
    severity: Literal["error", "warning"]
    witness: Trial
    neighbour: Trial

    @property
    def rejection(self) -> Agreement:
        """What the witness says."""
        if self.witness.outcome is Outcome.WORKS:
            return Agreement.OVER_STRICT if self.severity == "error" else Agreement.AGREES
        if self.witness.outcome is Outcome.FAILS:
            return Agreement.AGREES if self.severity == "error" else Agreement.TOO_LENIENT
        return Agreement.SILENT

    @property
    def acceptance(self) -> Agreement:
        """What the neighbour says."""
        if self.neighbour.outcome is Outcome.WORKS:
            return Agreement.AGREES
        return Agreement.MISSING_RULE if self.neighbour.outcome is Outcome.FAILS else Agreement.SILENT


class Recommended(_Record):
    """A recommended config that was run."""

    file: str
    trial: Trial


class BackendClaims(_Record):
    """All claims about one backend, checked in one go."""

    started: str
    harness: HarnessInfo
    backend: BackendInfo
    claims: list[Claim]
    recommended: list[Recommended] = []


class Claims(_Record):
    """The claims file: what was found for each backend, latest check only."""

    format: Literal[1] = 1
    backends: dict[str, BackendClaims] = {}


def read(path: Path) -> Claims:
    """The claims file, or an empty one where there is none.

    Raises:
        ClaimsError: unreadable, or not what the schema says.
    """
    try:
        return Claims.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return Claims()
    except (OSError, ValidationError) as error:
        first = str(error).splitlines()[0]
        raise ClaimsError(f"{path}: not a claims file ({first}). `paramatrix claims` writes a new one.") from None


def write(claims: Claims, path: Path) -> None:
    """Replace the claims file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(claims.model_dump(mode="json"), indent=1, ensure_ascii=False, allow_nan=False)
    store.replace(path, text.encode() + b"\n")


def counts(found: BackendClaims) -> dict[tuple[str, Outcome], int]:
    """How many examples of each standing (rejected, warned, accepted) ended how."""
    witnesses = [("rejected" if c.severity == "error" else "warned", c.witness.outcome) for c in found.claims]
    neighbours = [("accepted", c.neighbour.outcome) for c in found.claims]
    return Counter(witnesses + neighbours)


def table(found: BackendClaims) -> str:
    """The four cells, and what stands beside them, as text for a terminal."""
    seen = counts(found)
    lines = [f"{'':22}{'fails upstream':>18}{'works upstream':>18}{'our adapter refuses':>22}{'not run':>10}"]
    for standing, fails, works in (
        ("rejected", Agreement.AGREES, Agreement.OVER_STRICT),
        ("warned", Agreement.TOO_LENIENT, Agreement.AGREES),
        ("accepted", Agreement.MISSING_RULE, Agreement.AGREES),
    ):
        failed = f"{seen[standing, Outcome.FAILS]} {fails.value}"
        worked = f"{seen[standing, Outcome.WORKS]} {works.value}"
        rest = seen[standing, Outcome.NOT_RUN] + seen[standing, Outcome.ELSEWHERE]
        name = f"{standing} by validation"
        lines.append(f"{name:22}{failed:>18}{worked:>18}{seen[standing, Outcome.REFUSED]:>22}{rest:>10}")
    return "\n".join(lines)
