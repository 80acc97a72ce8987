"""The page: it shows what the results say, all of it, and nothing else."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from harness import pages, report, signs
from harness.backends import MODULES
from harness.claims import Claims
from harness.pagereader import Page
from harness.records import BackendInfo, CellRecord, RunRecord
from harness.report import ReportError
from harness.store import Results
from harness.verdict import Cause, Outcome
from tests.toys import cell_record, matrix, planned, run_record

ROOT = Path(__file__).resolve().parent.parent
TEMPLATES = ROOT / "templates"
Record = RunRecord | CellRecord


def results(*lines: Record) -> Results:
    found = Results()
    for line in lines:
        found.add(line)
    return found


def render(*lines: Record) -> str:
    return report.render(results(*lines), TEMPLATES)


def page(*lines: Record) -> Page:
    return Page(render(*lines))


def visible(text: str) -> str:
    """What a page can show of a text: one line, controls made visible."""
    return re.sub("[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", "\ufffd", " ".join(text.split()))


RUN = run_record("a", planned("x=1"), planned("x=2"), planned("x=10"), planned("y=True", section="Core"))


def test_the_page_has_the_headings_and_columns_that_readers_know() -> None:
    seen = page(RUN, cell_record("a", "x=1"))
    assert seen.headings == ["Parameter Support Matrix", "Summary", "Legend", "Measured on", "Core", "Decoder"]
    assert seen.tables["Legend"][0] == ["Symbol", "Meaning"]
    for section in ("Core", "Decoder"):
        assert seen.tables[section][0] == ["Parameter", "PyTorch", "vLLM", "TensorRT", "Notes"]


def test_every_backend_has_a_column() -> None:
    """A backend without one would be measured and then be missing from the page."""
    assert set(MODULES) <= set(signs.COLUMNS)


def test_rows_are_spelled_out_and_sorted_as_people_count() -> None:
    assert [row[0] for row in page(RUN).tables["Decoder"][1:]] == ["x=1", "x=2", "x=10"]


@pytest.mark.parametrize(
    ("cause", "level", "symbol"),
    [
        (Cause.CONFIRMED, "behaviour", "✅"),
        (Cause.CONFIRMED, "state", "✅ˢ"),
        (Cause.IGNORED, None, "❌"),
        (Cause.FLAKY, None, "⚠️"),
        (Cause.MISSING_PACKAGE, None, "➖"),
    ],
)
def test_every_outcome_has_a_symbol_of_its_own_and_what_is_no_pass_has_a_note(
    cause: Cause, level: str | None, symbol: str
) -> None:
    cell = cell_record("a", "x=1", cause)
    evidence = cell.evidence.model_copy(update={"level": level})
    row = page(RUN, cell.model_copy(update={"evidence": evidence})).tables["Decoder"][1]
    assert row == ["x=1", symbol, "·", "·", "" if level else f"pytorch: {cause.value}: because"]


def test_a_cell_that_was_never_measured_is_on_the_page_and_in_the_count() -> None:
    seen = page(RUN, cell_record("a", "x=1"), cell_record("a", "x=2", Cause.IGNORED))
    row = seen.tables["Decoder"][3]
    assert row[:2] == ["x=10", "➖"]
    assert "not measured" in row[4]
    assert seen.items[0].startswith(
        "PYTORCH: 1/4 (25.0%) [judged: 2, failed: 1, uncertain: 0, not run: 2]".replace(
            "PYTORCH", "<strong_open>PYTORCH<strong_close>"
        )
    )


def test_the_summary_says_why_cells_were_not_run() -> None:
    lacks = [cell_record("a", row, Cause.MISSING_PACKAGE) for row in ("x=1", "x=2")]
    item = page(RUN, *lacks, cell_record("a", "x=10", Cause.NOT_APPLICABLE)).items[0]
    assert item.endswith(
        "0/4 (0.0%) [judged: 0, failed: 0, uncertain: 0, not run: 4]; "
        "not run because: 2 missing_package, 1 interrupted, 1 not_applicable"
    )


@given(st.lists(st.sampled_from([*Cause, None]), min_size=1, max_size=12))
def test_the_counts_add_up_to_the_planned_cells(causes: list[Cause | None]) -> None:
    rows = [f"x={index}" for index in range(len(causes))]
    lines: list[Record] = [run_record("a", *(planned(row) for row in rows))]
    lines += [cell_record("a", row, cause) for row, cause in zip(rows, causes, strict=True) if cause]
    # a cell that nobody plans any more is in no count
    lines.append(cell_record("a", "gone=1"))
    (summary,) = report.summaries(results(*lines))
    assert summary.planned == len(causes)
    assert sum(summary.counts.values()) + summary.unmeasured == len(causes)
    assert summary.judged + summary.not_run == len(causes)
    assert sum(summary.causes.values()) == summary.not_run
    assert summary.counts["pass"] == causes.count(Cause.CONFIRMED)
    seen = page(*lines)
    symbols = [row[1] for row in seen.tables["Decoder"][1:]]
    assert len(symbols) == len(causes)
    assert symbols.count("✅") == summary.counts["pass"]
    assert symbols.count("❌") == sum(cause is not None and cause.outcome is Outcome.FAIL for cause in causes)


# Equal results give equal pages ----------------------------------------------------------------------------------

B = run_record("b", planned("x=2"), planned("x=0.50"), started="2026-01-02T00:00:00Z", narrowed=True)
CELLS = [
    cell_record("a", "x=1"),
    cell_record("a", "y=True", section="Core"),
    cell_record("b", "x=2", Cause.IGNORED),
    cell_record("b", "x=0.50"),
]
C = run_record("c", planned("x=0.5"), planned("x=1", "vllm"), started="2026-01-03T00:00:00Z", narrowed=True)
CELLS += [cell_record("c", "x=0.5"), cell_record("c", "x=1", Cause.FLAKY, backend="vllm")]


@given(st.permutations([RUN, B, C]), st.permutations(CELLS))
def test_equal_results_give_equal_bytes_whatever_the_order_of_their_lines(
    runs: list[RunRecord], cells: list[CellRecord]
) -> None:
    whole_first = sorted(runs, key=lambda run: run.narrowed)  # a whole run in between would be another history
    assert render(*whole_first, *cells) == render(RUN, B, C, *CELLS)


def test_the_date_on_the_page_is_the_results_own() -> None:
    assert "Last measured: 2026-01-01T00:00:00Z" in render(RUN)
    assert "Last measured: never" in render()


# Any text ---------------------------------------------------------------------------------------------------------

NASTY = st.one_of(
    st.text(max_size=30),
    st.text(alphabet="|`\\*_<>&#[]()!~$'\"-+.:;{}= \n\t1a", max_size=20),
    st.sampled_from(
        [
            "a|b",
            "|",
            "||",
            "\\|",
            "\\",
            "`|`",
            "``",
            "`",
            "a`b``c",
            "<script>alert(1)</script>",
            "<b>",
            "<!-- |",
            "-->",
            "&lt;",
            "&#124;",
            "[a](http://b)",
            "![a](b)",
            "<http://a.b>",
            "**b**",
            "_e_",
            "~~s~~",
            "# h",
            "- item",
            "1. item",
            "|---|---|",
            "$x$",
            "line\nbreak",
            "a\r\nb",
            "\x00",
            "\x1b[31mred\x1b[0m",
            "\u2028",
            "\u202eright to left",
            "\x85",
            "*" * 300,
        ]
    ),
)


@settings(max_examples=150, deadline=None)
@given(value=NASTY, reason=NASTY, note=NASTY, model=NASTY, package=NASTY, section=NASTY)
@example(value="a\\", reason="ends in \\", note="|", model="`", package="|", section="#")
def test_no_text_breaks_a_table_and_every_text_is_shown_as_it_is(  # noqa: PLR0917
    value: str, reason: str, note: str, model: str, package: str, section: str
) -> None:
    title = section if visible(section) else "Decoder"
    one_line = " ".join(reason.split())
    where = info(model=model, model_hash=None, packages={package: package}, cpu=reason)
    rows = [f"x={value}", "y=1"]
    run = run_record("a", *(planned(row, section=title) for row in rows), backends={"pytorch": where}, sections=[title])
    passed = cell_record("a", "y=1", note=note, section=title)
    failed = cell_record("a", rows[0], Cause.IGNORED, reason=one_line, section=title)
    text = render(run, passed, failed)
    seen = Page(text)

    assert len([line for line in text.splitlines() if line.startswith("## ")]) == 4, "no heading was forged"
    assert seen.headings == ["Parameter Support Matrix", "Summary", "Legend", "Measured on", visible(title)]
    assert set(seen.html) <= {"<code>", "</code>"}
    table = seen.tables[visible(title)]
    assert [len(row) for row in table] == [5, 5, 5]
    first, second = sorted(table[1:], key=lambda row: row[1] == "✅")
    assert first[0] == visible(rows[0])
    assert first[1:4] == ["❌", "·", "·"]
    assert first[4] == shortened(f"pytorch: ignored: {one_line}")
    assert second[0] == "y=1"
    assert second[4] == (shortened(f"pytorch: {note}") if note else "")
    (_, measured) = seen.tables["Measured on"]
    assert len(measured) == 8
    assert f"{visible(package)} {visible(package or 'absent')}".strip() in measured[4]
    assert visible(reason) in measured[5]
    assert measured[6] == visible(model)


def shortened(text: str) -> str:
    """A note is cut before it is escaped, so that no escape is cut in two."""
    limit = report._NOTE_LIMIT
    return visible(text if len(text) <= limit else text[: limit - 1] + "…")


@settings(max_examples=150)
@given(NASTY)
def test_the_filters_of_a_template_show_any_text_on_one_line_of_a_table(value: str) -> None:
    for shown in (report.text(value), report.code(value)):
        assert len(shown.splitlines()) <= 1
        seen = Page(f"# t\n\n| a | b |\n|---|---|\n| {shown} | end |\n")
        assert seen.tables["t"][1] == [visible(value), "end"]


# Provenance -------------------------------------------------------------------------------------------------------


def info(**changes: Any) -> BackendInfo:
    return BackendInfo(
        **{"model": "models/tiny", "model_hash": "00", "python": "3.11", "cpu": "toy", "cpus": 2, **changes}
    )


def test_cells_measured_under_other_circumstances_are_marked_and_their_source_is_listed() -> None:
    narrow = run_record(
        "b", planned("x=2"), started="2026-01-02T00:00:00Z", narrowed=True, backends={"pytorch": info(python="3.12")}
    )
    whole = RUN.model_copy(update={"backends": {"pytorch": info()}})
    cells = [cell_record("a", row) for row in ("x=1", "x=10")]
    seen = page(whole, narrow, *cells, cell_record("b", "x=2"))
    assert [row[1] for row in seen.tables["Decoder"][1:]] == ["✅", "✅ (a)", "✅"]
    assert [row[0] for row in seen.tables["Measured on"][1:]] == ["(a) b", "(b) a"]
    assert "other circumstances" in render(whole, narrow, *cells, cell_record("b", "x=2"))


def test_cells_of_another_run_under_the_same_circumstances_are_not_marked() -> None:
    narrow = run_record("b", planned("x=2"), started="2026-01-02T00:00:00Z", narrowed=True)
    lines = (RUN, narrow, cell_record("a", "x=1"), cell_record("a", "x=10"), cell_record("b", "x=2"))
    assert [row[1] for row in page(*lines).tables["Decoder"][1:]] == ["✅"] * 3
    assert "other circumstances" not in render(*lines)


def test_every_source_has_a_mark_of_its_own() -> None:
    count = 60
    lines: list[Record] = []
    for index in range(count):
        lines.append(
            run_record(f"r{index:02}", planned(f"x={index}"), narrowed=True, backends={"pytorch": info(cpus=index)})
        )
        lines.append(cell_record(f"r{index:02}", f"x={index}"))
    marks = [source.mark for source in report.measured(results(*lines))]
    assert len(set(marks)) == count
    assert marks[:2] == ["a", "b"]
    assert marks[25:28] == ["z", "aa", "ab"]


@pytest.mark.parametrize(
    ("gpus", "device"),
    [
        ([], "CPU (toy, 2 cores)"),
        ([{"name": "NVIDIA H100", "driver": "570"}], "NVIDIA H100, driver 570"),
        ([{"name": "NVIDIA H100", "driver": "570"}] * 2, "2 × NVIDIA H100, driver 570"),
    ],
)
def test_the_device_is_told(gpus: list[dict[str, str]], device: str) -> None:
    run = RUN.model_copy(update={"backends": {"pytorch": info(gpus=gpus)}})
    assert page(run, cell_record("a", "x=1")).tables["Measured on"][1][5] == device


def test_a_backend_that_was_not_there_is_explained_once_and_not_in_every_row() -> None:
    run = RUN.model_copy(update={"backends": {"pytorch": info(unavailable="no interpreter")}})
    seen = page(run, *(cell_record("a", row, Cause.MISSING_PACKAGE, reason="none") for row in ("x=1", "x=2", "x=10")))
    assert [row[4] for row in seen.tables["Decoder"][1:]] == ["pytorch: missing_package"] * 3
    assert seen.tables["Measured on"][1][4:7] == ["no interpreter", "–", "–"]


# Files ------------------------------------------------------------------------------------------------------------


def test_writing_twice_gives_equal_bytes(tmp_path: Path) -> None:
    lines: list[Record] = [RUN, *CELLS[:2]]
    first = {path.name: path.read_bytes() for path in write(tmp_path, *lines)}
    second = {path.name: path.read_bytes() for path in write(tmp_path / "new", *lines)}
    assert first == second
    assert list(first) == ["parameter-support-matrix.md", "invalid-combinations.md"]
    assert {name: text.encode() for name, text in pages.read(tmp_path).items()} == first


def write(folder: Path, *lines: Record) -> list[Path]:
    return pages.write(matrix(), results(*lines), Claims(), TEMPLATES, folder)


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ReportError, match=r"cannot be written: .* Choose another folder with --out") as caught:
        write(tmp_path / "file" / "out", RUN)
    assert len(str(caught.value).splitlines()) == 1


def test_a_page_that_cannot_be_replaced_is_named_once(tmp_path: Path) -> None:
    (tmp_path / report.PAGE).mkdir()
    with pytest.raises(ReportError) as caught:
        write(tmp_path, RUN)
    assert str(caught.value).count(str(tmp_path)) == 1


def test_a_template_that_is_missing_or_wrong_is_named(tmp_path: Path) -> None:
    with pytest.raises(ReportError, match=r"parameter-support-matrix\.md\.j2: TemplateNotFound"):
        report.render(results(RUN), tmp_path)
    (tmp_path / f"{report.PAGE}.j2").write_text("{{ nobody }}")
    with pytest.raises(ReportError, match="'nobody' is undefined"):
        report.render(results(RUN), tmp_path)


def test_a_stale_cell_is_marked_counted_and_explained_and_pages_without_one_say_nothing_of_it() -> None:
    fresh, old = "decoder.top_k=1", "decoder.top_k=5"
    found = Results()
    found.add(
        run_record("a", planned(fresh), planned(old), fingerprints={f"pytorch-{fresh}": "1", f"pytorch-{old}": "2"})
    )
    found.add(cell_record("a", fresh, fingerprint="1"))
    found.add(cell_record("a", old, fingerprint="1"))
    page = report.render(found, TEMPLATES)
    assert "| `decoder.top_k=1` | ✅ |" in page
    assert "| `decoder.top_k=5` | ✅† |" in page
    assert "; 1 stale" in page
    assert "| † | Stale" in page
    found.add(cell_record("a", old, fingerprint="2"))
    assert "†" not in report.render(found, TEMPLATES)
    assert "stale" not in report.render(found, TEMPLATES)
