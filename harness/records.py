"""What a results file holds: one run record, then one cell record for each cell that ended.

These models are the schema: `docs/results.schema.json` is generated from them, and the store
validates every line against them when it reads.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, field_validator, model_validator

from harness.energy.record import EnergyRecord
from harness.snapshot import is_stand_in
from harness.verdict import Cause, Outcome

FORMAT: Final = 1
"""Version of the file format."""

Json = Any  # pydantic's own JsonValue refuses no more than the writer already guarantees


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Planned(_Record):
    """A cell that a run set out to judge."""

    cell: str
    backend: str
    row: str
    section: str


class HarnessInfo(_Record):
    """Which harness measured."""

    version: str
    commit: str | None
    """Git commit; ends in "+dirty" when the tree differed from it; None outside a checkout."""
    python: str


class BackendInfo(_Record):
    """Which backend was measured, on what."""

    model: str
    model_hash: str | None
    """SHA-256 prefix of a local model folder; None for a hub id."""
    python: str | None = None
    packages: dict[str, str | None] = {}
    cpu: str | None = None
    cpus: int | None = None
    memory_bytes: int | None = None
    gpus: list[dict[str, Json]] = []
    platform: str | None = None
    unavailable: str | None = None
    """Why the backend could not be described; its cells are then `not_run`."""

    @field_validator("packages")
    @classmethod
    def _real(cls, packages: dict[str, str | None]) -> dict[str, str | None]:
        """What was seen of a stand-in says nothing of the library, and is no result."""
        if fakes := [f"{name} {version}" for name, version in packages.items() if is_stand_in(version)]:
            raise ValueError(f"{', '.join(fakes)} is a stand-in: no result can come from it")
        return packages

    @property
    def device(self) -> str:
        """Names of the GPUs, or the CPU and its cores; a dash where the backend could not be described."""
        if self.unavailable:
            return "–"
        if self.gpus:
            names = [str(gpu.get("name")) for gpu in self.gpus]
            return ", ".join(f"{names.count(n)} × {n}" if names.count(n) > 1 else n for n in dict.fromkeys(names))
        return f"CPU ({self.cpu or 'unknown'}, {self.cpus or '?'} cores)"

    @property
    def libraries(self) -> str:
        """The two libraries that a backend names first, with their versions."""
        return ", ".join([f"{name} {version}" for name, version in self.packages.items() if version][:2])

    @property
    def device_class(self) -> str:
        """Devices that verdicts can differ between: `cpu`, or GPUs by compute capability: `cuda-9.0`, `cuda-8.0x4`."""
        counts = Counter(str(gpu.get("compute_capability")) for gpu in self.gpus)
        parts = [f"{name}x{count}" if count > 1 else name for name, count in sorted(counts.items())]
        return f"cuda-{'+'.join(parts)}" if parts else "cpu"

    @property
    def driver(self) -> str | None:
        """Driver version of the first GPU."""
        return str(self.gpus[0].get("driver")) if self.gpus else None


class Shard(_Record):
    """The part of a plan that a run was to measure."""

    plan: str
    """The plan's id."""
    index: int = Field(ge=1)
    of: int = Field(ge=1)

    def __str__(self) -> str:
        """As it is asked for: "3/8"."""
        return f"{self.index}/{self.of}"


class RunRecord(_Record):
    """Provenance: who measured what, when, where, with which versions."""

    record: Literal["run"] = "run"
    format: Literal[1] = FORMAT
    run: str
    started: str
    """UTC, ISO 8601, seconds."""
    narrowed: bool
    """True when only a part of the matrix was asked for: other cells keep their records."""
    harness: HarnessInfo
    backends: dict[str, BackendInfo]
    sections: list[str]
    planned: list[Planned]
    fingerprints: dict[str, str] = {}
    """Cell to the digest of all that decided its outcome when the run began, for every planned cell of the run's
    columns, those that were not asked for too. A cell of which that cannot be told is absent."""
    shard: Shard | None = None
    """The shard of a plan that this run is of; None where the machine measured for itself."""


class Evidence(_Record):
    """declared → forwarded → resolved → behaved."""

    level: Literal["behaviour", "state"] | None
    """How deep a confirmation goes; None where nothing was confirmed."""
    declared: dict[str, Json]
    """Flat settings of the treated run."""
    forwarded: list[dict[str, Json]] | None
    """Upstream calls of the treated run, recorded as they were made; None if it never got there."""
    resolved: dict[str, Json] | None
    """Read back from live upstream objects."""
    observed: dict[str, Json] | None
    """{"effect", "holds", "saw", "forwarded", "output", "rests_on", "relative_error", "outputs"} of the treated
    run, or {"failure": …}. `forwarded` lists the upstream arguments that the control did not get, `rests_on` the
    observations that the verdict was read from; `relative_error` is that of the logits, where these are among
    them; `outputs` are the first token ids generated, by seed and prompt."""
    control: dict[str, Json] | None
    """{"contrast", "holds", "saw", "calls", "resolved", "outputs"} of the control, or {"contrast", "failure": …}.
    `calls` are its upstream calls, where a number stands for the call at that place of `forwarded`; `resolved`
    has of its read-back what the verdict rests on, by path."""


