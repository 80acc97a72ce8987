"""What a slot's supervisor is told, and what it tells of its node."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from harness import plan
from harness.plan import Cell
from harness.records import BackendInfo, HarnessInfo, RunRecord

if TYPE_CHECKING:
    from harness.project import Project


class Setup(BaseModel):
    """What a supervisor has to judge: told by the run, the same for every slot."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    project: str
    """The project's root, which is at the same path on every node."""
    versions: dict[str, str]
    """Backends in a version other than the default one."""
    models: dict[str, str]
    """The columns, and the model that each loads."""
    plan: str
    """The digest of the cells as the run plans them."""
    gpus: tuple[str, ...] | None = None
    """Those of its node that the slot holds, as CUDA_VISIBLE_DEVICES names them; None: all. Filled in on the node."""


class Facts(BaseModel):
    """What a node is: its part of a run's header."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    backends: dict[str, BackendInfo]
    harness: HarnessInfo
    installed: list[str]
    """Backends that have an interpreter there."""

    @property
    def kind(self) -> str:
        """Nodes of equal kind share a header."""
        return self.model_dump_json()

    def into(self, header: RunRecord) -> RunRecord:
        """A header of the driver's machine made one of this node.

        Fingerprints name a machine: those of a column that is another one here are left out.
        """
        same = {name for name, info in self.backends.items() if header.backends.get(name) == info}
        kept = {plan.cell for plan in header.planned if plan.backend in same}
        marks = {cell: mark for cell, mark in header.fingerprints.items() if cell in kept}
        return header.model_copy(update={"backends": self.backends, "harness": self.harness, "fingerprints": marks})

    @property
    def able(self) -> frozenset[str]:
        """Backends that answer there."""
        return frozenset(name for name, info in self.backends.items() if info.unavailable is None)


def of_node(visible: str | None, count: int) -> str:
    """CUDA_VISIBLE_DEVICES for the first `count` GPUs of those that a node's own variable names; None: it has none."""
    named = [str(index) for index in range(count)] if visible is None else visible.split(",")
    return ",".join(named[:count])


def digest(cells: Iterable[Cell]) -> str:
    """Of the cells' ids and of all that their runs are: equal where two machines mean the same by a cell's id."""
    facts = sorted((cell.id, cell.treated.key, cell.control.key) for cell in cells)
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]


def planned(project: Project, models: Mapping[str, str]) -> dict[str, Cell]:
    """The cells of the columns in `models`, by id."""
    cells = plan.build(project.matrix(), models=models, backends=list(models))
    return {cell.id: cell for cell in cells}
