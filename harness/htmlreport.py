"""What pytest-html shows of a cell: verdict, cause, evidence and reproduction, everything escaped."""

from __future__ import annotations

import functools
import html
import json
from collections import Counter
from collections.abc import Callable, Collection, Generator, Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import pytest
from jinja2 import Environment, FileSystemLoader, StrictUndefined, TemplateError
from markupsafe import Markup

from harness import report as matrix
from harness import repro, signs
from harness.records import BackendInfo, CellRecord, RunRecord
from harness.rests import RESOLVED, at
from harness.verdict import Outcome

TEMPLATE: Final = "cell.html.j2"
_HEADINGS: Final = {
    "result": "pytest",
    "verdict": "Verdict",
    "cause": "Cause",
    "backend": "Backend",
    "testId": "Parameter and value",
    "duration": "Duration",
}
"""Column type, by which pytest-html sorts, to heading. It filters by `result`."""
_LABELS: Final = {"passed": "✅ or ⚠️", "failed": "❌ or fault of the harness", "skipped": "➖"}
_VALUE: Final = 300
_TRACEBACK: Final = 1200
"""Characters of a value and of a traceback, from its end, that are shown."""
_STYLE: Final = (
    "<style>.cell{white-space:normal;font-family:Helvetica,Arial,sans-serif;font-size:13px;line-height:1.4}"
    ".cell pre{margin:.3em 0;white-space:pre-wrap;font-size:12px}.cell span.error{color:inherit}"
    "#results-table .cell th,#results-table .cell td{vertical-align:top;border-color:#bbb;padding:3px 6px}"
    ".cell summary{cursor:pointer}.logwrapper{max-height:none}.logwrapper .logexpander{display:none}"
    ".logwrapper .log{top:0;height:auto;padding-right:5px}</style>"
)


class MatrixHtml:
    """Hooks of pytest-html, for a run of cells or a replay of their records.

    Args:
        templates: gives the folder of the template, when the first cell is shown.
        run_of: the run that an id names, where it is known.
        stale: cells whose inputs changed after they were measured.
    """

    def __init__(
        self, templates: Callable[[], Path], run_of: Callable[[str], RunRecord | None], stale: Collection[str] = ()
    ) -> None:
        self._stale = stale
        self._templates = templates
        self._run_of = run_of
        self._counts: dict[str, Counter[Outcome]] = {}
        self._runs: dict[str, RunRecord] = {}
        self._report: Any = None

    @pytest.hookimpl(optionalhook=True)
    def pytest_html_report_title(self, report: Any) -> None:
        """The title, and what its counts are called."""
        self._report = report
        report.title = "Parameter Support Matrix"
        for outcome, label in _LABELS.items():
            report.outcomes[outcome]["label"] = Markup(_narrow(label))  # noqa: S704 - a text of ours

    @pytest.hookimpl(optionalhook=True)
    def pytest_html_results_table_header(self, cells: list[str]) -> None:
        """The headings."""
        cells[:] = [
            f'<th class="sortable" data-column-type="{kind}">{heading}</th>' for kind, heading in _HEADINGS.items()
        ]

    @pytest.hookimpl(optionalhook=True)
    def pytest_html_results_table_row(self, report: pytest.TestReport, cells: list[str]) -> None:
        """A cell's row; a test that is none has its name alone."""
        record = record_of(report)
        shown = dict.fromkeys(_HEADINGS, "") | {"result": report.outcome.capitalize()}
        if record is None:
            shown |= {"testId": report.nodeid, "duration": f"{round(report.duration * 1000)} ms"}
        else:
            self._count(record)
            shown |= {
                "verdict": f"{signs.shown(record.verdict, record.evidence.level)} {record.verdict.value}"
                + (f" {signs.STALE} stale" if record.cell in self._stale else ""),
                "cause": record.cause.value,
                "backend": record.backend,
                "testId": record.row,
                "duration": f"{round(record.timing.wall_s * 1000)} ms",
            }
        cells[:] = [f'<td class="col-{kind}">{escaped(text)}</td>' for kind, text in shown.items()]

    @pytest.hookimpl(optionalhook=True)
    def pytest_html_results_table_html(self, report: pytest.TestReport, data: list[str]) -> None:
        """The evidence of a cell and its reproduction, in the place of a log."""
        if record := record_of(report):
            told = report.longreprtext if report.failed else ""
            said = "" if told == f"{record.cause.value}: {record.reason}" else told
            data[:] = [self.details(record, said)]

    def details(self, record: CellRecord, said: str) -> str:
        """A cell's details as pytest-html is told them."""
        return _narrow(details(record, self._run_of(record.run), self._templates(), said))

    @pytest.hookimpl(optionalhook=True)
    def pytest_html_results_summary(self, prefix: list[str]) -> None:
        """The counts of verdicts, and in the place of pytest's own environment where the cells were measured."""
        lines = [
            f"{escaped(backend)}: {', '.join(f'{counts[outcome]} {outcome.symbol}' for outcome in Outcome)}"
            for backend, counts in self._counts.items()
        ]
        prefix[:] = [_STYLE, *(f"<p>{_narrow(line)}</p>" for line in lines)]
        if self._runs:
            self._report.set_data("environment", _sources(self._runs.values()))

    def _count(self, record: CellRecord) -> None:
        self._counts.setdefault(record.backend, Counter())[record.verdict] += 1
        if (run := self._run_of(record.run)) is not None:
            self._runs[record.run] = run