class Timing(_Record):
    """Seconds spent on a cell, over all its attempts."""

    queue_s: float
    """Waiting for the backend host (its import of the library)."""
    load_s: float
    """Loading engines."""
    generate_s: float
    """Generating."""
    upstream_s: float
    """Of these, inside the library's own calls."""
    wall_s: float


class AttemptRecord(_Record):
    """One run that was made for a cell."""

    role: Literal["treated", "control"]
    outcome: str
    """"ran", "reused" (an earlier observation of the same run), or how it failed."""
    new_engine: bool


class Repeat(_Record):
    """How one repeat of a cell ended."""

    run: str
    """The pass that it belongs to."""
    verdict: Outcome
    cause: Cause
    reason: str


class OfCell(_Record):
    """What is told of a cell in any file."""

    record: str
    run: str
    """The run that measured it."""
    cell: str
    backend: str
    parameter: str
    value: Json
    section: str
    scope: Literal["engine", "request"]

    @property
    def row(self) -> str:
        """The page's row."""
        return self.cell.removeprefix(f"{self.backend}-")


class CellRecord(OfCell):
    """A judged cell."""

    record: Literal["cell"] = "cell"
    verdict: Outcome
    cause: Cause
    reason: str
    evidence: Evidence
    timing: Timing
    attempts: list[AttemptRecord]
    by_harness: bool = False
    """True when the harness itself does what the parameter asks for: upstream has no argument for it."""
    rejected_by_validation: str | None = None
    """What our own validation says against the config, when it says anything."""
    note: str = ""
    energy: EnergyRecord | None = None
    """What the treated run cost, or why that is not known; None in files of before this was told."""
    fingerprint: str | None = None
    """Digest of all that can change the outcome; None where that cannot be told, and in files of before it was."""

    repeats: list[Repeat] = []
    """Each outcome, in order, where the cell was judged several times; `attempts` and `timing` are of all of them."""

    @model_validator(mode="after")
    def _consistent(self) -> CellRecord:
        if self.cause.outcome is not self.verdict:
            raise ValueError(f"cause {self.cause} means {self.cause.outcome}, not {self.verdict}")
        if "\n" in self.reason:
            raise ValueError("reason: expected one line")
        if self.verdict is Outcome.PASS:
            if others := {repeat.cause for repeat in self.repeats} - {self.cause}:
                raise ValueError(f"a pass needs repeats that all pass, one is {min(others)}")
            seen, control = self.evidence.observed or {}, self.evidence.control or {}
            if self.evidence.level is None or seen.get("holds") is not True or control.get("holds") is not False:
                raise ValueError("a pass needs an effect that the treated run shows and the control does not")
            if not self.evidence.forwarded or self.evidence.resolved is None:
                raise ValueError("a pass needs what was forwarded and what was resolved")
        return self


Line = Annotated[RunRecord | CellRecord, Field(discriminator="record")]
LINE: TypeAdapter[RunRecord | CellRecord] = TypeAdapter(Line)


def schema() -> dict[str, Any]:
    """JSON Schema of one line of a results file."""
    described = LINE.json_schema()
    described["$defs"]["CellRecord"]["allOf"] = [
        *({"if": _where(cause=cause.value), "then": _where(verdict=cause.outcome.value)} for cause in Cause),
        {"if": _where(verdict="pass"), "then": _where(evidence=_PROOF)},
    ]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "paramatrix results: one line",
        **described,
    }


def _where(**properties: Any) -> dict[str, Any]:
    return {"properties": {key: {"const": v} if isinstance(v, str) else v for key, v in properties.items()}}


def _holds(wanted: bool) -> dict[str, Any]:
    return {"type": "object", "required": ["holds"], "properties": {"holds": {"const": wanted}}}


_PROOF: Final[dict[str, Any]] = {
    "properties": {
        "level": {"type": "string"},
        "forwarded": {"type": "array", "minItems": 1},
        "resolved": {"type": "object"},
        "observed": _holds(wanted=True),
        "control": _holds(wanted=False),
    }
}
"""What `CellRecord` demands of a pass, for those who validate with the JSON Schema alone."""


if __name__ == "__main__":
    print(json.dumps(schema(), indent=2))
