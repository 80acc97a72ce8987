"""Results of several machines as one file: nothing lost, nothing decided, the same bytes each time."""

from __future__ import annotations

import json
from itertools import permutations
from pathlib import Path

import pytest

from harness.merge import MergeError, merge
from harness.records import CellRecord, RunRecord
from harness.store import StoreError, Writer, dump, read
from harness.verdict import Cause
from tests import projects
from tests.projects import paramatrix
from tests.toys import cell_record, planned, run_record

Lines = list[RunRecord | CellRecord]


def column(run: str, backend: str, *rows: str, cause: Cause = Cause.CONFIRMED, **more: object) -> Lines:
    """A run of one backend: its header and its cells."""
    header = run_record(run, *(planned(row, backend) for row in rows), **more)  # type: ignore[arg-type]
    return [header, *(cell_record(run, row, cause, backend=backend) for row in rows)]


def write(path: Path, *lines: RunRecord | CellRecord) -> Path:
    path.write_bytes(b"".join(dump(line) for line in lines))
    return path


@pytest.fixture
def sources(tmp_path: Path) -> list[Path]:
    return [
        write(tmp_path / "p.jsonl", *column("b", "pytorch", "x=1", "x=2", started="2026-01-02T00:00:00Z")),
        write(tmp_path / "v.jsonl", *column("a", "vllm", "x=1", cause=Cause.IGNORED)),
        write(tmp_path / "w.jsonl", *column("c", "vllm", "y=1", "y=2", started="2026-01-03T00:00:00Z", narrowed=True)),
    ]


def merged(target: Path, *sources: Path) -> bytes:
    merge(target, {source: read(source) for source in sources})
    return target.read_bytes()


def test_every_cell_and_run_is_kept_and_the_order_does_not_matter(tmp_path: Path, sources: list[Path]) -> None:
    found = {merged(tmp_path / f"{number}.jsonl", *order) for number, order in enumerate(permutations(sources))}
    assert len(found) == 1
    results = read(tmp_path / "0.jsonl")
    assert list(results.runs) == ["a", "b", "c"], "in the order of time"
    assert set(results.cells) == {"pytorch-x=1", "pytorch-x=2", "vllm-x=1", "vllm-y=1", "vllm-y=2"}
    assert results.unmeasured == []
    assert results.cells["vllm-x=1"].cause is Cause.IGNORED


def test_merging_again_changes_nothing(tmp_path: Path, sources: list[Path]) -> None:
    once = merged(tmp_path / "out.jsonl", *sources)
    assert merged(tmp_path / "out.jsonl", *sources) == once
    assert merged(tmp_path / "out.jsonl", *sources, sources[0], tmp_path / "out.jsonl") == once
    assert merged(tmp_path / "more" / "out.jsonl", tmp_path / "out.jsonl") == once


def test_a_record_that_two_files_write_in_different_ways_is_one_and_the_order_does_not_matter(
    tmp_path: Path, sources: list[Path]
) -> None:
    spaced = tmp_path / "spaced.jsonl"
    spaced.write_text("".join(json.dumps(json.loads(line)) + "\n" for line in sources[0].read_text().splitlines()))
    found = {
        merged(tmp_path / f"{number}.jsonl", *order) for number, order in enumerate(permutations([*sources, spaced]))
    }
    assert len(found) == 1
    assert read(tmp_path / "0.jsonl").cells == {
        name: cell for source in sources for name, cell in read(source).cells.items()
    }


def test_a_cell_measured_twice_is_nobody_s_to_decide(tmp_path: Path, sources: list[Path]) -> None:
    other = write(tmp_path / "other.jsonl", *column("d", "vllm", "y=2", narrowed=True, cause=Cause.CRASHED))
    with pytest.raises(MergeError) as caught:
        merged(tmp_path / "out.jsonl", *sources, other)
    assert str(caught.value) == (
        f"vllm-y=2 is confirmed in {sources[2]} (run c) and crashed in {other} (run d): "
        "expected each cell in one of the files. Leave one of them out"
    )
    assert not (tmp_path / "out.jsonl").exists()


