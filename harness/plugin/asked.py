"""What this run of pytest was asked for: its project, its cells, its id. Kept in the config's stash."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import pytest

from harness import plan
from harness.columns import plan_cells
from harness.plan import Cell
from harness.plugin import told
from harness.project import Project, ProjectError, find, parse_versions
from harness.provenance import new_run_id
from harness.records import Shard

if TYPE_CHECKING:
    from harness.cluster.node import Facts
    from harness.expectations import Expectations
    from harness.records import CellRecord


class Elsewhere(Protocol):
    """What judges the cells in the place of this process."""

    def describe(self, cells: Sequence[Cell]) -> Facts:
        """Begin to judge `cells`; on what."""

    def take(self, cell: Cell) -> CellRecord:
        """The record that has arrived of a cell."""

    def expected(self, record: CellRecord) -> Expectations | None:
        """What was accepted where it was made."""


CELLS = pytest.StashKey[tuple[Cell, ...]]()
PROJECT = pytest.StashKey[Project]()
RUN = pytest.StashKey[str]()
MEASURE = pytest.StashKey[Callable[[pytest.Item, Cell], None]]()
"""What is done with a cell in the place of judging it."""
SHARD = pytest.StashKey[Shard]()
"""The shard of a plan that this run is of."""
CONFIGS = pytest.StashKey[tuple[Cell, ...]]()
"""Cells besides those of the matrix."""
ELSEWHERE = pytest.StashKey[Elsewhere]()
CASES = pytest.StashKey[str | None]()
"""The file whose tests judge cells, as ids of tests name it; None where no id can."""


def project_of(config: pytest.Config) -> Project:
    """The project under test.

    Raises:
        pytest.UsageError: there is none.
    """
    if PROJECT not in config.stash:
        try:
            versions = parse_versions(config.getoption("--matrix-version") or ())
            config.stash[PROJECT] = find(config.rootpath).at(versions)
        except ProjectError as error:
            raise pytest.UsageError(str(error)) from None
    return config.stash[PROJECT]


def cells_of(config: pytest.Config) -> tuple[Cell, ...]:
    """The planned cells of this run."""
    if CELLS not in config.stash:
        project = project_of(config)
        try:
            planned = plan_cells(project, config.getoption("--matrix-backends"), config.getoption("--matrix-model"))
            config.stash[CELLS] = (*planned, *config.stash.get(CONFIGS, ()))
        except (ProjectError, plan.PlanError, FileNotFoundError, ValueError) as error:
            raise pytest.UsageError(str(error)) from None
    return config.stash[CELLS]


class PlannedBefore:
    """Brings the cells of a run that were planned from what it is asked for: ten thousand take a while to plan."""

    def __init__(self, cells: tuple[Cell, ...]) -> None:
        """`cells`: all that the run plans, also those that are not chosen."""
        self.cells = cells

    def pytest_configure(self, config: pytest.Config) -> None:
        """They need not be planned again."""
        config.stash[CELLS] = self.cells


def judged_in(config: pytest.Config, nodeid: str) -> str | None:
    """The id of the cell that a test judges, by the name of the test: what the workers of pytest-xdist collect.

    Others may have the same text in brackets; cells are judged in the project's own file alone.
    """
    if not among_cases(config, nodeid):
        return None
    return nodeid.partition("[")[2].removesuffix("]") or None


def among_cases(config: pytest.Config, nodeid: str) -> bool:
    """Whether a test is in the file whose tests judge cells (`[tool.paramatrix] cases`)."""
    if CASES not in config.stash:
        file = _cases_file(config)
        config.stash[CASES] = file.relative_to(config.rootpath).as_posix() if config.rootpath in file.parents else None
    return nodeid.partition("::")[0] == config.stash[CASES]


def may_judge(config: pytest.Config) -> bool:
    """Whether that file is among what pytest was asked to collect, as far as that can be told before it collects."""
    if config.getoption("pyargs"):
        return True
    cases = _cases_file(config)
    named = (config.invocation_params.dir / argument.partition("::")[0] for argument in config.args)
    # as pytest does it, a link stays one
    return any(Path(os.path.abspath(path)) in {cases, *cases.parents} for path in named)  # noqa: PTH100


def _cases_file(config: pytest.Config) -> Path:
    project = project_of(config)
    return project.root / project.cases


def cell_of(item: pytest.Item) -> Cell | None:
    """The cell an item judges, if it judges one: having one as a parameter is not enough."""
    callspec = getattr(item, "callspec", None) if "judge_cell" in getattr(item, "fixturenames", ()) else None
    value = callspec.params.get("cell") if callspec else None
    return value if isinstance(value, Cell) else None


def run_id(config: pytest.Config) -> str:
    """The id of this run: the controller's, also in its workers."""
    workerinput = getattr(config, "workerinput", None)
    if workerinput is not None:
        return str(workerinput[told.RUN])
    return config.stash.setdefault(RUN, new_run_id())
