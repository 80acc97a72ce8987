"""What changed between two results files: every kind of change is told, once, with both sides."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings

from harness.diff import Difference, DiffError, difference, render
from harness.pagereader import Page
from harness.records import BackendInfo, CellRecord, Planned, RunRecord
from harness.report import ReportError
from harness.settled import ValueChange
from harness.store import Results, dump
from harness.verdict import Cause
from tests import projects
from tests.projects import ROOT, paramatrix
from tests.test_report import NASTY, visible
from tests.toys import cell_record, planned, run_record

TEMPLATES = ROOT / "templates"


def info(version: str = "1.0", **more: Any) -> BackendInfo:
    facts = {"model": "models/tiny", "model_hash": "0123", "python": "3.11.9", "cpu": "toy", "cpus": 2}
    return BackendInfo(**{**facts, "packages": {"toylib": version, "other": None}, **more})


def records(
    *cells: CellRecord, run: str = "r1", unmeasured: tuple[Planned, ...] = (), backend: BackendInfo | None = None
) -> list[RunRecord | CellRecord]:
    plans = [Planned(cell=c.cell, backend=c.backend, row=c.row, section=c.section) for c in cells]
    names = dict.fromkeys(plan.backend for plan in [*plans, *unmeasured])
    header = run_record(run, *plans, *unmeasured, backends=dict.fromkeys(names, backend or info()))
    return [header, *cells]


def results(*cells: CellRecord, **more: Any) -> Results:
    found = Results()
    for record in records(*cells, **more):
        found.add(record)
    return found


def cell(row: str, cause: Cause = Cause.CONFIRMED, *, level: str | None = None, **more: Any) -> CellRecord:
    """A record; `resolved` replaces what was read back."""
    made = cell_record("r1", row, cause, **{k: v for k, v in more.items() if k != "resolved"})
    evidence = made.evidence.model_dump()
    evidence |= {"level": level} if level else {}
    evidence |= {"resolved": more["resolved"]} if "resolved" in more else {}
    return CellRecord.model_validate({**made.model_dump(), "evidence": evidence})


def one(found: Difference) -> Any:
    (change,) = found.changed
    return change


def test_equal_results_have_no_difference() -> None:
    found = difference(
        results(cell("a=1"), cell("b=2", Cause.IGNORED)), results(cell("a=1"), cell("b=2", Cause.IGNORED))
    )
    assert (found.changed, found.appeared, found.vanished) == ((), (), ())
    assert (found.both, found.unchanged) == (2, 2)
    assert (found.packages, found.circumstances) == ([], [])


def test_a_changed_verdict_is_a_change_with_both_reasons() -> None:
    change = one(difference(
        results(cell("a=1", reason="was there")), results(cell("a=1", Cause.IGNORED, reason="was dropped"))
    ))  # fmt: skip
    assert change.changed == ("verdict", "cause", "level")
    assert (change.before.verdict, change.before.reason) == ("pass", "was there")
    assert (change.after.verdict, change.after.cause, change.after.reason) == ("fail", "ignored", "was dropped")


def test_a_changed_cause_is_a_change_though_the_verdict_stays() -> None:
    change = one(difference(results(cell("a=1", Cause.CRASHED)), results(cell("a=1", Cause.IGNORED))))
    assert change.changed == ("cause",)


def test_a_changed_level_of_evidence_is_a_change_though_both_passed() -> None:
    change = one(difference(results(cell("a=1")), results(cell("a=1", level="state"))))
    assert change.changed == ("level",)
    assert (change.before.symbol, change.after.symbol) == ("✅", "✅ˢ")


def test_a_changed_resolved_value_is_a_change_though_the_verdict_stays() -> None:
    before = cell("a=1", resolved={"block_size": 16, "pid": 1})
    found = difference(results(before), results(cell("a=1", resolved={"block_size": 128, "pid": 2})))
    change = one(found)
    assert change.changed == ("resolved",)
    assert change.resolved == (ValueChange("block_size", 16, 128),)
    assert found.judged == []


def test_a_record_of_other_inputs_than_its_file_s_newest_run_is_marked_and_counted() -> None:
    before = results(cell("a=1", Cause.IGNORED, fingerprint="then"), cell("b=1", fingerprint="now"))
    told = {"pytorch-a=1": "now", "pytorch-b=1": "now"}
    newest = run_record("r2", planned("b=1"), narrowed=True, backends={"pytorch": info()}, fingerprints=told)
    before.add(newest)
    found = difference(before, results(cell("a=1"), cell("b=1")))
    assert one(found).before.symbol == "❌†"
    assert one(found).after.symbol == "✅"
    assert found.stale == (1, 0)
    assert found.to_json()["stale"] == {"before": 1, "after": 0}
    page = Page(render(found, TEMPLATES))
    assert page.tables["Judged differently"][1][1] == "❌† ignored"
    assert "Stale (†: of other inputs than the newest run in the same file): 1 before, 0 after" in page.items


def test_what_became_stale_and_nothing_else_is_no_change() -> None:
    after = results(cell("a=1", fingerprint="then"))
    after.add(run_record("r2", planned("a=1"), backends={"pytorch": info()}, fingerprints={"pytorch-a=1": "now"}))
    found = difference(results(cell("a=1", fingerprint="then")), after)
    assert found.changed == ()
    assert found.stale == (0, 1)


def test_a_changed_reason_alone_is_no_change() -> None:
    """It quotes numbers and paths of its run."""
    assert not difference(results(cell("a=1", reason="in 3 s")), results(cell("a=1", reason="in 4 s"))).changed


def test_a_cell_that_was_not_measured_differs_from_one_that_was() -> None:
    found = difference(results(cell("b=1"), unmeasured=(planned("a=1"),)), results(cell("b=1"), cell("a=1")))
    change = one(found)
    assert (change.before.verdict, change.before.reason) == (None, "planned, not measured")
    assert change.changed == ("verdict", "cause", "level"), "and nothing is said about what it might have resolved"
    assert found.appeared == ()


def test_cells_that_only_one_side_plans_appeared_or_vanished() -> None:
    found = difference(results(cell("a=1"), cell("old=1", Cause.CRASHED)), results(cell("a=1"), cell("new=1")))
    assert [(c.cell, c.state.cause) for c in found.appeared] == [("pytorch-new=1", "confirmed")]
    assert [(c.cell, c.state.cause) for c in found.vanished] == [("pytorch-old=1", "crashed")]
    assert found.both == 1


def test_only_columns_that_both_have_are_compared() -> None:
    found = difference(
        results(cell("a=1", backend="vllm")), results(cell("a=1", backend="vllm"), cell("a=1", backend="pytorch"))
    )
    assert found.backends == ("vllm",)
    assert found.left_out == ("pytorch",)
    assert (found.both, found.appeared, found.changed) == (1, (), ())


def test_no_common_column_is_nothing_to_compare() -> None:
    with pytest.raises(DiffError, match="nothing to compare: the first has vllm, the second has pytorch; expected"):
        difference(results(cell("a=1", backend="vllm")), results(cell("a=1")))
    with pytest.raises(DiffError, match="the first has no cells"):
        difference(Results(), results(cell("a=1")))


def test_versions_and_other_circumstances_that_differ_are_told() -> None:
    found = difference(
        results(cell("a=1")),
        results(cell("a=1"), backend=info("1.1", cpus=8, packages={"toylib": "1.1", "other": "2"})),
    )
    assert [(f.name, f.before, f.after) for f in found.packages] == [
        ("pytorch: toylib", "1.0", "1.1"),
        ("pytorch: other", "absent", "2"),
    ]
    assert [(f.name, f.before, f.after) for f in found.circumstances] == [
        ("pytorch: device", "CPU (toy, 2 cores)", "CPU (toy, 8 cores)")
    ]


def test_a_resolved_change_that_many_cells_share_is_told_once() -> None:
    rows = [f"a={n}" for n in range(5)]
    before = results(*(cell(row, resolved={"default": 1, "own": n}) for n, row in enumerate(rows)))
    after = results(*(cell(row, resolved={"default": 2, "own": 9 if n == 3 else n}) for n, row in enumerate(rows)))
    told = [(value.path, value.before, value.after, value.cells) for value in difference(before, after).everywhere()]
    assert told == [("default", "1", "2", "all 5"), ("own", "3", "9", "pytorch-a=3")]
    some = results(*(cell(row, resolved={"default": 1 if n == 4 else 2, "own": n}) for n, row in enumerate(rows)))
    (value,) = difference(before, some).everywhere()
    assert value.cells == "pytorch-a=0, pytorch-a=1, pytorch-a=2 and 1 more"


def test_values_that_read_alike_are_told_apart() -> None:
    found = difference(results(cell("a=1", resolved={"x": 16})), results(cell("a=1", resolved={"x": "16", "y": None})))
    told = [(value.path, value.before, value.after) for value in found.everywhere()]
    assert told == [("x", "16", '"16"'), ("y", "(absent)", "null")]


def test_what_a_repeat_read_back_differently_varies_by_nature() -> None:
    before = results(cell("a=1", resolved={"jitter": 1, "size": 1}))
    again = results(cell("a=1", resolved={"jitter": 2, "size": 1}))
    after = results(cell("a=1", resolved={"jitter": 3, "size": 2}), backend=info("1.1"))
    assert [v.path for v in one(difference(before, after)).resolved] == ["jitter", "size"]
    assert [v.path for v in one(difference(before, after, repeat=again)).resolved] == ["size"]
    assert [v.path for v in one(difference(after, before, repeat=again)).resolved] == ["size"]


def test_a_repeat_of_neither_version_is_refused() -> None:
    """What differs between versions would be taken for noise."""
    before, after = results(cell("a=1")), results(cell("a=1"), backend=info("1.1"))
    with pytest.raises(DiffError, match="the repeat ran other packages than either side"):
        difference(before, after, repeat=results(cell("a=1"), backend=info("1.2")))


def test_the_page_shows_every_kind_of_change() -> None:
    before = results(cell("a=1"), cell("b=1", resolved={"x": 1}), cell("old=1"))
    after = results(
        cell("a=1", Cause.IGNORED), cell("b=1", resolved={"x": 2}), cell("new=1", Cause.FLAKY), backend=info("1.1")
    )
    page = render(difference(before, after), TEMPLATES)
    for line in (
        "- Cells in both: 2",
        "- Judged differently: 1",
        "- Differ only in what was resolved: 1",
        "- Unchanged: 0",
        "| pytorch: toylib | 1.0 | 1.1 |",
        "| `pytorch-a=1` | ✅ confirmed | ❌ ignored | because | because |",
        "| `x` | `1` | `2` | pytorch-b=1 |",
        "| `pytorch-new=1` | ⚠️ flaky | because |",
        "| `pytorch-old=1` | ✅ confirmed | because |",
    ):
        assert line in page.splitlines(), page
    assert page.count("| before | PyTorch | 3 |") == 1
    assert page == render(difference(before, after), TEMPLATES), "equal results give equal bytes"


def test_equal_results_make_a_page_without_tables_of_changes() -> None:
    page = render(difference(results(cell("a=1")), results(cell("a=1"))), TEMPLATES)
    assert "- Unchanged: 1" in page
    assert [line for line in page.splitlines() if line.startswith("## ")] == ["## Summary", "## Compared"]


@settings(max_examples=60, deadline=None)
@given(value=NASTY, reason=NASTY, path=NASTY, package=NASTY)
@example(value="a\\", reason="ends in \\", path="|", package="`")
def test_no_text_breaks_the_page_and_every_text_is_shown_as_it_is(
    value: str, reason: str, path: str, package: str
) -> None:
    row, said = f"x={value}", " ".join(reason.split())
    before = results(cell(row, reason=said, resolved={path: 1}), cell("old=1", reason=said))
    after = results(
        cell(row, Cause.IGNORED, reason=said, resolved={path: f"new {value}"}),
        cell("new=1", reason=said),
        backend=info("2.0", packages={"toylib": f"2 {package}", package: "1"}, cpu=f"a {reason}"),
    )
    text = render(difference(before, after), TEMPLATES)
    seen = Page(text)
    titles = ["Packages that differ", "What else differs", "Judged differently", "Resolved differently"]
    assert seen.headings == ["What Changed", "Summary", "Compared", *titles, "Appeared", "Vanished"]
    assert len([line for line in text.splitlines() if line.startswith("## ")]) == 8, "no heading was forged"
    assert set(seen.html) <= {"<code>", "</code>"}
    for title, table in seen.tables.items():
        assert {len(cells) for cells in table} == {len(table[0])}, title
    assert seen.tables["Judged differently"][1][0] == visible(f"pytorch-{row}")
    assert seen.tables["Judged differently"][1][3:] == [visible(said)] * 2
    assert seen.tables["Vanished"][1] == ["pytorch-old=1", "✅ confirmed", visible(said)]


def test_a_template_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(ReportError, match=r"version-diff\.md\.j2: TemplateNotFound"):
        render(difference(results(cell("a=1")), results(cell("a=1"))), tmp_path)


# The command -----------------------------------------------------------------------------------------------------


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A project with two folders of results."""
    folder = projects.make(tmp_path / "project")
    two = {
        "old": records(cell("a=1"), cell("b=1", resolved={"x": 1}), cell("old=1")),
        "new": records(cell("a=1", Cause.IGNORED), cell("b=1", resolved={"x": 2}), cell("new=1"), backend=info("1.1")),
    }
    for name, lines in two.items():
        (folder / name).mkdir()
        (folder / name / "results.jsonl").write_bytes(b"".join(dump(line) for line in lines))
    return folder


