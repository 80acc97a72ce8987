"""pytest on the surface: cells become parametrised cases, verdicts become outcomes. Thin hooks only."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from harness import acceptance, expectation_files, plan, store
from harness.backends import MODULES
from harness.environments import has_nvidia_gpu
from harness.expectations import ExpectationsError
from harness.htmlreport import MatrixHtml
from harness.plan import Cell
from harness.progress import Progress
from harness.project import Project, ProjectError, find, parse_versions
from harness.provenance import new_run_id, run_record
from harness.records import CellRecord
from harness.replay import conclude
from harness.session import Session, column_models, models, snapshots
from harness.verdict import Cause, Outcome
from harness.watch import Watch

if TYPE_CHECKING:
    from harness.records import RunRecord

_CELLS = pytest.StashKey[tuple[Cell, ...]]()
_PROJECT = pytest.StashKey[Project]()
_RUN = pytest.StashKey[str]()
_SESSION = pytest.StashKey[Session]()
_RECORD = pytest.StashKey[CellRecord]()
MEASURE = pytest.StashKey[Callable[[pytest.Item, Cell], None]]()
"""What is done with a cell in the place of judging it."""
CONFIGS = pytest.StashKey[tuple[Cell, ...]]()
"""Cells besides those of the matrix."""


_SCHEDULE = (
    ("window", float, "seconds of a window (default: 10, or 100 ticks of the counter)"),
    ("repeats", int, "windows of each cell and of its control"),
    ("idle", float, "seconds of idling with the model loaded"),
    ("warm-up", float, "seconds after which a warm-up is given up"),
)


class HarnessFault(Exception):
    """The harness, not the backend, is at fault; the run must not end green."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options of a matrix run."""
    group = parser.getgroup("paramatrix")
    group.addoption("--matrix-backends", help="columns to plan, comma-separated (default: all)")
    group.addoption("--matrix-model", help="model folder or hub id that every cell loads")
    group.addoption("--matrix-version", action="append", help="BACKEND=VERSION: that column in its other environment")
    group.addoption("--matrix-results", help="results file to append to (default: the project's)")
    group.addoption("--matrix-progress", action="store_true", help="one progress line a cell instead of letters")
    group.addoption("--energy", action="store_true", help="measure what cells cost instead of judging them")
    group.addoption("--energy-budget", metavar="FILE", help="YAML: fail where a cell or a config costs more than this")
    for name, kind, text in _SCHEDULE:
        group.addoption(f"--energy-{name}", type=kind, metavar=kind.__name__.upper(), help=text)


def pytest_configure(config: pytest.Config) -> None:
    """Controller and single process write results; xdist workers only send them."""
    config.addinivalue_line("markers", "matrix: a cell of the parameter matrix")
    if not hasattr(config, "workerinput"):
        _check_expressions(config)
        if config.getoption("--energy") or config.getoption("--energy-budget"):
            from harness.energy.plugin import EnergyRecorder

            config.pluginmanager.register(EnergyRecorder(config), "paramatrix-recorder")
            return
        recorder = Recorder(config)
        config.pluginmanager.register(recorder, "paramatrix-recorder")
        if config.getoption("htmlpath", None):
            html = MatrixHtml(lambda: project_of(config).templates, recorder.run_of)
            config.pluginmanager.register(html, "paramatrix-html")


def _check_expressions(config: pytest.Config) -> None:
    """Refuse a bad -k or -m here: in workers it takes xdist down with an internal error, after all was written.

    Raises:
        pytest.UsageError: as pytest itself would put it.
    """
    from _pytest.mark.expression import Expression

    for option, text in (("-k", config.option.keyword), ("-m", config.option.markexpr)):
        try:
            Expression.compile(text.lstrip())
        except SyntaxError as error:
            raise pytest.UsageError(
                f"Wrong expression passed to '{option}': {error.text}: at column {error.offset}: {error.msg}"
            ) from None


def project_of(config: pytest.Config) -> Project:
    """The project under test.

    Raises:
        pytest.UsageError: there is none.
    """
    if _PROJECT not in config.stash:
        try:
            versions = parse_versions(config.getoption("--matrix-version") or ())
            config.stash[_PROJECT] = find(config.rootpath).at(versions)
        except ProjectError as error:
            raise pytest.UsageError(str(error)) from None
    return config.stash[_PROJECT]


