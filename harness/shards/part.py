"""One shard on this machine: the cells that are its own, and those of them that are still to be measured."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.plan import Cell
from harness.project import Project
from harness.provenance import new_run_id, run_record
from harness.records import Shard
from harness.shards import fit, planfile
from harness.shards.missing import INFRASTRUCTURE
from harness.shards.planfile import PlanFile, PlanFileError
from harness.shards.split import parse, split
from harness.store import Results, Writer


@dataclass(frozen=True, slots=True)
class Part:
    """A shard and the plan it is of."""

    plan: PlanFile
    shard: Shard

    def cells(self, planned: Iterable[Cell], root: Path) -> list[Cell]:
        """The shard's cells.

        Args:
            planned: every cell of the plan's columns, as this checkout plans them.
            root: the project.

        Raises:
            PlanFileError: the plan does not fit the checkout.
        """
        own = {cell.cell for cell in split(self.plan.cells, self.shard.of)[self.shard.index - 1]}
        return [cell for cell in fit.check(self.plan, planned, root) if cell.id in own]

    def left(self, cells: Iterable[Cell], known: Results, target: Path, *, fresh: bool = False) -> list[Cell]:
        """Those of `cells` that are for the run: it passes over what it finds judged from the same inputs.

        Where the inputs of a cell cannot be told (its record has no fingerprint), the plan stands in for them: what
        an earlier, interrupted run of this shard has judged is left out here, unless all is to be made `fresh`.

        Raises:
            PlanFileError: `target`, which holds `known`, is of something else.
        """
        for run in known.runs.values():
            if run.shard != self.shard:
                what = f"shard {run.shard} of plan {run.shard.plan}" if run.shard else "a run without a plan"
                raise PlanFileError(
                    f"{target} holds results of {what}, not of shard {self.shard} of plan {self.shard.plan}: "
                    "choose another file with --out"
                )
        if fresh:
            return list(cells)
        judged = {
            record.cell for record in known.origins if record.fingerprint is None and record.cause not in INFRASTRUCTURE
        }
        return [cell for cell in cells if cell.id not in judged]


def part(shard: str | None, plan: Path | None, asked: Mapping[str, object]) -> Part | None:
    """What `--shard` and `--plan` ask for together; None where neither is given.

    Args:
        shard: as "3/8".
        plan: the plan file.
        asked: other options that choose cells, which a plan has chosen already.

    Raises:
        PlanFileError: the plan cannot be read.
        ValueError: one is given without the other, or with what contradicts them.
    """
    if shard is None and plan is None:
        return None
    if shard is None or plan is None:
        raise ValueError("--shard and --plan belong together: --shard 3/8 --plan plan.jsonl")
    if given := [name for name, value in asked.items() if value]:
        raise ValueError(f"{given[0]}: the plan says what a shard runs. Give it to `paramatrix plan` instead.")
    found = planfile.read(plan)
    return Part(found, parse(shard, found))


def write_empty(project: Project, target: Path, shard: Shard) -> None:
    """A shard without cells has a file too, or it would be missed.

    Raises:
        StoreError: it cannot be written.
    """
    header = run_record(
        [],
        run=new_run_id(),
        backends={},
        models={},
        sections=project.matrix().sections,
        narrowed=True,
        root=project.root,
        shard=shard,
    )
    writer = Writer(target)
    writer.append(header)
    writer.close()