def record_of(report: pytest.TestReport) -> CellRecord | None:
    """The record that travels on a report."""
    text = getattr(report, "paramatrix", None)
    return None if text is None else _parsed(text)


class Carried:
    """Lets the record of a report go when it was told: pytest keeps its reports to the end of a run."""

    def __init__(self) -> None:
        self._told: dict[str, pytest.TestReport] = {}

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> Generator[None]:
        """A cell's page is made when its teardown is over."""
        yield
        if report.when == "call":
            self._told[report.nodeid] = report
        elif report.when == "teardown" and (told := self._told.pop(report.nodeid, None)):
            vars(told).pop("paramatrix", None)


@functools.lru_cache(maxsize=1)
def _parsed(text: str) -> CellRecord:
    """A cell's record, which its row and its details both ask for."""
    return CellRecord.model_validate_json(text)


def escaped(text: object) -> Markup:
    """Any text as the content of an element; what cannot be seen is made visible, but for the ends of lines."""
    shown = "\n".join(matrix.visible(line) for line in str(text).expandtabs().split("\n"))
    return Markup(html.escape(shown, quote=False))  # noqa: S704 - this is the escaping


def _narrow(page: str) -> str:
    """HTML that shows the same and is ASCII: with one wider character a text takes twice or four times the memory.

    pytest-html has several copies of its page at once.
    """
    return page.encode("ascii", "xmlcharrefreplace").decode("ascii")


def _sources(runs: Iterable[RunRecord]) -> dict[str, dict[str, str]]:
    """Where the cells were measured: pytest-html puts these texts into the page as they are."""
    found = {}
    for run in runs:
        for backend, info in run.backends.items():
            found[f"{run.started} {backend}"] = {name: str(escaped(text)) for name, text in _facts(run, info)}
    return found


def _facts(run: RunRecord, info: BackendInfo) -> list[tuple[str, str]]:
    packages = ", ".join(f"{name} {version}" for name, version in info.packages.items() if version)
    return [
        ("packages", packages or info.unavailable or "unknown"),
        ("device", info.device),
        ("model", info.model),
        ("Python", info.python or "unknown"),
        ("run", f"{run.run}, paramatrix {run.harness.version}, commit {run.harness.commit or 'unknown'}"),
    ]


def details(record: CellRecord, run: RunRecord | None, templates: Path, said: str = "") -> str:
    """A cell's evidence and reproduction as HTML.

    Args:
        record: the cell.
        run: the run that it refers to.
        templates: the folder of the template.
        said: what pytest said besides the reason.

    Raises:
        ReportError: the template is missing or wrong.
    """
    observed, control = record.evidence.observed or {}, record.evidence.control or {}
    script, refused = _script(record, run, templates)
    try:
        return (
            _environment(templates)
            .get_template(TEMPLATE)
            .render(
                record=record,
                observed=observed,
                control=control,
                declared=[f"{path}={_short(value)}" for path, value in record.evidence.declared.items()],
                rests=_rests(record, observed, control),
                failure=observed.get("failure"),
                traceback=str(observed.get("failure", {}).get("traceback", ""))[-_TRACEBACK:],
                attempts=[f"{attempt.role}: {attempt.outcome}" for attempt in record.attempts],
                said=said,
                script=script,
                refused=refused,
            )
        )
    except TemplateError as error:
        raise matrix.ReportError(f"{templates / TEMPLATE}: {type(error).__name__}: {error}") from error


@functools.cache
def _environment(templates: Path) -> Environment:
    """Of the template: everything is escaped that does not come from `escaped`."""
    environment = Environment(
        loader=FileSystemLoader(templates),
        undefined=StrictUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["text"] = escaped
    return environment


def _script(record: CellRecord, run: RunRecord | None, templates: Path) -> tuple[str, str]:
    """The reproduction, or why there is none."""
    if run is None:
        return "", "the run that it refers to is not known"
    try:
        return repro.script(record, run, templates), ""
    except (repro.NotReproducible, matrix.ReportError) as error:
        return "", str(error)


def _rests(record: CellRecord, observed: Mapping[str, Any], control: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """What the verdict rests on: path, treated and control; without values where the record has none."""
    theirs = control.get(RESOLVED, {})
    rows = []
    for path in observed.get("rests_on", []):
        inner = path.removeprefix(f"{RESOLVED}.")
        if path == "outputs":
            rows.append((path, _short(observed.get("outputs")), _short(control.get("outputs"))))
        elif inner in theirs:
            rows.append((path, _short(at(record.evidence.resolved or {}, inner)), _short(theirs[inner])))
        else:
            rows.append((path, "", ""))
    return rows


def _short(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _VALUE else f"{text[: _VALUE - 1]}…"
