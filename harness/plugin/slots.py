"""Slots under pytest-xdist: which worker has which, what a worker is told, and what becomes of those that die."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final

import pytest

from harness import groups, processes, store
from harness.energy.summary import nothing
from harness.experiment import Result
from harness.plugin.asked import cells_of, judged_in, run_id
from harness.plugin.reuse import Reuse
from harness.plugin.told import MARK, SLOT
from harness.session import record
from harness.slots import orders
from harness.slots.allocation import Allocation, Work
from harness.slots.machine import Machine, Slots
from harness.slots.scheduling import SlotScheduling, Worker
from harness.verdict import Cause, Verdict

if TYPE_CHECKING:
    from harness.plan import Cell
    from harness.records import CellRecord

_FUTILE: Final = 2
"""Workers in a row, for each slot, that may die before they come to a cell: then none will."""


def settle(config: pytest.Config) -> None:
    """Turn what `-n` asks for into a number of workers: `auto` is one a slot, and one slot needs no worker at all."""
    asked = config.getoption("numprocesses", None)
    if not asked or config.getoption("usepdb", default=False):
        return
    machine = Machine.here()
    count = machine.auto() if asked in {"auto", "logical"} else int(asked)
    if 0 < len(machine.gpus) < count:
        print(f"{count} workers asked for: {len(machine.gpus)} take part, one a GPU", file=sys.stderr)
        count = len(machine.gpus)
    config.option.numprocesses = count if count > 1 else 0
    if config.option.maxworkerrestart is None:
        # xdist would give up after four deaths a worker, and cells be left; here no cell is tried a third time
        config.option.maxworkerrestart = str(sys.maxsize)


class SlotPlugin:
    """The controller's side."""

    def __init__(self, config: pytest.Config, reuse: Reuse) -> None:
        self.config = config
        self.reuse = reuse
        self.slots = Slots(())
        self.scheduling: SlotScheduling | None = None
        self._slot: dict[str, int] = {}
        self._mark: dict[str, str] = {}
        self._futile = 0
        self._cells: dict[str, Cell] = {}

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_make_scheduler(self, config: pytest.Config) -> SlotScheduling | None:
        """By slots, unless another way was asked for."""
        if config.getoption("dist") != "load":
            return None
        self.scheduling = SlotScheduling(config, lambda node: self._slot[node.gateway.id], self._allocation)
        return self.scheduling

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_setupnodes(self, specs: Sequence[object]) -> None:
        """The machine is divided among as many workers as were asked for."""
        self.slots = Machine.here().slots(len(specs))

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Worker) -> None:
        """A worker takes the first slot that nobody has: the one of the worker that it replaces."""
        if self.config.getoption("dist") != "load":
            return
        name = node.gateway.id
        self._slot[name] = min(set(range(len(self.slots.shares))) - set(self._slot.values()))
        self._mark[name] = secrets.token_hex(8)
        node.workerinput[SLOT] = {**orders.told(self._slot[name], self.slots), "mark": self._mark[name]}

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Worker, error: object | None) -> None:
        """What a dead worker has left on its slot ends before another gets it.

        When workers do nothing but die, the run stops: an error in starting them would go on for ever.
        """
        mark = self._mark.pop(node.gateway.id, None)
        self._slot.pop(node.gateway.id, None)
        if error and mark:
            processes.end_marked(f"{MARK}={mark}")
            self._futile += 1
            if self._futile > _FUTILE * len(self.slots.shares):
                pytest.exit(
                    f"{self._futile} workers in a row died before they came to a cell",
                    returncode=pytest.ExitCode.INTERRUPTED,
                )

    def pytest_runtest_logstart(self) -> None:
        """A worker has come to a cell."""
        self._futile = 0

    @pytest.hookimpl(optionalhook=True, tryfirst=True)
    def pytest_xdist_node_collection_finished(self, node: Worker, ids: list[str]) -> None:
        """The orders are our own business: nobody else is to count them among the items."""
        if ids and SLOT in node.workerinput:
            del ids[-orders.count(len(self.slots.shares)) :]

    @pytest.hookimpl(optionalhook=True)
    def pytest_handlecrashitem(self, crashitem: str, report: pytest.TestReport) -> None:
        """A cell at which two workers died has a record that says so."""
        if (cell := self._cells.get(crashitem)) is None:
            return
        reason = "the worker process that judged this cell died, and so did the one after it"
        result = Result(Verdict(Cause.HARNESS_ERROR, reason))
        energy = nothing(reason, mode="functional")
        made = record(cell, result, energy, run=run_id(self.config), queue_s=0.0, wall_s=0.0)
        report.paramatrix = made.model_dump_json()  # type: ignore[attr-defined]

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """A cell that has its record is done, whatever becomes of its worker."""
        node = getattr(report, "node", None)
        if self.scheduling and node is not None and getattr(report, "paramatrix", None) is not None:
            self.scheduling.judged(node, report.nodeid)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """A run that left cells out is not green."""
        allocation = self.scheduling.allocation if self.scheduling else None
        if allocation and allocation.left and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def _allocation(self, ids: Sequence[str]) -> Allocation:
        """The groups of what was collected and is not re-used; what is no cell stays together by its file."""
        judged = {name: judged_in(self.config, name) for name in ids}
        any_cell = any(judged.values())
        reused = self.reuse.known().reused if any_cell else frozenset()
        ids = [name for name in ids if judged[name] not in reused]
        known = {cell.id: cell for cell in cells_of(self.config)} if any_cell else {}
        self._cells = {name: known[cell] for name in ids if (cell := judged[name]) in known}
        wanted = {cell.id: cell for cell in self._cells.values()}
        named: dict[str, list[str]] = {}
        for name, planned in self._cells.items():
            named.setdefault(planned.id, []).append(name)
        works = [
            Work(
                group.key,
                tuple(name for cell in group.cells for name in named[cell.id]),
                self.slots.width(group),
                group.expected_s,
            )
            for group in groups.groups(wanted.values(), groups.expected(wanted.values(), self._earlier()))
        ]
        others: dict[str, list[str]] = {}
        for name in ids:
            if name not in self._cells:
                others.setdefault(name.split("::")[0], []).append(name)
        works += [Work(file, tuple(names), 1, 0.0) for file, names in others.items()]
        return Allocation(works, len(self.slots.shares))

    def _earlier(self) -> Iterable[CellRecord]:
        """Records that tell how long cells take, where there are any."""
        try:
            return store.read(self.reuse.results).cells.values()
        except store.StoreError:
            return ()  # a first run; a file that cannot be read is told by who writes it
