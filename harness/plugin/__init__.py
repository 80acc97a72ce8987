"""pytest on the surface: cells become parametrised cases, verdicts become outcomes. Thin hooks only."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Generator

import pytest

from harness import acceptance
from harness.conclusion import conclude
from harness.plan import Cell
from harness.plugin import options, order
from harness.plugin.asked import ELSEWHERE, MEASURE, among_cases, cells_of, project_of, run_id
from harness.plugin.chosen import Chosen
from harness.plugin.passed import Passed
from harness.plugin.told import CHOSEN, MARK, REUSED, SLOT, SNAPSHOTS
from harness.records import CellRecord
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
    if not hasattr(config, "workerinput"):
        from harness.plugin.slots import settle

        settle(config)
    return (yield)


def pytest_configure(config: pytest.Config) -> None:
    """Controller and single process write results; xdist workers only send them."""
    config.addinivalue_line("markers", "matrix: a cell of the parameter matrix")
    if not hasattr(config, "workerinput"):
        from harness.plugin import controller  # what it takes is more than the rest together, and no worker needs it

        controller.register(config)
        return
    told = config.workerinput
    if (chosen := told.get(CHOSEN)) is not None:
        config.pluginmanager.register(Chosen(chosen), "paramatrix-chosen")
    reused = frozenset(told.get(REUSED, ()))
    config.pluginmanager.register(Passed(lambda: reused), "paramatrix-passed")
    if slot := told.get(SLOT):
        os.environ[MARK] = slot["mark"]

        def use(share: Share | None) -> None:
            _session(config).use(share)

        config.pluginmanager.register(orders.hear(slot, use), "paramatrix-slot")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """`cell` is parametrised with every planned cell; the id is the cell's own."""
    if {"cell", "judge_cell"} <= set(metafunc.fixturenames):
        test = metafunc.definition.nodeid
        if not among_cases(metafunc.config, test):
            expected = project_of(metafunc.config).cases
            pytest.fail(f"{test} judges cells: expected in {expected} alone ([tool.paramatrix] cases)", pytrace=False)
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
        known = json.loads(getattr(config, "workerinput", {}).get(SNAPSHOTS, "{}"))
        config.stash[_SESSION] = Session(project_of(config), snapshots=known)
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
