"""A run over a cluster as pytest sees it: each record that arrives becomes the outcome of its item."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest

from harness import groups, store
from harness.cluster.node import Facts, Setup, digest
from harness.cluster.spread import ClusterError, Spread
from harness.expectations import ExpectationsError
from harness.plan import Cell
from harness.plugin.asked import cell_of, cells_of, project_of, run_id
from harness.records import CellRecord
from harness.session import column_models

if TYPE_CHECKING:
    from harness.cluster.spread import Cluster
    from harness.expectations import Expectations
    from harness.plugin.recorder import Recorder

_SHARE = 2
"""CPUs of a slot where there are no GPUs: an engine computes on one or two, and has its supervisor beside it."""


class ClusterRun:
    """One per run: it stands in the place of pytest's own loop over the items."""

    def __init__(self, config: pytest.Config, recorder: Recorder) -> None:
        """Nothing is started yet.

        Raises:
            pytest.UsageError: what the command line asks for does not go together, or Ray is not installed.
        """
        if config.getoption("numprocesses", None) or config.getoption("dist", "no") != "no":
            raise pytest.UsageError(
                "--executor spreads the cells itself: leave -n and --dist away, or use --matrix-slots"
            )
        if find_spec("ray") is None:
            raise pytest.UsageError(
                "Ray is not installed in this environment: `make matrix EXECUTOR=ray` makes one that has it, "
                "or install paramatrix[ray]"
            )
        self.config = config
        self.recorder = recorder
        self.cluster: Cluster | None = None
        self.spread: Spread | None = None
        self._arrived: dict[str, CellRecord] = {}

    def describe(self, cells: Sequence[Cell]) -> Facts:
        """Begin to judge `cells`; what the first node is that answers.

        Raises:
            pytest.UsageError: the cluster cannot do it.
        """
        project = project_of(self.config)
        backends = {cell.backend for cell in cells}
        columns = [cell for cell in cells_of(self.config) if cell.backend in backends]
        setup = Setup(
            project=str(project.root),
            versions=dict(project.versions),
            models=column_models(columns),
            plan=digest(columns),
        )
        file = self.recorder.reuse.results
        try:
            earlier = store.read(file).cells.values() if file.exists() else ()
            self.cluster = self._join()
            self.spread = Spread(
                self.cluster,
                cells,
                groups.groups(cells, groups.expected(cells, earlier)),
                setup,
                run_id(self.config),
                share=_SHARE,
                most=self.config.getoption("--matrix-slots"),
                wait_s=self.config.getoption("--matrix-wait"),
                tell=self._tell,
            )
            return self.spread.first()
        except (ClusterError, store.StoreError) as error:
            raise pytest.UsageError(str(error)) from None

    def _join(self) -> Cluster:
        from harness.cluster.rays import RayCluster

        return RayCluster(self.config.getoption("--matrix-ray-address"))

    def take(self, cell: Cell) -> CellRecord:
        """The record that has arrived of a cell."""
        return self._arrived.pop(cell.id)

    def expected(self, record: CellRecord) -> Expectations | None:
        """What was accepted where a record was made."""
        return self.recorder.expected(record)

    def pytest_runtestloop(self, session: pytest.Session) -> bool | None:
        """Run every item when its record has arrived; what is no cell is run here, first."""
        collected = session.testsfailed and not self.config.getoption("continue_on_collection_errors")
        if collected or self.config.getoption("collectonly"):
            return None
        waiting = {cell.id: item for item in session.items if (cell := cell_of(item))}
        for item in [item for item in session.items if cell_of(item) is None]:
            _run(session, item)
        if self.spread is None:
            return True
        try:
            for record in self.spread.records():
                if self.recorder.run_of(record.run) is None:
                    self.recorder.also(record.run, self.spread.facts[record.run])
                self._arrived[record.cell] = record
                _run(session, waiting.pop(record.cell))
        except (ClusterError, store.StoreError, ExpectationsError) as error:
            pytest.exit(f"{error}. {len(waiting)} cells are left", returncode=pytest.ExitCode.INTERNAL_ERROR)
        finally:
            self._close()
        return True

    def pytest_unconfigure(self) -> None:
        """End what a run started that did not come to its loop."""
        self._close()

    def _close(self) -> None:
        cluster, self.cluster = self.cluster, None
        if cluster is not None:
            cluster.close()

    def _tell(self, line: str) -> None:
        terminal = self.config.pluginmanager.get_plugin("terminalreporter")
        if terminal:
            terminal.ensure_newline()
            terminal.write_line(line)


def _run(session: pytest.Session, item: pytest.Item) -> None:
    """One item, as pytest's own loop does it. Which one is next is not known, so nothing is kept for it."""
    item.config.hook.pytest_runtest_protocol(item=item, nextitem=None)
    if session.shouldfail:
        raise session.Failed(session.shouldfail)
    if session.shouldstop:
        raise session.Interrupted(session.shouldstop)
