"""The page of what values cost, and its pictures: nothing on them looks like more than was measured."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness import cli, pages
from harness.claims import Claims
from harness.energy import page
from harness.energy.measured import MeasuredRecord, Measurements
from harness.energy.meters import Missing
from harness.energy.quality import Flag, Note
from harness.pagereader import Page
from harness.records import BackendInfo, CellRecord, RunRecord
from harness.store import Results, dump
from harness.verdict import Cause
from tests.measurements import NO_METER, energy, file, measured, passed
from tests.projects import ROOT
from tests.toys import cell_record, matrix, planned, run_record

TEMPLATES = ROOT / "templates"
SVG = "{http://www.w3.org/2000/svg}"
DIFFER, MAY, ALIKE, UNCLAIMED = (
    "PyTorch: Differ from their control",
    "PyTorch: May differ from their control",
    "PyTorch: Not told apart from their control",
    "PyTorch: Nothing is claimed of these",
)
CHEAP = measured("x=cheap", energy(2400.0, 1.25))
DEAR = measured("x=dear", energy(4500.0, 0.9))
SAME = measured("x=same", energy())
MAYBE = measured("x=maybe", energy(6000.0, 0.97, wobble=0.01))
HOT = measured("x=hot", energy(600.0, 5.0, notes=[Note(Flag.THROTTLED, "clocks were held down: power brake")]))
UNSURE = measured("x=unsure", energy(600.0, notes=[Note(Flag.SENSORS_DISAGREE, "100 J by power, 600 J by counter")]))
SHORT = measured("x=short", energy(600.0, notes=[Note(Flag.SHORT_WINDOW, "3 s, expected at least 10 s")]))


def render(
    *records: MeasuredRecord, verdicts: Mapping[str, CellRecord] | None = None, costs: Measurements | None = None
) -> dict[str, str]:
    known = passed(*records)
    for record in (verdicts or {}).values():
        known.add(record)
    return page.render(costs or file(*records), known, TEMPLATES)


def read(*records: MeasuredRecord, verdicts: Mapping[str, CellRecord] | None = None) -> Page:
    return Page(render(*records, verdicts=verdicts)[page.PAGE])


def names(seen: Page, heading: str) -> list[str]:
    return [row[0] for row in seen.tables.get(heading, [])[1:]]


def cells(seen: Page, heading: str, row: str) -> dict[str, str]:
    head, *rows = seen.tables[heading]
    return next(dict(zip(head, found, strict=True)) for found in rows if found[0] == row)


def bold(text: str) -> list[str]:
    return re.findall(r"<strong_open>(.*?)<strong_close>", text)


def test_what_differs_comes_first_and_the_largest_difference_before_the_others() -> None:
    seen = read(SAME, CHEAP, DEAR)
    assert [heading for heading in seen.headings if ": " in heading] == [DIFFER, ALIKE]
    assert names(seen, DIFFER) == ["x=dear", "x=cheap"]
    assert names(seen, ALIKE) == ["x=same"]
    row = cells(seen, DIFFER, "x=cheap")
    assert bold(row["J per output token"]) == ["−20.0%"]
    assert bold(row["Output tokens/s"]) == ["+25.0%"]
    assert row["J per output token"].startswith("4.8 J/token (")
    assert row["Control has"] == "withheld"
    assert not bold(" ".join(cells(seen, ALIKE, "x=same").values()))


def test_a_difference_that_is_beyond_its_own_interval_alone_is_told_apart_from_a_claim() -> None:
    """With three rounds an interval for twelve comparisons is four times as wide as one for itself."""
    seen = read(MAYBE, SAME, measured("x=same too", energy()))
    row = cells(seen, DIFFER, "x=maybe")
    assert bold(row["J per output token"]) == ["+100%"]
    assert not bold(row["Output tokens/s"])
    seen = read(measured("x=slow", energy(Missing(NO_METER), 0.97, wobble=0.01)), SAME)
    assert names(seen, MAY) == ["x=slow"]
    assert not bold(" ".join(cells(seen, MAY, "x=slow").values()))


@pytest.mark.parametrize(("record", "word"), [(UNSURE, "uncertain"), (SHORT, "indicative")])
def test_joules_that_are_not_believed_are_in_italics_with_the_reason(record: MeasuredRecord, word: str) -> None:
    seen = read(record)
    assert names(seen, DIFFER) == []
    row = cells(seen, ALIKE, record.row)
    assert f"<em_open>{word}<em_close>" in row["J per output token"]
    assert "<em_open>−80.0%<em_close>" in row["J per output token"]
    assert record.energy.notes[0].text in row["Notes"]


def test_of_a_contaminated_measurement_nothing_is_claimed_not_even_speed() -> None:
    seen = read(HOT, SAME)
    row = cells(seen, UNCLAIMED, "x=hot")
    assert not bold(" ".join(row.values()))
    assert "clocks were held down: power brake" in row["Notes"]
    assert row["Notes"].count("power brake") == 1
    assert "1 contaminated" in " ".join(seen.items)


@pytest.mark.parametrize("cause", [Cause.WRONG_OUTPUT, Cause.IGNORED, Cause.NO_EFFECT, Cause.FLAKY])
def test_what_does_not_work_saves_nothing(cause: Cause) -> None:
    seen = read(CHEAP, verdicts={CHEAP.cell: cell_record("r", "x=cheap", cause)})
    row = cells(seen, UNCLAIMED, "x=cheap")
    assert row["Notes"].startswith(f"{cause.outcome.symbol} {cause.value}: because")
    assert not bold(" ".join(row.values()))


def test_what_nobody_has_judged_saves_nothing() -> None:
    seen = Page(page.render(file(CHEAP), Results(), TEMPLATES)[page.PAGE])
    assert "nobody has judged" in cells(seen, UNCLAIMED, "x=cheap")["Notes"]


def test_without_joules_there_is_no_column_for_them_and_the_reason_stands_there_once() -> None:
    rows = [measured(f"x={speed}", energy(Missing(NO_METER), speed)) for speed in (0.5, 1.0, 2.0)]
    text = render(*rows)[page.PAGE]
    seen = Page(text)
    assert seen.tables[DIFFER][0] == ["Value", "Control has", "Output tokens/s", "Peak host memory", "Notes"]
    assert text.count(NO_METER) == 1
    assert f"J per output token, of 3 values: {NO_METER}" in seen.items
    assert "J/token" not in text
    assert names(seen, DIFFER) == ["x=0.5", "x=2.0"]


def test_one_row_without_joules_has_a_dash_and_no_zero() -> None:
    seen = read(CHEAP, measured("x=lost", energy(Missing("the device was lost"))))
    assert cells(seen, ALIKE, "x=lost")["J per output token"] == "–"
    assert "J per output token, of 1 value: the device was lost" in seen.items


def test_one_round_tells_no_difference() -> None:
    seen = read(measured("x=once", energy(600.0, 3.0, rounds=1)))
    row = cells(seen, UNCLAIMED, "x=once")
    assert row["Notes"] == "no difference to the control was had"
    assert "one round" in row["J per output token"]


def test_a_figure_that_is_the_same_in_every_round_has_no_interval_and_claims_nothing() -> None:
    """Of peak memory nothing is claimed at all: it is of one engine that is kept, whatever the rounds say."""
    seen = read(SAME)
    assert cells(seen, ALIKE, "x=same")["Peak host memory"] == "1 GiB (±0%)"
    head = render(measured("x=1", energy(Missing(NO_METER), 2.0, wobble=0.0)))[page.PAGE]
    assert "no difference to the control was had" in cells(Page(head), UNCLAIMED, "x=1")["Notes"]


def test_what_was_asked_for_and_not_measured_is_named() -> None:
    costs = file(SAME, also=[planned("x=missing")])
    assert "Asked for, and not measured: `x=missing`." in render(SAME, costs=costs)[page.PAGE]


def test_the_page_says_how_it_was_measured() -> None:
    seen = read(SAME)
    for fact in (
        "Metered: Simulated GPU (GPU board, driver 580.00, MIG disabled)",
        "Joules by counter",
        "Period of the energy counter, measured: 100 ms",
        "Idle power with the model loaded: 80 W",
        "Quality of the joules: 1 measured",
    ):
        assert fact in seen.items
    assert any("3 rounds" in item and "idle baseline 10 s" in item for item in seen.items)


def test_where_values_were_judged_is_told_where_it_is_not_where_they_were_measured() -> None:
    assert "was seen elsewhere" not in render(CHEAP, SAME)[page.PAGE]
    other = BackendInfo(model="org/large", model_hash=None, cpu="another", cpus=64, packages={"torch": "9.9"})
    judged = passed(SAME)
    judged.add(run_record("r2", planned("x=cheap"), narrowed=True, backends={"pytorch": other}))
    judged.add(cell_record("r2", "x=cheap"))
    seen = Page(page.render(file(CHEAP, SAME), judged, TEMPLATES)[page.PAGE])
    told = "Whether 1 value works was seen elsewhere: with the model org/large on CPU (another, 64 cores), torch 9.9"
    assert told in seen.items


def test_without_a_single_measurement_the_page_says_so() -> None:
    found = page.render(Measurements(), Results(), TEMPLATES)
    assert "Nothing was measured." in found[page.PAGE]
    assert "never" in found[page.PAGE]
    assert "Nothing was measured." in found["energy.svg"]
    assert "energy-trace.svg" not in found


RECORDS = [CHEAP, DEAR, SAME, HOT, UNSURE]


@settings(deadline=None, max_examples=20)
@given(st.permutations(RECORDS))
def test_equal_measurements_give_equal_bytes_whatever_their_order(records: list[MeasuredRecord]) -> None:
    assert render(*records) == render(*RECORDS)


EVIL = "x=a | b`c` <script>&\"' \x1b ]]> {{ 7 * 7 }}"


def test_text_from_anywhere_breaks_neither_the_tables_nor_the_pictures() -> None:
    record = measured(EVIL, energy(2400.0), contrast="<b>|", trace=[(0.0, 80.0), (5.0, 300.0)])
    found = render(record)
    seen = Page(found[page.PAGE])
    assert not [html for html in seen.html if html not in {"<code>", "</code>"}]
    for rows in seen.tables.values():
        assert {len(row) for row in rows} == {len(rows[0])}
    for name in ("energy.svg", "energy-trace.svg"):
        root = ET.fromstring(found[name])  # noqa: S314 - our own
        assert not root.findall(f".//{SVG}script")
        assert any("<script>" in "".join(item.itertext()) for item in root.iter(f"{SVG}text"))


# Pictures --------------------------------------------------------------------------------------------------------


def drawn(picture: str) -> list[tuple[str, float, str]]:
    """Kind, place and number of every point."""
    points = []
    for group in ET.fromstring(picture).iter(f"{SVG}g"):  # noqa: S314 - our own
        circle, number = group.find(f"{SVG}circle"), group.find(f"{SVG}text")
        if circle is not None and number is not None:
            points.append((circle.attrib["class"], float(circle.attrib["cx"]), number.text or ""))
    return points


def test_a_point_stands_on_the_side_of_its_difference_and_shows_what_it_means() -> None:
    picture = render(CHEAP, DEAR, SAME, HOT, UNSURE)["energy.svg"]
    points = drawn(picture)
    assert [(kind, number) for kind, _, number in points] == [
        *[("worse", "+50.0%"), ("worse", "−10.0%"), ("better", "−20.0%"), ("better", "+25.0%")],
        *[("alike", "±0%"), ("alike", "±0%")],
        *[("unclaimed", "−80.0%"), ("alike", "±0%")],
    ]
    zero = points[4][1]
    assert points[0][1] > zero > points[2][1]
    assert "x=hot" not in picture
    assert "1 value of which nothing is claimed: not drawn" in picture


def test_no_two_texts_of_a_long_picture_overlap() -> None:
    rows = [
        measured(f"some.quite_long_parameter.name_{i}=value", energy(3000.0 * 1.02**i, 1.01**i)) for i in range(120)
    ]
    root = ET.fromstring(render(*rows)["energy.svg"])  # noqa: S314 - our own
    height = float(root.attrib["height"])
    boxes = []
    for text in root.iter(f"{SVG}text"):
        kind = text.attrib.get("class", "").split()
        x, y = float(text.attrib["x"]), float(text.attrib["y"])
        size = 15 if "head" in kind else 13 if "title" in kind else 11
        width = (0.61 if "name" in kind else 0.56) * size * len(text.text or "")
        left = x - (width if "end" in kind else width / 2 if "middle" in kind else 0)
        assert left >= 0, text.text
        assert left + width <= 1040, text.text
        assert y <= height
        boxes.append((left, y - 0.8 * size, left + width, y, text.text))
    boxes.sort(key=lambda box: box[1])
    for index, one in enumerate(boxes):
        for other in boxes[index + 1 :]:
            if other[1] >= one[3]:
                break
            assert other[0] >= one[2] or one[0] >= other[2], (one, other)


def test_the_trace_marks_the_windows_and_leaves_a_gap_where_nothing_was_read() -> None:
    steps = [(i / 10, 80.0 if i < 120 else 300.0) for i in range(340) if not 200 < i < 230]
    root = ET.fromstring(render(measured("x=1", energy(), trace=steps))["energy-trace.svg"])  # noqa: S314 - our own
    marked = [rect.attrib["class"] for rect in root.iter(f"{SVG}rect") if rect.find(f"{SVG}title") is not None]
    assert marked == ["idle", "treated", "control"]
    assert len(root.findall(f".//{SVG}polyline")) == 2
    assert "x=1" in "".join(root.itertext())


# Where it comes from ---------------------------------------------------------------------------------------------


def test_the_pages_of_a_folder_are_those_of_its_measurements(tmp_path: Path) -> None:
    results = tmp_path / "results.jsonl"
    assert pages.measurements(results) is None
    costs = file(CHEAP)
    lines: list[RunRecord | MeasuredRecord] = [*costs.runs.values(), *costs.cells.values()]
    (tmp_path / "energy.jsonl").write_bytes(b"".join(dump(line) for line in lines))
    found = pages.measurements(results)
    assert found is not None
    written = pages.write(matrix(), passed(CHEAP), Claims(), TEMPLATES, tmp_path, costs=found)
    assert {path.name for path in written} >= {"energy.md", "energy.svg"}
    assert names(Page((tmp_path / "energy.md").read_text()), DIFFER) == ["x=cheap"]
    assert pages.read(tmp_path).keys() == {path.name for path in written}


def test_measurements_that_cannot_be_read_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "results.jsonl").write_bytes(b"".join(dump(run) for run in passed(CHEAP).runs.values()))
    (tmp_path / "energy.jsonl").write_text("{}\n")
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr("sys.argv", ["paramatrix", "report", "--results", str(tmp_path / "results.jsonl")])
    with pytest.raises(SystemExit):
        cli.main()
    said = capsys.readouterr().err
    assert said.startswith(f"paramatrix: {tmp_path / 'energy.jsonl'}:1: ")
    assert said.count("\n") == 1
