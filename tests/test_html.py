"""matrix.html: what pytest-html makes of a run and of its results, read as a browser reads it."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from harness import store
from harness.records import CellRecord, RunRecord
from harness.replay import PAGE, page, parts
from harness.report import ReportError
from harness.store import Results
from harness.verdict import Cause
from tests import projects, toys
from tests.interpreters import ROOT

TEMPLATES = ROOT / "templates"
VOID = {"br", "hr", "img", "input", "link", "meta", "source", "col"}


class Parsed(HTMLParser):
    """Elements and text of a piece of HTML; ends that do not match their starts are kept as faults."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.faults: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        self.faults += self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if not self._open or self._open.pop() != tag:
            self.faults.append(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


@dataclass
class Page:
    """The page with its rows, which its own script would put into the table."""

    html: str
    parsed: Parsed = field(init=False)
    data: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        self.parsed = Parsed(self.html)
        (blob,) = [at["data-jsonblob"] for _, at in self.parsed.elements if "data-jsonblob" in at]
        self.data = json.loads(blob or "")

    @property
    def rows(self) -> dict[str, list[str]]:
        """Texts of each row's columns, by pytest's id."""
        found = {}
        for name, tests in self.data["tests"].items():
            (test,) = tests
            found[name] = [Parsed(cell).text for cell in test["resultsTableRow"]]
        return found

    def details(self, cell: str) -> Parsed:
        """What is shown of a cell when its row is opened."""
        (name,) = [name for name in self.data["tests"] if cell in name]
        return Parsed(self.data["tests"][name][0]["log"])

    @property
    def shown(self) -> list[Parsed]:
        """Every piece of HTML that the page's script puts into it."""
        pieces: list[str] = []
        for tests in self.data["tests"].values():
            for test in tests:
                pieces += [test["log"], *test["resultsTableRow"]]
        for facts in self.data["environment"].values():
            pieces += facts.values() if isinstance(facts, dict) else [facts]
        return [Parsed(piece) for piece in pieces]


def results(*lines: RunRecord | CellRecord) -> Results:
    found = Results()
    for line in lines:
        found.add(line)
    return found


def rendered(*lines: RunRecord | CellRecord) -> Page:
    return Page(page(results(*lines), TEMPLATES))


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose matrix was run by the command, and once more by pytest with two workers."""
    folder = projects.make(tmp_path_factory.mktemp("html") / "project")
    done = projects.paramatrix(folder, "run")
    assert f"page:     {folder / 'reports' / PAGE}" in done.stdout, done.stderr
    options = ("-n", "2", "--html=live.html", "--self-contained-html", "--matrix-results=live.jsonl")
    live = projects.start(folder, "pytest", "test_cells.py", *options)
    said, _ = live.communicate(timeout=120)
    assert live.returncode == 0, said
    return folder


@pytest.mark.parametrize("name", [f"reports/{PAGE}", "live.html"])
def test_each_cell_shows_its_verdict_cause_evidence_and_reproduction(project: Path, name: str) -> None:
    made = Page((project / name).read_text(encoding="utf-8"))
    rows = {re.sub(r".*\[|\]$", "", cell): row[1:5] for cell, row in made.rows.items()}
    assert rows == {
        "pytorch-passthrough_kwargs=raise": [
            "❌ fail",
            "rejected_by_backend",
            "pytorch",
            "passthrough_kwargs=raise",
        ],
        "pytorch-decoder.top_k=1": ["✅ pass", "confirmed", "pytorch", "decoder.top_k=1"],
        "pytorch-decoder.top_k=5": ["✅ pass", "confirmed", "pytorch", "decoder.top_k=5"],
        "pytorch-decoder.top_k=50": ["⚠️ uncertain", "no_observable_effect", "pytorch", "decoder.top_k=50"],
        "pytorch-decoder.top_p=0.5": ["➖ not_run", "missing_hardware", "pytorch", "decoder.top_p=0.5"],
    }
    top_k = made.details("decoder.top_k=1").text
    for part in ("given 1; control: given None", "the toy was given the value", "toy.generate.top_k=1"):
        assert part in top_k
    assert "No standalone script: calls of toy.load are not written as source" in top_k
    failed = made.details("passthrough_kwargs=raise").text
    assert "ValueError: no such | thing" in failed
    assert re.search(r'toy_backend\.py", line \d+, in', failed), "the end of the traceback, however long paths are"
    assert "pytorch: 2 ✅1 ❌1 ⚠️1 ➖" in made.parsed.text.replace(", ", "")
    assert not [piece.faults for piece in made.shown if piece.faults]


def test_a_narrowed_run_keeps_the_other_cells_on_the_page(project: Path) -> None:
    before = (project / "reports" / PAGE).read_text(encoding="utf-8")
    projects.paramatrix(project, "run", "--cell", "pytorch-decoder.top_k=1")
    made = Page((project / "reports" / PAGE).read_text(encoding="utf-8"))
    assert list(made.rows) == list(Page(before).rows)


def test_rendering_again_gives_equal_bytes(project: Path, tmp_path: Path) -> None:
    done = projects.paramatrix(project, "report", "--out", str(tmp_path), PYTEST_ADDOPTS="-n 2 --no-such-option")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / PAGE).read_bytes() == (project / "reports" / PAGE).read_bytes()


def test_the_page_is_one_file(project: Path) -> None:
    made = Page((project / "reports" / PAGE).read_text(encoding="utf-8"))
    assert list(project.glob("reports/assets*")) == []
    assert not [tag for tag, _ in made.parsed.elements if tag in {"link", "iframe", "object"}]
    assert not [value for tag, at in made.parsed.elements if tag == "script" and (value := at.get("src"))]
    links = [at["href"] for tag, at in made.parsed.elements if tag == "a"]
    assert links == ["https://pypi.python.org/pypi/pytest-html"]
    assert "url(" not in made.html
    assert str(project) not in made.html


NASTY = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'&amp;</td></pre>"


def test_no_text_of_a_result_becomes_markup() -> None:
    """Planted wherever a record holds text: it is shown as it is, and nothing else appears."""
    row = f"decoder.top_k={NASTY}"
    record = toys.cell_record("r", row, Cause.REJECTED, reason=NASTY, note=NASTY, rejected_by_validation=NASTY)
    failure = {
        "phase": "load",
        "kind": "exception",
        "type": NASTY,
        "message": NASTY,
        "traceback": f"{NASTY}\nE {NASTY}",
    }
    observed = {"effect": NASTY, "saw": NASTY, "output": NASTY, "forwarded": [NASTY], "rests_on": ["resolved.a", NASTY]}
    evidence = record.evidence.model_copy(
        update={
            "declared": {NASTY: NASTY},
            "resolved": {"a": NASTY},
            "observed": {**observed, "failure": failure},
            "control": {"contrast": NASTY, "saw": NASTY, "resolved": {"a": NASTY}},
        }
    )
    run = toys.run_record("r", toys.planned(row))
    info = run.backends["pytorch"].model_copy(update={"model": NASTY, "cpu": NASTY, "packages": {"torch": NASTY}})
    run = run.model_copy(update={"backends": {"pytorch": info}})
    made = rendered(run, record.model_copy(update={"evidence": evidence}))
    allowed = {"div", "p", "table", "tbody", "tr", "th", "td", "pre", "details", "summary"}
    for piece in made.shown:
        assert {tag for tag, _ in piece.elements} <= allowed
        assert not piece.faults
        assert not [name for _, at in piece.elements for name in at if name not in {"class", "colspan"}]
    assert made.details("decoder.top_k").text.count(NASTY) >= 12
    assert [row[4] for row in made.rows.values()] == [row]
    assert sum(tag == "script" for tag, _ in made.parsed.elements) == 1, "pytest-html's own"


def test_a_page_of_the_committed_results_has_every_planned_cell_and_stays_small() -> None:
    found = store.read(ROOT / "reports" / "results.jsonl")
    html = page(found, TEMPLATES)
    made = Page(html)
    assert set(made.rows) == set(found.planned)
    shown = {cell: row[2] for cell, row in made.rows.items()}
    assert shown == {record.cell: record.cause.value for record in found.measured}
    assert not [piece.faults for piece in made.shown if piece.faults]
    assert len(html) < 6_000_000


def test_the_page_is_told_in_parts_so_that_it_is_nowhere_in_memory_as_a_whole() -> None:
    told = list(parts(store.read(ROOT / "reports" / "results.jsonl"), TEMPLATES))
    assert max(map(len, told)) <= 2**20, "pytest-html's own, and a mebibyte of cells at a time"
    assert len(told) > 3, [len(part) for part in told]


def test_a_cell_that_was_never_measured_is_on_the_page() -> None:
    plans = [toys.planned("decoder.top_k=1"), toys.planned("decoder.top_k=2")]
    made = rendered(toys.run_record("r", *plans), toys.cell_record("r", "decoder.top_k=1"))
    assert {cell: row[0] for cell, row in made.rows.items()} == {
        "pytorch-decoder.top_k=1": "Passed",
        "pytorch-decoder.top_k=2": "Skipped",
    }
    assert "planned, not measured" in made.details("top_k=2").text


def test_a_template_that_is_missing_is_named_in_one_line(tmp_path: Path) -> None:
    found = results(toys.run_record("r", toys.planned("a=1")), toys.cell_record("r", "a=1"))
    with pytest.raises(ReportError, match=r"matrix\.html: .*cell\.html\.j2: TemplateNotFound") as error:
        page(found, tmp_path)
    assert "\n" not in str(error.value)


def test_rows_stand_as_on_the_other_pages() -> None:
    plans = [
        toys.planned(row, section=section) for row, section in (("b=16", "Decoder"), ("b=8", "Decoder"), ("a", "Core"))
    ]
    made = rendered(toys.run_record("r", *plans))
    assert list(made.rows) == ["pytorch-a", "pytorch-b=8", "pytorch-b=16"]


@pytest.mark.parametrize("cell", ["\\", "\\N{x}", "\\x4", "100%", "a\\"])
def test_any_name_of_a_cell_can_be_shown(cell: str) -> None:
    row = f"decoder.stop={cell}"
    made = rendered(toys.run_record("r", toys.planned(row)), toys.cell_record("r", row))
    assert [columns[4] for columns in made.rows.values()] == [row]
