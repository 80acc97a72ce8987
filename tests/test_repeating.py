"""A cell that is judged several times: what becomes of it, and of the order in which cells come."""

from __future__ import annotations

import re
from itertools import count
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import repeating
from harness.records import CellRecord, RunRecord
from harness.store import StoreError, Writer, dump, read
from harness.verdict import Cause, Outcome
from tests import projects
from tests.toys import cell_record, planned, run_record

ROW = "decoder.top_k=1"


def write(file: Path, *lines: RunRecord | CellRecord) -> None:
    file.write_bytes(b"".join(dump(line) for line in lines))


def repeats(*causes: Cause) -> list[CellRecord]:
    return [cell_record(f"run-{index}", ROW, cause) for index, cause in enumerate(causes)]


@given(st.lists(st.sampled_from(Cause), min_size=1, max_size=5))
def test_repeats_become_one_verdict_with_every_outcome_kept(causes: list[Cause]) -> None:
    folded = repeating.fold(repeats(*causes))
    assert [repeat.cause for repeat in folded.repeats] == causes
    assert folded.timing.wall_s == pytest.approx(0.3 * len(causes))
    if len(set(causes)) == 1:
        assert folded.cause is causes[0]
    elif Cause.HARNESS_ERROR in causes:
        assert folded.cause is Cause.HARNESS_ERROR
    else:
        assert folded.cause is Cause.FLAKY
        assert all(cause in folded.reason for cause in set(causes)) or folded.reason.endswith("…")
        assert folded.evidence.level is None


def test_a_pass_with_a_repeat_that_did_not_pass_is_no_valid_record() -> None:
    folded = repeating.fold(repeats(Cause.CONFIRMED, Cause.IGNORED)).model_dump()
    proof = cell_record("run-0", ROW).evidence.model_dump()
    with pytest.raises(ValueError, match="a pass needs repeats that all pass, one is ignored"):
        CellRecord.model_validate({**folded, "verdict": "pass", "cause": "confirmed", "evidence": proof})


def test_repeats_of_different_cells_are_refused() -> None:
    with pytest.raises(ValueError, match="expected repeats of one cell"):
        repeating.fold([cell_record("a", ROW), cell_record("a", "decoder.top_k=5")])


def test_an_interrupted_pass_leaves_what_was_judged_until_then(tmp_path: Path) -> None:
    rows = (ROW, "decoder.top_k=5")
    codes = iter([0, 2, 0])

    def once(file: Path) -> int:
        code = next(codes)
        write(
            file,
            run_record(f"run-{code}", *map(planned, rows)),
            *(cell_record(f"run-{code}", row) for row in rows[: 1 if code else 2]),
        )
        return code

    target = tmp_path / "results.jsonl"
    assert repeating.measure(once, target, 3) == 2
    found = {record.row: [repeat.run for repeat in record.repeats] for record in read(target).measured}
    assert found == {ROW: ["run-0", "run-2"], "decoder.top_k=5": ["run-0"]}
    assert [path.name for path in tmp_path.iterdir()] == ["results.jsonl"]


def test_a_pass_on_nodes_that_differ_is_kept_with_the_header_of_each(tmp_path: Path) -> None:
    """As of a cluster: the header of the other node plans nothing."""
    rows = (ROW, "decoder.top_k=5")
    numbers = count(1)

    def once(file: Path) -> int:
        run = f"run-{next(numbers)}"
        other = run_record(f"{run}-2", narrowed=True)
        write(
            file,
            run_record(run, *map(planned, rows)),
            other,
            cell_record(run, rows[0]),
            cell_record(other.run, rows[1]),
        )
        return 0

    target = tmp_path / "results.jsonl"
    assert repeating.measure(once, target, 2) == 0
    found = read(target)
    assert {record.row: record.run for record in found.measured} == {rows[0]: "run-2", rows[1]: "run-2-2"}
    assert list(found.runs) == ["run-2", "run-2-2"]


def test_inputs_that_changed_between_two_passes_make_a_cell_stale(tmp_path: Path) -> None:
    marks = iter(["0" * 16, "1" * 16])

    def once(file: Path) -> int:
        mark = next(marks)
        header = run_record(mark, planned(ROW), fingerprints={f"pytorch-{ROW}": mark})
        write(file, header, cell_record(mark, ROW, fingerprint=mark))
        return 0

    target = tmp_path / "results.jsonl"
    repeating.measure(once, target, 2)
    assert read(target).stale == {f"pytorch-{ROW}"}


