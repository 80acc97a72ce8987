"""Results as a pytest session that runs nothing, for pytest-html to report at any time."""

from __future__ import annotations

import contextlib
import html
import io
import json
import os
import re
import secrets
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Final

import pytest

from harness import report as matrix
from harness.htmlreport import Carried, MatrixHtml, details
from harness.records import CellRecord, Planned
from harness.store import Judged, Results
from harness.verdict import Cause, Outcome

PAGE: Final = "matrix.html"
_MADE = re.compile(r"<p>Report generated on [^<]*? by (?=<a )")
_TOOK = re.compile(r'(<p class="run-count">)[^<]*')
"""What differs between two renderings of equal results."""


_IDLE: Final = ("logging", "warnings", "unraisableexception", "threadexception", "faulthandler", "junitxml")


class _Marked(MatrixHtml):
    """Leaves marks where details go: pytest-html has several copies of its page in memory at once."""

    def __init__(self, results: Results, templates: Path) -> None:
        super().__init__(lambda: templates, results.runs.get, results.stale)
        self.sign = f"@{secrets.token_hex(8)}@"
        self.said: list[tuple[str, str]] = []
        """By the number of its mark a cell, and what pytest said of it besides."""
        self._results = results
        self._templates_folder = templates

    def details(self, record: CellRecord, said: str) -> str:
        """A mark."""
        self.said.append((record.cell, said))
        return f"{self.sign}{len(self.said) - 1}@"

    def filled(self, page: str) -> Iterator[str]:
        """The page in parts, with the details in the place of their marks, as pytest-html itself puts texts there.

        Raises:
            ReportError: the template of the details is missing or wrong.
        """
        for number, part in enumerate(re.split(rf"{self.sign}(\d+)@", page)):
            yield self._put(*self.said[int(part)]) if number % 2 else part

    def _put(self, cell: str, said: str) -> str:
        record = self._results.cells[cell]
        try:
            shown = details(record, self._results.runs[record.run], self._templates_folder, said)
        except matrix.ReportError as error:
            raise matrix.ReportError(f"{PAGE}: {error}") from error
        # the page has all of its data as JSON in an attribute
        return html.escape(json.dumps(shown)[1:-1])


def page(results: Results, templates: Path) -> str:
    """The page `matrix.html`: every planned cell with its evidence, in one file.

    Raises:
        ReportError: pytest or its plugins could not make it, or the template of the details is missing or wrong.
    """
    return "".join(parts(results, templates))


def parts(results: Results, templates: Path) -> Iterator[str]:
    """The same, one part after the other.

    Raises:
        ReportError: as `page`, for the parts that follow as well.
    """
    said = io.StringIO()
    with tempfile.TemporaryDirectory(prefix="paramatrix-") as folder:
        target = Path(folder) / PAGE
        arguments = [
            *("--rootdir", folder, "-c", os.devnull, "--noconftest", "-qq", "--no-header", "--no-summary"),
            *("--disable-plugin-autoload", "-p", "pytest_metadata.plugin", "-p", "pytest_html.plugin"),
            # a replay runs nothing that could warn, log, or leave threads and garbage behind
            *(word for name in _IDLE for word in ("-p", f"no:{name}")),
            *("-p", "no:cacheprovider", "-o", "render_collapsed=all", "-o", "initial_sort=original"),
            *(f"--html={target}", "--self-contained-html", folder),
        ]
        with _undisturbed(), contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            made = _Marked(results, templates)
            code = pytest.main(arguments, plugins=[Replay(results), made, Carried()])
        if code not in {pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED} or not target.is_file():
            last = (said.getvalue().strip().splitlines() or ["pytest said nothing"])[-1]
            raise matrix.ReportError(f"{PAGE}: pytest-html did not make it: {last.removeprefix('INTERNALERROR> ')}")
        content = target.read_text(encoding="utf-8")
    latest = results.latest.started if results.latest else "never"
    content = _MADE.sub(f"<p>Last measured {latest}. The page was made by ", content)
    return made.filled(_TOOK.sub(rf"\g<1>{len(results.planned)} cells are planned.", content))


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
            return order.get(plan.section, len(order)), plan.section, matrix.natural(plan.row), plan.backend

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


def conclude(record: CellRecord | Judged) -> None:
    """A verdict as a test's outcome."""
    told = f"{record.cause.value}: {record.reason}"
    if record.verdict is Outcome.FAIL or record.cause is Cause.HARNESS_ERROR:
        pytest.fail(told, pytrace=False)
    if record.verdict is Outcome.NOT_RUN:
        pytest.skip(told)