def cells_of(config: pytest.Config) -> tuple[Cell, ...]:
    """The planned cells of this run."""
    if _CELLS not in config.stash:
        project = project_of(config)
        try:
            planned = plan_cells(project, config.getoption("--matrix-backends"), config.getoption("--matrix-model"))
            config.stash[_CELLS] = (*planned, *config.stash.get(CONFIGS, ()))
        except (ProjectError, plan.PlanError, FileNotFoundError, ValueError) as error:
            raise pytest.UsageError(str(error)) from None
    return config.stash[_CELLS]


def plan_cells(project: Project, backends: str | None, model: str | None) -> tuple[Cell, ...]:
    """Plan the cells of the backends named (comma-separated), or of all that exist.

    Raises:
        ValueError: an unknown backend.
    """
    names = parse_backends(backends) if backends else list(MODULES)
    gpus = dict.fromkeys(names, has_nvidia_gpu())
    return plan.build(project.matrix(), models=models(project, model, gpus), backends=names)


def parse_backends(text: str) -> list[str]:
    """Names from a comma-separated list.

    Raises:
        ValueError: an unknown backend.
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    if unknown := [name for name in names if name not in MODULES]:
        raise ValueError(f"unknown backend {', '.join(unknown)}: expected some of {', '.join(MODULES)}")
    return names


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """`cell` is parametrised with every planned cell; the id is the cell's own."""
    if {"cell", "judge_cell"} <= set(metafunc.fixturenames):
        cells = cells_of(metafunc.config)
        metafunc.parametrize("cell", [pytest.param(c, id=c.id, marks=pytest.mark.matrix) for c in cells])


def cell_of(item: pytest.Item) -> Cell | None:
    """The cell an item judges, if it judges one: having one as a parameter is not enough."""
    callspec = getattr(item, "callspec", None) if "judge_cell" in getattr(item, "fixturenames", ()) else None
    value = callspec.params.get("cell") if callspec else None
    return value if isinstance(value, Cell) else None


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Cells that share an engine stand together; otherwise the order stays."""
    first: dict[str, int] = {}
    position: dict[pytest.Item, tuple[int, int]] = {}
    for index, item in enumerate(items):
        cell = cell_of(item)
        key = f"{cell.backend}:{cell.treated.engine_key}" if cell else item.nodeid
        position[item] = (first.setdefault(key, index), index)
    items.sort(key=position.__getitem__)


@pytest.fixture
def judge_cell(request: pytest.FixtureRequest) -> Callable[[Cell], None]:
    """Runs and judges a cell; its verdict becomes the test's outcome."""
    config = request.config
    if (measure := config.stash.get(MEASURE, None)) is not None:
        return lambda cell: measure(request.node, cell)
    session = config.stash.setdefault(_SESSION, Session(project_of(config)))

    def judge(cell: Cell) -> None:
        record = session.judge(cell, run_id(config))
        request.node.stash[_RECORD] = record
        request.node.user_properties += [("verdict", record.verdict.value), ("cause", record.cause.value)]
        if record.cause is Cause.HARNESS_ERROR:
            raise HarnessFault(record.reason)
        expected = session.expected(cell.backend, column_models(cells_of(config))[cell.backend])
        if changed := acceptance.change(expected, record):
            pytest.fail(changed.evidence, pytrace=False)
        conclude(record)

    return judge


def run_id(config: pytest.Config) -> str:
    """The id of this run: the controller's, also in its workers."""
    workerinput = getattr(config, "workerinput", None)
    if workerinput is not None:
        return str(workerinput["paramatrix_run"])
    return config.stash[_RUN]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """The record travels on the report, as plain JSON text, so that xdist can carry it."""
    report = yield
    if report.when == "call" and _RECORD in item.stash:
        report.paramatrix = item.stash[_RECORD].model_dump_json()  # type: ignore[attr-defined]
    return report


def pytest_unconfigure(config: pytest.Config) -> None:
    """End the hosts of this process."""
    if _SESSION in config.stash:
        config.stash[_SESSION].close()