def test_nobody_else_writes_the_results_while_passes_are_made(tmp_path: Path) -> None:
    """Two that repeat in one folder would delete each other's passes."""
    target = tmp_path / "results.jsonl"

    def once(file: Path) -> int:
        with pytest.raises(StoreError, match="another run is writing it"):
            Writer(target)
        with pytest.raises(StoreError, match="another run is writing it"):
            repeating.measure(lambda _: 0, target, 2)
        write(file, run_record("run", planned(ROW)), cell_record("run", ROW))
        return 0

    assert repeating.measure(once, target, 2) == 0
    assert len(read(target).cells) == 1


def test_passes_of_which_the_last_one_met_a_full_disk_are_kept(tmp_path: Path) -> None:
    codes = iter([0, 3])

    def once(file: Path) -> int:
        code = next(codes)
        write(file, run_record(f"run-{code}", planned(ROW)), cell_record(f"run-{code}", ROW))
        if code:
            file.write_bytes(file.read_bytes()[:-100])
        return code

    target = tmp_path / "results.jsonl"
    assert repeating.measure(once, target, 2) == 3
    (record,) = read(target).measured
    assert [repeat.run for repeat in record.repeats] == ["run-0"]


def test_what_passes_that_were_killed_have_left_goes_and_nothing_comes_of_passes_that_judged_nothing(
    tmp_path: Path,
) -> None:
    left, mine = tmp_path / "results.repeat-7.jsonl", tmp_path / "results.repeat-mine.jsonl"
    left.touch()
    mine.touch()
    assert repeating.measure(lambda _: 5, tmp_path / "results.jsonl", 2) == 5
    assert list(tmp_path.iterdir()) == [mine]


def test_a_cell_that_is_told_differently_by_three_passes_is_flaky_on_the_page(tmp_path: Path) -> None:
    folder = projects.make(tmp_path / "project", matrix="declared_toy.MOODY")
    done = projects.paramatrix(folder, "run", "--backends", "pytorch", "--repeat", "3", TOY_FOLDER=str(tmp_path))
    assert done.returncode == 0, done.stderr
    found = projects.results(folder)
    (header,) = found.runs.values()
    records = {record.row: record for record in found.measured}
    assert {record.run for record in records.values()} == {header.run}
    moody = records["passthrough_kwargs=moody"]
    assert (moody.verdict, moody.cause) == (Outcome.UNCERTAIN, Cause.FLAKY)
    assert [repeat.cause for repeat in moody.repeats] == [Cause.REJECTED, Cause.CONFIRMED, Cause.CONFIRMED]
    assert len({repeat.run for repeat in moody.repeats}) == 3
    steady = records["decoder.top_k=1"]
    assert (steady.cause, [repeat.cause for repeat in steady.repeats]) == (Cause.CONFIRMED, [Cause.CONFIRMED] * 3)
    # the last pass had an engine of its own, started for whichever cell came first
    assert any(attempt.new_engine for record in records.values() for attempt in record.attempts)
    page = (folder / "reports" / "parameter-support-matrix.md").read_text()
    assert "3 repeats disagree: confirmed 2 times" in page


def ran(out: str) -> list[str]:
    """Cells in the order in which their lines came."""
    return [found for line in out.splitlines() if (found := "".join(re.findall(r"pytorch-[\w.]+=\w+", line)[:1]))]


def test_cells_come_in_the_order_of_a_seed(tmp_path: Path) -> None:
    folder = projects.make(tmp_path / "project")
    first, again, other = (
        ran(projects.paramatrix(folder, "run", "--backends", "pytorch", "--fresh", "--order", f"random:{seed}").stdout)
        for seed in (1, 1, 2)
    )
    assert first == again
    assert sorted(first) == sorted(other)
    assert first != other


def test_an_order_that_nobody_knows_is_refused(tmp_path: Path) -> None:
    folder = projects.make(tmp_path / "project")
    done = projects.paramatrix(folder, "run", "--backends", "pytorch", "--order", "alphabetical")
    assert done.returncode != 0
    assert "--matrix-order=alphabetical: expected page, random or random:SEED" in done.stdout + done.stderr
