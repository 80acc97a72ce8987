"""pytest with `--energy`: cells are measured in the place of being judged, and held against a budget."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from harness import store
from harness.energy import budget
from harness.energy.budget import Budget, BudgetError
from harness.energy.measured import FILE, MeasuredRecord, Measurements
from harness.energy.measurer import ENGINES, NotMeasured, measure_cell
from harness.energy.wording import amount, percent
from harness.plugin.asked import CONFIGS, MEASURE, cell_of, cells_of, project_of
from harness.progress import Progress
from harness.project import ProjectError, schedule
from harness.provenance import new_run_id, run_record
from harness.session import Session, column_models, snapshots
from harness.verdict import Outcome

if TYPE_CHECKING:
    from harness.plan import Cell

_OVERRIDES = {"window": "window_s", "repeats": "repeats", "idle": "idle_s", "warm_up": "warm_up_s"}


class EnergyRecorder:
    """Measures and writes, one cell after the other: two at a time would disturb each other."""

    def __init__(self, config: pytest.Config) -> None:
        """Raises pytest.UsageError: what was asked for cannot be done."""
        if config.getoption("numprocesses", None):
            raise pytest.UsageError("--energy measures one cell at a time: leave -n out")
        self.config = config
        self.project = project_of(config)
        asked = {field: config.getoption(f"energy_{name}") for name, field in _OVERRIDES.items()}
        chosen = config.getoption("--energy-budget")
        try:
            self.schedule = schedule({key: v for key, v in asked.items() if v is not None}, self.project.schedule)
            self.budget = budget.read(Path(chosen), self.project.matrix()) if chosen else Budget({})
            results = Path(config.getoption("--matrix-results") or self.project.results)
            self.known = store.read(results) if results.exists() else store.Results()
        except (BudgetError, ProjectError, store.StoreError) as error:
            raise pytest.UsageError(str(error)) from None
        self.target = results.with_name(FILE)
        self.run = new_run_id()
        self.session = Session(self.project, keep=ENGINES)
        self.writer: store.Writer | None = None
        self.progress: Progress | None = None
        self.ended: dict[str, tuple[str, float, str]] = {}
        """By test: its cell, the seconds it took, and what came of it."""
        config.stash[CONFIGS] = tuple(self.budget.configs)
        config.stash[MEASURE] = self.measure

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        """Leave out what nobody asked for: cells that did not pass, or with a budget alone those without a limit."""
        cells = {item: cell_of(item) for item in items}
        planned = {cell.id for cell in cells_of(config)}
        if strangers := [name for name in self.budget.limits if name not in planned]:
            raise pytest.UsageError(
                f"{config.getoption('--energy-budget')}: no cell is called {', '.join(strangers)}. "
                "`paramatrix cases` lists them; a config is named by its file."
            )
        named = {argument.partition("[")[2].removesuffix("]") for argument in config.args}
        left = [item for item, cell in cells.items() if cell is None or not self._wanted(cell, named)]
        if left:
            config.hook.pytest_deselected(items=left)
            items[:] = [item for item in items if item not in set(left)]

    def _wanted(self, cell: Cell, named: set[str]) -> bool:
        if cell.id in named or cell.id in self.budget.limits:
            return True
        if not self.config.getoption("--energy"):
            return False
        known = self.known.cells.get(cell.id)
        return known is None or known.verdict is Outcome.PASS

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> None:
        """Open the file and say what is planned."""
        wanted = {cell.id for item in session.items if (cell := cell_of(item))}
        if not wanted or session.testsfailed or self.config.getoption("collectonly"):
            return
        everything = cells_of(self.config)
        cells = [cell for cell in everything if cell.id in wanted]
        backends = list(dict.fromkeys(cell.backend for cell in cells))
        header = run_record(
            cells,
            run=self.run,
            backends=snapshots(self.project, backends),
            models=column_models(cells),
            sections=self.project.matrix().sections,
            narrowed=any(
                cell.backend in backends and self._wanted(cell, set()) for cell in everything if cell not in cells
            ),
            root=self.project.root,
        )
        try:
            self.writer = store.Writer(self.target, Measurements)
            self.writer.append(header)
        except store.StoreError as error:
            raise pytest.UsageError(str(error)) from None
        if self.config.getoption("--matrix-progress"):
            self.progress = Progress(len(cells))

    def measure(self, item: pytest.Item, cell: Cell) -> None:
        """Measure a cell, write that down, and hold it against its budget."""
        assert self.writer is not None
        began = time.monotonic()
        limited = cell.id in self.budget.limits
        try:
            record = measure_cell(self.session, cell, self.run, self.schedule)
        except NotMeasured as reason:
            self.ended[item.nodeid] = cell.id, time.monotonic() - began, f"not measured: {reason}"
            if limited:  # a budget that nobody could check has not been kept
                pytest.fail(f"not measured: {reason}", pytrace=False)
            pytest.skip(str(reason))
        try:
            self.writer.append(record)
        except store.StoreError as error:
            pytest.exit(str(error), returncode=pytest.ExitCode.INTERNAL_ERROR)
        self.ended[item.nodeid] = cell.id, time.monotonic() - began, told(record)
        broken = self.budget.broken(cell.id, record.energy)
        if not record.windows:
            broken = [told(record)]
        if broken:
            pytest.fail("\n".join(broken), pytrace=False)

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """A cell begins."""
        if self.progress:
            self.progress.begin(nodeid.partition("[")[2].removesuffix("]"))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """A cell ended. Not earlier: while a test runs, what is printed is kept from the terminal."""
        if self.progress and (ended := self.ended.pop(report.nodeid, None)):
            self.progress.told(*ended)

    @pytest.hookimpl(tryfirst=True)
    def pytest_report_teststatus(self, report: pytest.TestReport) -> tuple[str, str, str] | None:
        """With progress lines no letters."""
        return (report.outcome, "", "") if self.progress and report.when == "call" else None

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self) -> None:
        """Put the file in order."""
        if self.progress:
            self.progress.close()
        if self.writer:
            try:
                self.writer.close()
            except store.StoreError as error:
                pytest.exit(str(error), returncode=pytest.ExitCode.INTERNAL_ERROR)

    def pytest_unconfigure(self) -> None:
        """End hosts and samplers."""
        self.session.close()


def told(record: MeasuredRecord) -> str:
    """One line of what came of a cell."""
    energy = record.energy
    if not record.windows:
        return next(iter(energy.missing))
    parts = []
    for name in ("tokens_per_s", "j_per_output_token"):
        figure = getattr(energy, name)
        if figure is None:
            parts.append(f"{name} unknown: {energy.why_missing(name)}")
            continue
        versus = figure.versus_control
        against = f" ({percent(versus.value)} against its control)" if versus else ""
        parts.append(f"{amount(figure.value, figure.unit)}{against}")
    return "; ".join(parts)
