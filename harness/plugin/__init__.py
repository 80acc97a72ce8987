"""pytest on the surface: cells become parametrised cases, verdicts become outcomes. Thin hooks only."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator

import pytest

from harness import acceptance
from harness.htmlreport import Carried, MatrixHtml
from harness.plan import Cell
from harness.plugin import options, order
from harness.plugin.asked import ELSEWHERE, MEASURE, cells_of, project_of, run_id
from harness.plugin.chosen import INPUT, Chosen
from harness.plugin.ending import Ending
from harness.plugin.recorder import Recorder
from harness.plugin.reuse import Reuse
from harness.plugin.slots import MARK, TOLD, SlotPlugin, settle
from harness.records import CellRecord
from harness.replay import conclude
from harness.session import Session, column_models
from harness.slots import orders
from harness.slots.share import Share
from harness.verdict import Cause

_SESSION = pytest.StashKey[Session]()
_RECORD = pytest.StashKey[CellRecord]()


class HarnessFault(Exception):
    """The harness, not the backend, is at fault; the run must not end green."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options of a matrix run."""
    options.add(parser)


@pytest.hookimpl(wrapper=True)
def pytest_cmdline_main(config: pytest.Config) -> Generator[None, object, object]:
    """Before xdist looks at it: how many workers there are to be."""
    settle(config)
    return (yield)


def pytest_configure(config: pytest.Config) -> None:
    """Controller and single process write results; xdist workers only send them."""
    config.addinivalue_line("markers", "matrix: a cell of the parameter matrix")
    if (chosen := getattr(config, "workerinput", {}).get(INPUT)) is not None:
        config.pluginmanager.register(Chosen(chosen), "paramatrix-chosen")
    if not hasattr(config, "workerinput"):
        options.check_expressions(config)
        order.check(config)
        config.pluginmanager.register(Ending(), "paramatrix-ending")
        if config.getoption("--energy") or config.getoption("--energy-budget"):
            from harness.energy.plugin import EnergyRecorder

            config.pluginmanager.register(EnergyRecorder(config), "paramatrix-recorder")
            return
        reuse = Reuse(config)
        recorder = Recorder(config, reuse)
        config.pluginmanager.register(Carried(), "paramatrix-carried")
        config.pluginmanager.register(reuse, "paramatrix-reuse")
        config.pluginmanager.register(recorder, "paramatrix-recorder")
        config.pluginmanager.register(SlotPlugin(config, reuse), "paramatrix-slots")
        if config.getoption("--executor"):
            from harness.cluster.plugin import ClusterRun

            cluster = config.stash[ELSEWHERE] = ClusterRun(config, recorder)
            config.pluginmanager.register(cluster, "paramatrix-cluster")
        if config.getoption("htmlpath", None):
            html = MatrixHtml(lambda: project_of(config).templates, recorder.run_of)
            config.pluginmanager.register(html, "paramatrix-html")
        return
    config.pluginmanager.register(Reuse(config), "paramatrix-reuse")
    if told := config.workerinput.get(TOLD):
        os.environ[MARK] = told["mark"]

        def use(share: Share | None) -> None:
            _session(config).use(share)

        config.pluginmanager.register(orders.hear(told, use), "paramatrix-slot")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """`cell` is parametrised with every planned cell; the id is the cell's own."""
    if {"cell", "judge_cell"} <= set(metafunc.fixturenames):
        mark = pytest.mark.matrix  # one for all: each look-up makes another
        cells = cells_of(metafunc.config)
        metafunc.parametrize("cell", [pytest.param(cell, id=cell.id, marks=mark) for cell in cells])


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """As on the page with those of one engine together, or at random."""
    order.arrange(config, items)


@pytest.fixture
def judge_cell(request: pytest.FixtureRequest) -> Callable[[Cell], None]:
    """Runs and judges a cell; its verdict becomes the test's outcome."""
    config = request.config
    if (measure := config.stash.get(MEASURE, None)) is not None:
        return lambda cell: measure(request.node, cell)
    session = _session(config)
    elsewhere = config.stash.get(ELSEWHERE, None)

    def judge(cell: Cell) -> None:
        record = elsewhere.take(cell) if elsewhere else session.judge(cell, run_id(config))
        request.node.stash[_RECORD] = record
        request.node.user_properties += [("verdict", record.verdict.value), ("cause", record.cause.value)]
        if record.cause is Cause.HARNESS_ERROR:
            raise HarnessFault(record.reason)
        if elsewhere:
            expected = elsewhere.expected(record)
        else:
            expected = session.expected(cell.backend, column_models(cells_of(config))[cell.backend])
        if changed := acceptance.change(expected, record):
            pytest.fail(changed.evidence, pytrace=False)
        conclude(record)

    return judge


def _session(config: pytest.Config) -> Session:
    if _SESSION not in config.stash:
        config.stash[_SESSION] = Session(project_of(config))
    return config.stash[_SESSION]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """The record travels on the report, as plain JSON text, so that xdist can carry it."""
    report = yield
    if report.when == "call" and (record := item.stash.get(_RECORD, None)):
        report.paramatrix = record.model_dump_json()  # type: ignore[attr-defined]
        del item.stash[_RECORD]  # items stay to the end of the run
    return report


def pytest_unconfigure(config: pytest.Config) -> None:
    """End the hosts of this process."""
    if _SESSION in config.stash:
        config.stash[_SESSION].close()
