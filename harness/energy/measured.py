"""What a file of measurements holds: one run record, then one record for each cell that was measured.

It is a file of its own (`reports/energy.jsonl`): a measurement judges nothing, and a verdict measures nothing.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from harness.energy.quality import Flag
from harness.energy.record import EnergyRecord
from harness.records import OfCell, RunRecord
from harness.store import Table

FILE: Final = "energy.jsonl"
"""Its name, beside the results that judge the same cells."""


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ScheduleRecord(_Model):
    """How the cell was measured: `harness.energy.schedule.Schedule`."""

    window_s: float | None
    repeats: int
    idle_s: float
    warm_up_s: float
    retries: int


class WindowRecord(_Model):
    """A window, in the order of time."""

    role: Literal["idle", "treated", "control"]
    round: int | None
    """From 1; None for idling."""
    start_s: float
    """Seconds since the first window of the cell began."""
    end_s: float
    passes: int
    """How often the job was run."""
    output_tokens: int
    energy_j: float | None
    """None where `energy.missing` tells why."""
    flags: list[Flag] = []
    kept: bool
    """False: it was contaminated, and measured again."""


class MeasuredRecord(OfCell):
    """A cell that was measured against its control."""

    record: Literal["energy"] = "energy"
    model: str
    """What it loaded, as the run's header names it."""
    contrast: str
    """What the control has instead of the value."""
    schedule: ScheduleRecord
    energy: EnergyRecord
    """Of the treated run, with the differences to the control."""
    control: EnergyRecord
    """Of the control, from windows in the same rounds."""
    windows: list[WindowRecord]
    trace: list[tuple[float, float]] | None = None
    """Power over the windows, all devices together: seconds as in `windows`, and watts. None without a meter."""


Line = Annotated[RunRecord | MeasuredRecord, Field(discriminator="record")]
LINE: TypeAdapter[RunRecord | MeasuredRecord] = TypeAdapter(Line)


@dataclass(slots=True)
class Measurements(Table[MeasuredRecord]):
    """A file of measurements."""

    line = LINE
    schema = "docs/energy.schema.json"
    made_by = "make energy"


def read(path: Path) -> Measurements:
    """Read and validate a file of measurements.

    Raises:
        StoreError: missing, unreadable, torn, or not what the schema says.
    """
    return Measurements.read(path)


def schema() -> dict[str, Any]:
    """JSON Schema of one line."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "paramatrix measurements: one line",
        **LINE.json_schema(),
    }


if __name__ == "__main__":
    print(json.dumps(schema(), indent=2))
