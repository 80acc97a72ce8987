"""Results as a pytest session that runs nothing, for pytest-html to report at any time."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import secrets
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Final, TextIO

import pytest
from markupsafe import escape

from harness import report as matrix
from harness.conclusion import conclude
from harness.htmlreport import Carried, MatrixHtml, details
from harness.ordering import natural
from harness.records import CellRecord, Planned
from harness.store import Judged, Results

PAGE: Final = "matrix.html"
_MADE = re.compile(r"<p>Report generated on [^<]*? by (?=<a )")
_TOOK = re.compile(r'(<p class="run-count">)[^<]*')
"""What differs between two renderings of equal results."""
_PART: Final = 2**20
"""Characters that are read and written at once."""

_IDLE: Final = ("logging", "warnings", "unraisableexception", "threadexception", "faulthandler", "junitxml")


class _Apart(MatrixHtml):
    """Writes each cell's part of the page aside: pytest-html would have all of them in memory several times over."""

    def __init__(self, results: Results, templates: Path, aside: TextIO) -> None:
        super().__init__(lambda: templates, results.runs.get, results.stale)
        self.sign = f"@{secrets.token_hex(8)}@"
        """Stands in the page for what is written aside."""
        self.wrong: matrix.ReportError | None = None
        """Why the details of a cell cannot be shown."""
        self._aside = aside
        self._before = "{"

    def details(self, record: CellRecord, said: str) -> str:
        """As the others', but not narrow: what is written aside becomes ASCII there."""
        try:
            return details(record, self._run_of(record.run), self._templates(), said)
        except matrix.ReportError as error:
            self.wrong = error
            raise

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> Generator[None]:
        """A cell's part is made when its teardown is over."""
        yield
        if report.when == "teardown" and (made := self._report.data["tests"].pop(report.nodeid, None)):
            self._aside.write(escape(f"{self._before}{json.dumps(report.nodeid)}: {json.dumps(made)}"))
            self._before = ", "

    @pytest.hookimpl(optionalhook=True)
    def pytest_html_results_summary(self, prefix: list[str]) -> None:
        """The last that is asked before the page is laid out."""
        super().pytest_html_results_summary(prefix)
        self._aside.write("}")
        self._report.set_data("tests", self.sign)


def page(results: Results, templates: Path) -> str:
    """The page `matrix.html`: every planned cell with its evidence, in one file.

    Raises:
        ReportError: pytest or its plugins could not make it, or the template of the details is missing or wrong.
    """
    return "".join(parts(results, templates))


def parts(results: Results, templates: Path) -> Iterator[str]:
    """The same, one part after the other.

    Raises:
        ReportError: as `page`.
    """
    with tempfile.TemporaryDirectory(prefix="paramatrix-") as folder:
        cells = Path(folder) / "cells"
        before, after = _laid_out(results, templates, Path(folder), cells)
        yield before
        with cells.open(encoding="utf-8") as file:
            yield from iter(lambda: file.read(_PART), "")
        yield after


def _laid_out(results: Results, templates: Path, folder: Path, cells: Path) -> tuple[str, str]:
    """The page before and after its cells, which are written into the file `cells`."""
    said = io.StringIO()
    target = folder / PAGE
    arguments = [
        *("--rootdir", str(folder), "-c", os.devnull, "--noconftest", "-qq", "--no-header", "--no-summary"),
        *("--disable-plugin-autoload", "-p", "pytest_metadata.plugin", "-p", "pytest_html.plugin"),
        # a replay runs nothing that could warn, log, or leave threads and garbage behind
        *(word for name in _IDLE for word in ("-p", f"no:{name}")),
        *("-p", "no:cacheprovider", "-o", "render_collapsed=all", "-o", "initial_sort=original"),
        *(f"--html={target}", "--self-contained-html", str(folder)),
    ]
    with (
        cells.open("w", encoding="utf-8") as aside,
        _undisturbed(),
        contextlib.redirect_stdout(said),
        contextlib.redirect_stderr(said),
    ):
        made = _Apart(results, templates, aside)
        code = pytest.main(arguments, plugins=[Replay(results), made, Carried()])
    if made.wrong:
        raise matrix.ReportError(f"{PAGE}: {made.wrong}") from made.wrong
    if code not in {pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED} or not target.is_file():
        last = (said.getvalue().strip().splitlines() or ["pytest said nothing"])[-1]
        raise matrix.ReportError(f"{PAGE}: pytest-html did not make it: {last.removeprefix('INTERNALERROR> ')}")
    latest = results.latest.started if results.latest else "never"
    content = _MADE.sub(f"<p>Last measured {latest}. The page was made by ", target.read_text(encoding="utf-8"))
    content = _TOOK.sub(rf"\g<1>{len(results.planned)} cells are planned.", content)
    before, found, after = content.partition(escape(json.dumps(made.sign)))
    if not found:
        raise matrix.ReportError(f"{PAGE}: pytest-html left no place for the cells")
    return before, after


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Without what the user says to pytest for other runs."""
    said = os.environ.pop("PYTEST_ADDOPTS", None)
    try:
        yield
    finally:
        if said is not None:
            os.environ["PYTEST_ADDOPTS"] = said


class Replay:
    """Puts the planned cells in the place of what pytest would collect."""

    def __init__(self, results: Results) -> None:
        self.results = results

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection(self, session: pytest.Session) -> bool:
        """An item for each planned cell, in page order."""
        results = self.results
        titles = list(dict.fromkeys(title for run in results.runs.values() for title in run.sections))
        order = {title: index for index, title in enumerate(titles)}

        def place(plan: Planned) -> tuple[object, ...]:
            return order.get(plan.section, len(order)), plan.section, natural(plan.row), plan.backend

        judged = {one.cell: one for one in results.judged}
        session.items = [
            Told.from_parent(session, name=plan.cell, nodeid=plan.cell, record=judged.get(plan.cell))
            for plan in sorted(results.planned.values(), key=place)
        ]
        session.testscollected = len(session.items)
        session.config.hook.pytest_collection_finish(session=session)
        return True

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """The record travels on the report, as in a run."""
        made = yield
        if made.when == "call" and isinstance(item, Told) and item.record is not None:
            made.paramatrix = item.record.line.decode()  # type: ignore[attr-defined]
        return made


class Told(pytest.Item):
    """A cell whose outcome is on record."""

    def __init__(self, *, record: Judged | None, **more: object) -> None:
        super().__init__(**more)  # type: ignore[arg-type]
        self.record = record

    def runtest(self) -> None:
        """End as the record says."""
        if self.record is None:
            pytest.skip("planned, not measured: the run was interrupted")
        conclude(self.record)