def test_files_and_folders_are_compared_and_told_line_by_line(files: Path) -> None:
    done = paramatrix(files, "diff", "old", "new/results.jsonl")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "pytorch: toylib: 1.0 → 1.1",
        "pytorch-a=1: ✅ confirmed → ❌ ignored",
        "resolved x: 1 → 2 (pytorch-b=1)",
        "appeared: pytorch-new=1: ✅ confirmed",
        "vanished: pytorch-old=1: ✅ confirmed",
        (
            "2 cells in both: 1 judged differently, 1 differ only in what was resolved, 0 unchanged; "
            "1 appeared, 1 vanished"
        ),
    ]


def test_json_holds_everything_and_the_page_is_written_beside_it(files: Path) -> None:
    done = paramatrix(files, "diff", "old", "new", "--json", "--out", "pages/diff.md")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["cells"] == {"both": 2, "unchanged": 0, "changed": 2, "appeared": 1, "vanished": 1}
    assert [change["cell"] for change in found["changed"]] == ["pytorch-a=1", "pytorch-b=1"]
    assert found["changed"][1]["resolved"] == [{"path": "x", "before": 1, "after": 2}]
    assert found["changed"][0]["before"]["verdict"] == "pass"
    assert found["before"][0]["packages"] == {"toylib": "1.0", "other": None}
    assert found["after"][0]["device"] == "CPU (toy, 2 cores)"
    assert "- Judged differently: 1" in (files / "pages" / "diff.md").read_text()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("old", "none"), "none: no such results file."),
        (("old", "."), "results.jsonl: no such results file."),
        (("old", "pyproject.toml"), "pyproject.toml:2: not a results line"),
        (("old", "torn"), "torn:1: the last line is torn"),
        (("old", "empty"), "nothing to compare: the first has pytorch, the second has no cells"),
        (("old", "new", "--repeat", "none"), "none: no such results file."),
        (("old", "new", "--out", "pyproject.toml/x.md"), "cannot be written"),
    ],
)
def test_what_cannot_be_compared_or_written_is_told_in_one_line(
    files: Path, arguments: tuple[str, ...], said: str
) -> None:
    (files / "torn").write_text('{"record"')
    (files / "empty").touch()
    done = paramatrix(files, "diff", *arguments)
    assert done.returncode == 2, done.stdout
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert done.stderr.startswith("paramatrix: ")
    assert said in done.stderr
    assert done.stdout == ""
