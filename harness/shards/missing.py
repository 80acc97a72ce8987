"""What merged results lack before they tell of all that was planned."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from harness.shards.planfile import PlanFile, PlanFileError
from harness.shards.split import split
from harness.store import Judged, Results
from harness.verdict import Cause

INFRASTRUCTURE: Final = (Cause.HARNESS_ERROR, Cause.ENVIRONMENT)
"""Nothing was learned of the cell because something broke. (A package or device that is absent is a fact.)"""


@dataclass(frozen=True, slots=True)
class Missing:
    """What keeps a plan from being judged as a whole."""

    shards: list[str]
    """"3/8", or "3/8 (12 cells)" where the plan is at hand."""
    unmeasured: list[str]
    """Cells of shards that are there, without a record."""
    failed: list[Judged]
    """Cells that a fault of the machine or the harness kept from being judged."""
    stale: list[str]
    """Cells of shards that were begun anew, with other inputs, and did not come to them again."""

    def __bool__(self) -> bool:
        return bool(self.shards or self.unmeasured or self.failed or self.stale)

    def lines(self) -> list[str]:
        """What to say of it."""
        return [
            *(f"shard {shard} is missing" for shard in self.shards),
            *(f"{cell}: not measured" for cell in self.unmeasured),
            *(f"{record.cell}: not judged: {record.cause}: {record.reason}" for record in self.failed),
            *(f"{cell}: stale: not measured again since its inputs changed" for cell in self.stale),
        ]


def missing(results: Results, plan: PlanFile | None = None) -> Missing | None:
    """What `results`, merged from shards, lack; None where no run of them is of a plan.

    Args:
        results: with runs of one plan at most, split in one way.
        plan: the plan, to know the cells of missing shards.

    Raises:
        PlanFileError: `plan` is another than the shards'.
    """
    shards = {run.shard for run in results.runs.values() if run.shard}
    if plan is not None and (others := {shard.plan for shard in shards} - {plan.header.id}):
        raise PlanFileError(f"these are shards of plan {others.pop()}, not of plan {plan.header.id}")
    if not shards:
        if plan is not None:
            raise PlanFileError(f"none of these results is of plan {plan.header.id}, nor of any other")
        return None
    of = max(shard.of for shard in shards)
    there = {shard.index for shard in shards}
    parts = split(plan.cells, of) if plan else None
    absent = [
        f"{index}/{of}" + (f" ({len(parts[index - 1])} cells)" if parts else "")
        for index in range(1, of + 1)
        if index not in there
    ]
    own = [record for record in results.judged if results.runs[record.run].shard]
    failed = [record for record in own if record.cause in INFRASTRUCTURE]
    stale = results.stale
    old = [record.cell for record in own if record.cell in stale and record.cause not in INFRASTRUCTURE]
    return Missing(absent, [planned.cell for planned in results.unmeasured], failed, old)