def test_one_run_with_two_headers_was_edited(tmp_path: Path, sources: list[Path]) -> None:
    other = write(tmp_path / "other.jsonl", *column("a", "vllm", "z=1"))
    with pytest.raises(MergeError, match=r"run a has one header in .*v\.jsonl and another in .*other\.jsonl"):
        merged(tmp_path / "out.jsonl", *sources, other)


def test_a_clock_that_was_set_back_makes_no_later_run_an_earlier_one(tmp_path: Path) -> None:
    """Or what the later one found to be stale would be taken for what its inputs say today."""
    cells = ("pytorch-x=1", "pytorch-x=2")
    first = run_record(
        "a", planned("x=1"), planned("x=2"), started="2026-01-02T00:00:00Z", fingerprints=dict.fromkeys(cells, "0" * 16)
    )
    second = run_record("b", planned("x=1"), narrowed=True, fingerprints=dict.fromkeys(cells, "1" * 16))
    known = [cell_record("b", "x=1", fingerprint="1" * 16), cell_record("a", "x=2", fingerprint="0" * 16)]
    source = write(tmp_path / "r.jsonl", first, second, *known)
    other = write(tmp_path / "v.jsonl", *column("c", "vllm", "x=1", started="2026-01-01T12:00:00Z"))
    assert second.started < first.started
    assert read(source).stale == {"pytorch-x=2"}
    once = merged(tmp_path / "all.jsonl", source, other)
    assert read(tmp_path / "all.jsonl").stale == {"pytorch-x=2"}
    assert merged(tmp_path / "again.jsonl", other, tmp_path / "all.jsonl", source) == once


def test_a_file_that_a_run_is_writing_is_not_replaced(tmp_path: Path, sources: list[Path]) -> None:
    """The run would go on writing into what nobody finds any more, and end well."""
    target = write(tmp_path / "all.jsonl")
    writer = Writer(target)
    with pytest.raises(StoreError, match="another run is writing it"):
        merged(target, *sources)
    for line in column("d", "pytorch", "z=1"):
        writer.append(line)
    writer.close()
    assert list(read(target).cells) == ["pytorch-z=1"]


def test_a_cell_that_a_later_run_of_the_column_no_longer_plans_is_not_dropped_in_silence(tmp_path: Path) -> None:
    old = write(tmp_path / "old.jsonl", *column("a", "vllm", "x=1", "x=2"))
    new = write(tmp_path / "new.jsonl", *column("b", "vllm", "x=3", started="2026-01-02T00:00:00Z"))
    with pytest.raises(MergeError, match=r"vllm-x=1 is planned by one run and no more by a later .* and so are 1 othe"):
        merged(tmp_path / "out.jsonl", old, new)


def test_results_that_stand_in_the_way_are_not_overwritten(tmp_path: Path, sources: list[Path]) -> None:
    target = write(tmp_path / "out.jsonl", *column("z", "pytorch", "z=1"))
    before = target.read_bytes()
    with pytest.raises(MergeError, match=r"out\.jsonl holds 1 cells that none of the sources has, pytorch-z=1 first"):
        merged(target, *sources)
    assert target.read_bytes() == before


def test_a_place_that_cannot_be_written_is_named(sources: list[Path]) -> None:
    with pytest.raises(StoreError, match=r"p\.jsonl/out\.jsonl: cannot be"):
        merged(sources[0] / "out.jsonl", *sources)


def test_the_command_writes_the_file_and_says_what_it_holds(tmp_path: Path, sources: list[Path]) -> None:
    folder = projects.make(tmp_path / "project")
    done = paramatrix(folder, "merge", *map(str, sources), "--out", "out.jsonl")
    assert (done.returncode, done.stdout) == (0, "out.jsonl: 5 cells of 3 runs\n")
    (tmp_path / "nothing.jsonl").touch()
    done = paramatrix(folder, "merge", str(sources[0]), str(tmp_path / "nothing.jsonl"), "--out", "other.jsonl")
    assert done.returncode == 2
    assert "nothing.jsonl holds no run" in done.stderr
    done = paramatrix(folder, "merge", str(sources[0]), "nobody.jsonl", "--out", "other.jsonl")
    assert done.returncode == 2
    assert (
        done.stderr
        == "paramatrix: nobody.jsonl: no such results file. Run `make matrix` first, or name one with --results.\n"
    )
