"""Whether a plan is one of this checkout: what it holds is planned again and compared."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from harness.plan import Cell
from harness.shards import planfile
from harness.shards.planfile import PlanFile, PlanFileError


def check(plan: PlanFile, cells: Iterable[Cell], root: Path) -> list[Cell]:
    """Those of `cells` that the plan holds, in its order.

    Args:
        plan: as it was made, perhaps elsewhere.
        cells: every cell of the plan's columns, as this checkout plans them.
        root: the project.

    Raises:
        PlanFileError: the plan was made of other models, declarations or another commit.
    """
    known = {cell.id: cell for cell in cells}
    took = {cell.cell: cell.expected_s for cell in plan.cells}
    here = planfile.make(known.values(), {name: took.get(name, 0.0) for name in known}, plan.header.asked, root)
    if differs := [*_header(plan, here), *_cells(plan, here)]:
        raise PlanFileError(
            f"plan {plan.header.id} does not fit this checkout: {'; '.join(differs)}. "
            "Check out what it was made of, or make it again with `paramatrix plan`."
        )
    return [known[cell.cell] for cell in plan.cells]


def _header(plan: PlanFile, here: PlanFile) -> list[str]:
    differs = [
        f"{backend} loads {loaded.model} (hash {loaded.model_hash}) there and {found.model} ({found.model_hash}) here"
        for backend, loaded in plan.header.models.items()
        if (found := here.header.models.get(backend)) and found != loaded
    ]
    commits = plan.header.commit, here.header.commit
    # a copy of the files without git cannot tell
    if None not in commits and commits[0] != commits[1]:
        differs.append(f"it was made at commit {commits[0]}, here is {commits[1]}")
    return differs


def _cells(plan: PlanFile, here: PlanFile) -> list[str]:
    there = {cell.cell: cell for cell in plan.cells}
    found = {cell.cell: cell for cell in here.cells}
    # a plan with -k does not mean the rest of the matrix
    added = [] if plan.header.asked.k else [name for name in found if name not in there]
    shared = [name for name in there if name in found]
    kinds = {
        "unknown here": [name for name in there if name not in found],
        "unknown there": added,
        "declared otherwise": [name for name in shared if there[name] != found[name]],
    }
    return [f"{len(names)} cells {what}, {names[0]} first" for what, names in kinds.items() if names]