class Recorder:
    """The side that writes: one per run, in the controller."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.header: RunRecord | None = None
        self.writer: store.Writer | None = None
        self.watch: Watch | None = None
        self.progress: Progress | None = None
        self.findings = 0
        self.failures = 0

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> None:
        """Without xdist the items are here. Not earlier: a bad -k, or a test file that fails to load, runs nothing."""
        if not session.testsfailed or self.config.getoption("continue_on_collection_errors"):
            self._begin([cell.id for item in session.items if (cell := cell_of(item))])

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """xdist: fix the run's id before the workers start."""
        node.workerinput["paramatrix_run"] = self._run()

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, node: Any, ids: Sequence[str]) -> None:
        """xdist: the workers collect; the first to finish tells what is planned."""
        del node
        self._begin([nodeid.split("[", 1)[1][:-1] for nodeid in ids if "[" in nodeid])

    def _run(self) -> str:
        return self.config.stash.setdefault(_RUN, new_run_id())

    def run_of(self, run: str) -> RunRecord | None:
        """The run's own record, once it has begun."""
        return self.header if self.header and self.header.run == run else None

    def _begin(self, ids: list[str]) -> None:
        if self.header is not None or not ids or self.config.getoption("collectonly"):
            return
        wanted = set(ids)
        everything = cells_of(self.config)
        cells = [cell for cell in everything if cell.id in wanted]
        if not cells:
            return
        project = project_of(self.config)
        backends = list(dict.fromkeys(cell.backend for cell in cells))
        self.header = run_record(
            cells,
            run=self._run(),
            backends=snapshots(project, backends),
            models=column_models(cells),
            sections=project.matrix().sections,
            narrowed=any(cell.backend in backends and cell.id not in wanted for cell in everything),
            root=project.root,
        )
        chosen = self.config.getoption("--matrix-results")
        try:
            known = expectation_files.read_all(project.expectations)
            self.watch = Watch(known, self.header, everything, installed=project.installed())
            self.writer = store.Writer(Path(chosen) if chosen else project.results)
            self.writer.append(self.header)
        except (store.StoreError, ExpectationsError) as error:
            raise pytest.UsageError(str(error)) from None
        if self.config.getoption("--matrix-progress"):
            self.progress = Progress(len(cells))

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """With xdist a run goes on after a file that cannot be collected; that must not end green."""
        self.failures += report.failed

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """A cell begins."""
        if self.progress and "[" in nodeid:
            self.progress.begin(nodeid.split("[", 1)[1][:-1])

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """A cell ended: write it down at once."""
        self.failures += report.failed
        text = getattr(report, "paramatrix", None)
        if text is None:
            return
        record = CellRecord.model_validate(json.loads(text))
        changed = self.watch is not None and self.watch.take(record)
        self.findings += report.failed and record.verdict is Outcome.FAIL and not changed
        if self.writer:
            try:
                self.writer.append(record)
            except store.StoreError as error:
                # what follows could not be kept either
                pytest.exit(str(error), returncode=pytest.ExitCode.INTERNAL_ERROR)
        if self.progress:
            self.progress.end(record)

    @pytest.hookimpl(tryfirst=True)
    def pytest_report_teststatus(
        self, report: pytest.TestReport
    ) -> tuple[str, str, str | tuple[str, dict[str, bool]]] | None:
        """`uncertain` has a letter and colour of its own; with progress lines no letters at all."""
        text = getattr(report, "paramatrix", None)
        if text is None:
            return None
        record = CellRecord.model_validate(json.loads(text))
        quiet = self.progress is not None
        if record.verdict is Outcome.UNCERTAIN and not report.failed:
            return "uncertain", "" if quiet else "u", "" if quiet else ("UNCERTAIN", {"yellow": True})
        return (report.outcome, "", "") if quiet else None

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Findings are what a matrix run is for: they alone do not make it red. What was not accepted does."""
        if self.progress:
            self.progress.close()
        if self.writer:
            try:
                self.writer.close()
            except store.StoreError as error:
                pytest.exit(str(error), returncode=pytest.ExitCode.INTERNAL_ERROR)
        problems = self._tell_expectations()
        if session.exitstatus == pytest.ExitCode.TESTS_FAILED and self.findings == self.failures:
            session.exitstatus = pytest.ExitCode.OK
        if session.exitstatus == pytest.ExitCode.OK and problems:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def _tell_expectations(self) -> bool:
        """Say what was not as accepted; whether that fails a run in which every test is well."""
        if self.watch is None:
            return False
        # with progress lines pytest shows no failures of its own
        lines = self.watch.lines(evidence=self.progress is not None)
        terminal = self.config.pluginmanager.get_plugin("terminalreporter")
        if lines and terminal:
            terminal.ensure_newline()
            terminal.section("expectations")
            for line in lines:
                terminal.write_line(line)
        return bool(self.watch.problems)
