"""The results file: nothing written is lost, nothing wrong is read."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import resource
import signal
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from harness import records, store
from harness.fingerprint.reusable import reusable
from harness.records import CellRecord, RunRecord
from harness.store import Results, StoreError, Writer, compact, dump, read, repair, replace
from harness.verdict import Cause
from tests.toys import cell_record, planned, run_record

ROOT = Path(__file__).resolve().parent.parent
Record = RunRecord | CellRecord


def write(path: Path, *lines: Record) -> Path:
    path.write_bytes(b"".join(dump(record) for record in lines))
    return path


A = run_record("a", planned("x=1"), planned("x=2"))
X1, X2 = cell_record("a", "x=1"), cell_record("a", "x=2", Cause.IGNORED)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "results.jsonl"


def test_what_was_written_is_read(path: Path) -> None:
    writer = Writer(path)
    for record in (A, X1, X2):
        writer.append(record)
    assert read(path).cells == {X1.cell: X1, X2.cell: X2}, "each line is there before the next"
    writer.close()
    found = read(path)
    assert (found.runs, dict(found.cells)) == ({"a": A}, {X1.cell: X1, X2.cell: X2})
    assert found.unmeasured == []


@given(st.text(), st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists, max_leaves=3))
def test_any_text_and_any_value_survive_a_line(text: str, value: Any) -> None:
    reason = " ".join(text.split())
    record = cell_record("a", "x=1", reason=reason, value=value, note=text)
    line = dump(record)
    assert line.count(b"\n") == 1
    assert records.LINE.validate_json(line) == record


def test_a_missing_file_says_how_to_make_one(path: Path) -> None:
    with pytest.raises(StoreError, match=r"results\.jsonl: no such results file\. Run `make matrix` first"):
        read(path)


@pytest.mark.parametrize("kept", [0, 1, 20, -1])
def test_a_torn_last_line_is_refused_and_named(path: Path, kept: int) -> None:
    line = dump(X1)
    path.write_bytes(dump(A) + (line[:kept] if kept else line[:-1]))
    with pytest.raises(StoreError, match=r"results\.jsonl:2: the last line is torn .* `paramatrix repair`"):
        read(path)


def test_repair_sets_a_torn_line_aside_and_keeps_the_rest(path: Path) -> None:
    torn = dump(X2)[:30]
    path.write_bytes(dump(A) + dump(X1) + torn)
    aside = repair(path)
    assert aside is not None
    assert aside.read_bytes() == torn + b"\n"
    assert read(path).cells == {X1.cell: X1}
    assert repair(path) is None


def test_repairing_twice_keeps_what_was_set_aside_before(path: Path) -> None:
    for torn in (b'{"one', b'{"two'):
        path.write_bytes(dump(A) + torn)
        aside = repair(path)
    assert aside is not None
    assert aside.read_bytes() == b'{"one\n{"two\n'


def test_a_last_line_too_deep_to_be_read_is_set_aside_as_well(path: Path) -> None:
    path.write_bytes(dump(A) + b"[" * 100_000 + b"\n")
    aside = repair(path)
    assert aside is not None
    assert aside.read_bytes() == b"[" * 100_000 + b"\n"
    assert path.read_bytes() == dump(A)


def test_repair_takes_no_line_from_a_file_that_holds_no_results(path: Path) -> None:
    path.write_text("[tool.paramatrix]\ndeclarations = 'matrix'\n")
    before = path.read_bytes()
    for change in (repair, store.mend):
        with pytest.raises(StoreError, match=r"results\.jsonl:1: not a results line, so its last line is left alone"):
            change(path)
    assert path.read_bytes() == before


def test_repair_of_a_file_that_is_one_torn_line_leaves_an_empty_file(path: Path) -> None:
    path.write_bytes(b'{"record":"run"')
    repair(path)
    assert path.read_bytes() == b""
    assert read(path).runs == {}


@pytest.mark.parametrize(
    "line",
    [
        b"not json",
        b"[]",
        b"{}",
        b'{"record":"other"}',
        b"\xff\xfe",
        dump(X1).replace(b'"cause":"confirmed"', b'"cause":"ignored"').strip(),
        dump(X1).replace(b'"cause":"confirmed"', b'"cause":"surprise"').strip(),
        dump(X1).replace(b'"reason":"because"', b'"reason":"two\\nlines"').strip(),
        dump(X1).replace(b'"run":"a"', b'"run":"a","more":1').strip(),
        dump(A).replace(b'"format":1', b'"format":0').strip(),
        b"[" * 100_000,
    ],
)
def test_a_line_that_is_not_a_record_names_file_and_line(path: Path, line: bytes) -> None:
    path.write_bytes(dump(A) + line + b"\n" + dump(X2))
    with pytest.raises(StoreError) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path}:2: not a results line (")
    assert len(str(caught.value).splitlines()) == 1


def test_a_file_of_a_newer_format_is_not_called_broken(path: Path) -> None:
    path.write_bytes(dump(A).replace(b'"format":1', b'"format":2'))
    with pytest.raises(StoreError, match=r":1: written by a newer paramatrix: format 2, and this one reads up to 1\."):
        read(path)


@pytest.mark.parametrize(
    ("number", "mend"),
    [
        (errno.ENOSPC, "Make room for it and run again."),
        (errno.EROFS, "Make the folder writable."),
        (errno.EIO, "Mend that and run again."),
    ],
)
def test_what_is_said_to_do_is_of_what_went_wrong(
    path: Path, monkeypatch: pytest.MonkeyPatch, number: int, mend: str
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(StoreError) as caught:
        replace(path, b"data")
    assert str(caught.value) == f"{path}: cannot be written: {os.strerror(number)}. {mend}"
    assert list(path.parent.iterdir()) == []


def test_a_cell_without_its_run_is_refused(path: Path) -> None:
    write(path, X1, A)
    with pytest.raises(StoreError, match=r"results\.jsonl:1: cell pytorch-x=1 refers to run a, which no line before"):
        read(path)


def test_a_cell_of_a_backend_that_its_run_does_not_describe_is_refused(path: Path) -> None:
    write(path, A, cell_record("a", "x=1", backend="vllm"))
    with pytest.raises(
        StoreError, match=r"results\.jsonl:2: cell vllm-x=1 is of backend vllm, which its run a does not"
    ):
        read(path)


def test_empty_lines_are_no_matter(path: Path) -> None:
    path.write_bytes(b"\n" + dump(A) + b"\n\n" + dump(X1))
    assert list(read(path).cells) == [X1.cell]


def test_a_narrowed_run_replaces_its_cells_and_keeps_the_others_with_their_own_provenance(path: Path) -> None:
    b = run_record("b", planned("x=1"), started="2026-01-02T00:00:00Z", narrowed=True)
    again = cell_record("b", "x=1", Cause.FLAKY)
    write(path, A, X1, X2, b, again)
    for _ in range(2):
        found = read(path)
        assert found.cells == {again.cell: again, X2.cell: X2}
        assert set(found.planned) == {again.cell, X2.cell}
        assert found.runs[found.cells[X2.cell].run] == A
        compact(path)
    assert path.read_bytes().count(b"\n") == 4


def test_a_whole_run_drops_rows_it_no_longer_plans_of_its_own_backends_only(path: Path) -> None:
    other = run_record("v", planned("x=1", "vllm"))
    v1 = cell_record("v", "x=1", backend="vllm")
    b = run_record("b", planned("x=1"), planned("x=3"), started="2026-01-02T00:00:00Z")
    again = cell_record("b", "x=1", Cause.FLAKY)
    write(path, A, X1, X2, other, v1, b, again)
    for _ in range(2):
        found = read(path)
        assert set(found.planned) == {"pytorch-x=1", "vllm-x=1", "pytorch-x=3"}
        assert found.cells == {again.cell: again, v1.cell: v1}
        assert [plan.cell for plan in found.unmeasured] == ["pytorch-x=3"]
        compact(path)


def test_an_interrupted_run_shows_what_it_did_not_measure(path: Path) -> None:
    write(path, A, X1)
    assert [plan.cell for plan in read(path).unmeasured] == ["pytorch-x=2"]


def test_what_an_interrupted_run_did_not_measure_is_not_forgotten_by_a_narrowed_one(path: Path) -> None:
    b = run_record("b", planned("x=1"), started="2026-01-02T00:00:00Z", narrowed=True)
    write(path, A, X1, b, cell_record("b", "x=1"))
    compact(path)
    assert [plan.cell for plan in read(path).unmeasured] == ["pytorch-x=2"]


def test_an_interrupted_whole_run_does_not_lose_what_was_measured_before(path: Path) -> None:
    first = run_record("a", planned("x=1"), narrowed=True)
    whole = run_record("b", planned("x=1"), planned("x=2"), started="2026-01-02T00:00:00Z")
    write(path, first, X1, whole, cell_record("b", "x=2"))
    compact(path)
    compact(path)
    assert set(read(path).cells) == {"pytorch-x=1", "pytorch-x=2"}


def test_runs_that_nothing_refers_to_are_forgotten(path: Path) -> None:
    b = run_record("b", planned("x=1"), planned("x=2"), started="2026-01-02T00:00:00Z")
    write(path, A, X1, X2, b, cell_record("b", "x=1"), cell_record("b", "x=2"))
    compact(path)
    assert list(read(path).runs) == ["b"]


@st.composite
def histories(draw: st.DrawFn) -> list[Record]:
    """Runs, whole or narrowed, finished or not, of two backends; some in the same second, some with a wrong clock."""
    lines: list[Record] = []
    for number in range(draw(st.integers(0, 6))):
        name = f"run{number}"
        rows = draw(st.lists(st.sampled_from(["x=1", "x=2", "x=3", "y=1"]), min_size=1, unique=True))
        backends = draw(st.sampled_from([["pytorch"], ["vllm"], ["pytorch", "vllm"]]))
        section = draw(st.sampled_from(["Core", "Decoder"]))
        plans = [planned(row, backend, section) for backend in backends for row in rows]
        started = f"2026-01-0{draw(st.integers(1, 3))}T00:00:00Z"
        lines.append(run_record(name, *plans, started=started, narrowed=draw(st.booleans())))
        for plan in plans:
            if draw(st.booleans()):
                cause = draw(st.sampled_from([Cause.CONFIRMED, Cause.IGNORED, Cause.FLAKY]))
                lines.append(cell_record(name, plan.row, cause, backend=plan.backend, section=section))
    return lines


def meaning(results: Results) -> dict[str, Any]:
    return {
        "cells": results.cells,
        "planned": results.planned,
        "unmeasured": {plan.cell for plan in results.unmeasured},
        "latest": results.latest,
        "runs of cells": {cell.run: results.runs[cell.run] for cell in results.cells.values()},
    }


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200, deadline=None)
@given(histories(), histories())
def test_compaction_changes_nothing_that_is_read(path: Path, before: list[Record], after: list[Record]) -> None:
    write(path, *before)
    expected = meaning(read(path))
    compact(path)
    assert meaning(read(path)) == expected
    once = path.read_bytes()
    compact(path)
    assert path.read_bytes() == once, "a second time it finds nothing to do"
    # nor does it change what later runs do to it
    later = [line.model_copy(update={"run": f"later {line.run}"}) for line in after]
    write(path, *before, *later)
    expected = meaning(read(path))
    path.write_bytes(once + b"".join(dump(line) for line in later))
    assert meaning(read(path)) == expected


def test_a_second_writer_is_refused_while_the_first_is_at_work(path: Path) -> None:
    writer = Writer(path)
    writer.append(A)
    with pytest.raises(StoreError, match="another run is writing it"):
        Writer(path)
    writer.append(X1)
    writer.close()
    second = Writer(path)
    second.append(X2)
    second.close()
    assert set(read(path).cells) == {X1.cell, X2.cell}


def test_a_writer_that_was_killed_leaves_whole_lines_and_no_lock(path: Path) -> None:
    body = """
import sys, os, signal
from pathlib import Path
from harness.store import Writer
from tests.toys import cell_record, planned, run_record
writer = Writer(Path(sys.argv[1]))
writer.append(run_record("a", planned("x=1"), planned("x=2")))
writer.append(cell_record("a", "x=1"))
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", body, str(path)], cwd=ROOT, check=False)
    assert done.returncode == -signal.SIGKILL
    assert [plan.cell for plan in read(path).unmeasured] == ["pytorch-x=2"]
    Writer(path).close()


def test_a_writer_does_not_open_a_file_that_it_cannot_read_and_leaves_it_as_it_is(path: Path) -> None:
    path.write_bytes(dump(A) + b'{"torn')
    with pytest.raises(StoreError, match="torn"):
        Writer(path)
    assert path.read_bytes() == dump(A) + b'{"torn'
    repair(path)
    Writer(path).close()


def unwritable(tmp_path: Path) -> Iterable[Path]:
    """Places where even root cannot write."""
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    return (tmp_path / "file" / "results.jsonl", Path("/proc/self/results.jsonl"), tmp_path / "folder")


@pytest.mark.parametrize("index", range(3), ids=["under a file", "under /proc", "a folder"])
def test_a_place_that_cannot_be_written_is_named_with_the_mend(tmp_path: Path, index: int) -> None:
    place = list(unwritable(tmp_path))[index]
    with pytest.raises(StoreError, match=r"cannot be written: .+\. Make the folder writable or choose another"):
        Writer(place)


FULL = """
import sys
from pathlib import Path
from harness.store import StoreError, Writer
from tests.toys import cell_record, planned, run_record
writer = Writer(Path(sys.argv[1]))
writer.append(run_record("a", planned("x=1")))
try:
    for _ in range(2):
        writer.append(cell_record("a", "x=1"))
except StoreError as error:
    print(error)
"""


def test_a_disk_that_is_full_is_said_and_what_was_written_before_can_be_read(path: Path) -> None:
    limit = len(dump(run_record("a", planned("x=1")))) + 100
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )
    assert "only 100 of" in done.stdout
    assert "Is the disk full?" in done.stdout
    assert path.read_bytes() == dump(run_record("a", planned("x=1")))


def test_a_file_is_replaced_whole_or_not_at_all(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.write_bytes(b"old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match="No space left on device"):
        store.replace(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(path.parent.iterdir()) == [path]


def test_a_file_whose_new_content_cannot_be_told_to_the_end_stays_as_it_was(path: Path) -> None:
    def parts() -> Iterator[bytes]:
        yield b"new"
        raise LookupError("no such template")

    path.write_bytes(b"old")
    with pytest.raises(LookupError):
        store.replace_by(path, parts())
    assert path.read_bytes() == b"old"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("removed", [False, True], ids=["replaced", "removed"])
def test_a_file_that_is_taken_from_its_writer_is_said_and_not_only_at_the_end(path: Path, removed: bool) -> None:
    """As `git checkout` does it: what is appended would go into a file that nobody finds."""
    writer = Writer(path)
    writer.append(A)
    path.unlink()
    if not removed:
        write(path, A)
    with pytest.raises(StoreError, match="it was removed or replaced while this run wrote it"):
        writer.append(X1)
    with pytest.raises(StoreError, match="it was removed or replaced while this run wrote it"):
        writer.close()
    Writer(path).close()


def test_a_disk_that_fails_to_keep_what_it_took_is_said(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(_: int) -> None:
        raise OSError(5, "Input/output error")

    writer = Writer(path)
    monkeypatch.setattr(os, "fdatasync", failing)
    with pytest.raises(StoreError, match=rf"^{path}: cannot be written: Input/output error$"):
        writer.append(A)
    writer.close()


def test_a_file_that_is_called_by_a_link_stays_one_file(path: Path) -> None:
    link = path.parent / "elsewhere" / "link.jsonl"
    link.parent.mkdir()
    link.symlink_to(Path("..") / path.name)
    for name, line in ((link, X1), (path, X2), (link, cell_record("a", "x=1", Cause.IGNORED))):
        writer = Writer(name)
        if line is X1:
            writer.append(A)
        writer.append(line)
        with pytest.raises(StoreError, match="another run is writing it"):
            Writer(path if name == link else link)
        writer.close()
    assert link.is_symlink()
    assert path.read_bytes() == link.read_bytes()
    assert path.read_bytes().count(b"\n") == 3
    assert list(link.parent.iterdir()) == [link]


def test_a_file_that_is_rewritten_is_as_open_to_others_as_before(path: Path) -> None:
    write(path, A, X1, X1)
    path.chmod(0o660)
    compact(path)
    assert path.stat().st_mode & 0o777 == 0o660


def test_what_was_killed_while_it_replaced_the_file_leaves_nothing_for_ever(path: Path) -> None:
    body = """
import os, signal, sys
from pathlib import Path
from harness import store
def parts():
    yield b"new"
    os.kill(os.getpid(), signal.SIGKILL)
store.replace_by(Path(sys.argv[1]), parts())
"""
    write(path, A, X1)
    before = path.read_bytes()
    subprocess.run([sys.executable, "-c", body, str(path)], cwd=ROOT, check=False)
    mine = path.with_name(f".{path.name}.mine")
    mine.touch()
    assert len(list(path.parent.iterdir())) == 3
    assert path.read_bytes() == before
    Writer(path).close()
    assert set(path.parent.iterdir()) == {path, mine}


def test_a_writer_never_writes_into_a_file_that_was_just_replaced(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other run's compaction may fall between our opening the file and locking it."""
    write(path, A)
    real, pending = fcntl.flock, [True]

    def flock(fd: int, operation: int) -> None:
        if pending:
            pending.clear()
            compact(path)
        real(fd, operation)

    monkeypatch.setattr(fcntl, "flock", flock)
    writer = Writer(path)
    writer.append(X1)
    writer.close()
    assert list(read(path).cells) == [X1.cell]


# Memory ----------------------------------------------------------------------------------------------------------


def test_what_was_read_takes_a_part_of_the_room_of_its_text(path: Path) -> None:
    """A read-back that a file holds many times over is kept once, and as objects only when somebody asks."""
    rows = [f"x={number}" for number in range(200)]
    evidence = X1.evidence.model_copy(update={"resolved": {f"setting {n}": [n, {"of": n}] for n in range(200)}})
    write(path, run_record("a", *map(planned, rows)), *(cell_record("a", row, evidence=evidence) for row in rows))
    read(path)
    tracemalloc.start()
    try:
        found = read(path)
        kept, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    size = path.stat().st_size
    assert kept < size / 2, f"{kept} bytes for {size} bytes of text"
    assert peak < size, "nor is the file in memory as a whole besides"
    assert found.cells["pytorch-x=7"].evidence == evidence


def test_lines_of_any_length_in_any_order_are_kept_byte_for_byte(path: Path) -> None:
    """A short one first, as of a column that was not run, then ones twice as long each."""
    rows = [f"x={number}" for number in range(12)]
    told = [cell_record("a", row, reason=f"{row} " * 2**number) for number, row in enumerate(rows)]
    write(path, run_record("a", *map(planned, rows)), *told, *reversed(told))
    found = read(path)
    assert [found.cells[record.cell] for record in told] == told
    assert {one.line for one in found.judged} == set(path.read_bytes().splitlines(keepends=True)[1:])


def test_a_record_of_a_results_file_is_made_anew_and_equal(path: Path) -> None:
    found = read(write(path, A, X1))
    assert found.cells[X1.cell] == found.cells[X1.cell] == X1
    assert found.cells[X1.cell] is not found.cells[X1.cell]


def test_what_a_writer_found_is_told_until_something_is_appended(path: Path) -> None:
    writer = Writer(write(path, A, X1))
    assert dict(writer.found.cells) == {X1.cell: X1}
    writer.append(X2)
    assert writer.found is None
    writer.close()
    assert set(read(path).cells) == {X1.cell, X2.cell}


# The schema ------------------------------------------------------------------------------------------------------

SCHEMA = json.loads((ROOT / "docs" / "results.schema.json").read_text(encoding="utf-8"))
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)


def test_the_committed_schema_is_the_model_s() -> None:
    mend = "`python -m harness.records > docs/results.schema.json` writes it"
    assert records.schema() == SCHEMA, mend


def test_the_schema_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("record", [A, X1, X2, *(cell_record("a", "x=1", cause) for cause in Cause)])
def test_the_schema_accepts_what_is_written(record: Record) -> None:
    VALIDATOR.validate(json.loads(dump(record)))


def spoiled(**changes: Any) -> dict[str, Any]:
    line: dict[str, Any] = json.loads(dump(X1))
    for key, value in changes.items():
        place, _, last = key.rpartition("__")
        (line[place] if place else line)[last] = value
    return line


NO_PROOF = [
    spoiled(evidence__level=None),
    spoiled(evidence__forwarded=None),
    spoiled(evidence__forwarded=[]),
    spoiled(evidence__resolved=None),
    spoiled(evidence__observed=None),
    spoiled(evidence__observed={"effect": "x", "saw": "y"}),
    spoiled(evidence__observed={"holds": False}),
    spoiled(evidence__observed={"holds": 1}),
    spoiled(evidence__control=None),
    spoiled(evidence__control={"failure": {}}),
    spoiled(evidence__control={"holds": True}),
]


@pytest.mark.parametrize("line", NO_PROOF)
def test_a_pass_without_its_evidence_is_refused_by_model_and_schema(line: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="a pass needs"):
        CellRecord.model_validate(line)
    if line["evidence"]["observed"] != {"holds": 1}:  # JSON Schema's own idea of equality
        assert not VALIDATOR.is_valid(line)


@pytest.mark.parametrize(
    "line",
    [
        spoiled(verdict="fail"),
        spoiled(cause="ignored"),
        spoiled(cause="unheard of"),
        spoiled(more=1),
        spoiled(scope="both"),
        {key: value for key, value in spoiled().items() if key != "timing"},
    ],
)
def test_a_line_that_contradicts_itself_is_refused_by_model_and_schema(line: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        CellRecord.model_validate(line)
    assert not VALIDATOR.is_valid(line)


def test_the_committed_results_are_what_the_schema_says() -> None:
    path = ROOT / "reports" / "results.jsonl"
    if not path.exists():
        pytest.skip("no results are committed yet: `make matrix` writes them")
    for line in path.read_bytes().splitlines():
        VALIDATOR.validate(json.loads(line))
    assert read(path).cells


def test_a_record_is_stale_when_the_newest_header_of_its_column_names_another_fingerprint() -> None:
    rows = ("decoder.top_k=1", "decoder.top_k=5")
    old, other = "0" * 16, "1" * 16
    both = {f"pytorch-{row}": old for row in rows}
    results = Results()
    results.add(run_record("a", *map(planned, rows), fingerprints=both))
    for row in rows:
        results.add(cell_record("a", row, fingerprint=old))
    assert results.stale == set()
    results.add(run_record("b", planned(rows[0]), narrowed=True, fingerprints=dict.fromkeys(both, other)))
    assert results.stale == set(both)
    results.add(cell_record("b", rows[0], fingerprint=other))
    assert results.stale == {f"pytorch-{rows[1]}"}


def test_what_a_run_measured_on_a_node_that_differs_is_stale_only_when_a_later_run_says_so() -> None:
    row, mark = "decoder.top_k=1", {"pytorch-decoder.top_k=1": "0" * 16}
    results = Results()
    results.add(run_record("a", planned(row), fingerprints=mark))
    results.add(run_record("a-2", narrowed=True))
    results.add(cell_record("a-2", row))
    assert results.stale == set()
    results.add(run_record("b", planned(row), fingerprints=mark))
    assert results.stale == set(mark), "of b's machine it is not"


def test_nothing_is_stale_in_files_of_before_fingerprints_were_told_nor_where_they_cannot_be() -> None:
    results = Results()
    results.add(run_record("a", planned("decoder.top_k=1")))
    results.add(cell_record("a", "decoder.top_k=1"))
    assert results.stale == set()
    results.add(run_record("b", planned("decoder.top_k=1"), fingerprints={"pytorch-decoder.top_k=1": "0" * 16}))
    assert results.stale == {"pytorch-decoder.top_k=1"}, "nobody knows what the old record is of"
    results.add(run_record("c", planned("decoder.top_k=1")))
    assert results.stale == set()


def test_a_last_line_that_is_cut_anywhere_is_set_aside_and_nothing_else_is_lost(path: Path) -> None:
    last = dump(cell_record("a", "x=2"))
    before = dump(A) + dump(X1)
    aside = path.with_name(f"{path.name}.torn")
    for kept in range(len(last) + 1):
        path.write_bytes(before + last[:kept])
        aside.unlink(missing_ok=True)
        torn = 0 < kept < len(last) - 1
        assert (store.mend(path) == aside) == torn
        assert path.read_bytes() == before + (last if kept >= len(last) - 1 else b"")
        assert (aside.read_bytes() == last[:kept] + b"\n") if torn else not aside.exists()


def test_a_last_line_of_which_the_disk_kept_the_end_alone_is_torn_too(path: Path) -> None:
    path.write_bytes(dump(A) + bytes(40) + b"1}\n")
    assert store.mend(path) is not None
    assert path.read_bytes() == dump(A)
    path.write_bytes(b"")
    assert store.mend(path) is None


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    before=st.lists(st.sampled_from(["x=1", "x=2", "x=3"]), max_size=4),
    first=st.permutations(["x=1", "x=2", "x=3"]),
    cuts=st.lists(st.floats(0, 1), min_size=1, max_size=3),
)
def test_a_run_that_is_cut_off_at_any_byte_goes_on_without_losing_or_doubling_a_cell(
    path: Path, before: list[str], first: list[str], cuts: list[float]
) -> None:
    """Over and over: earlier results, then runs of which the disk keeps any part, then one that comes to its end."""
    marks = {f"pytorch-{row}": "0" * 16 for row in ("x=1", "x=2", "x=3")}
    rows = [planned(row) for row in ("x=1", "x=2", "x=3")]
    old = run_record("old", *rows, fingerprints=marks)
    write(path, old, *(cell_record("old", row, fingerprint="1" * 16) for row in before))
    for number, cut in enumerate([*cuts, None]):
        store.mend(path)
        whole, known = path.read_bytes(), read(path)
        stands = reusable(known, marks)
        writer = Writer(path)
        writer.append(run_record(f"run-{number}", *rows, fingerprints=marks))
        for row in first:
            if f"pytorch-{row}" not in stands:
                writer.append(cell_record(f"run-{number}", row, fingerprint="0" * 16))
        if cut is None:
            writer.close()
        else:
            lines = path.read_bytes()
            # the process is gone, and with it its lock; of what it wrote the disk has a part
            os.close(writer._fd)
            path.write_bytes(lines[: len(whole) + round(cut * (len(lines) - len(whole)))])
            store.mend(path)
            after = read(path)
            assert {name: after.cells[name] for name in stands} == {name: known.cells[name] for name in stands}
            assert reusable(after, marks) >= stands
    found = read(path)
    assert {name: cell.fingerprint for name, cell in found.cells.items()} == marks
    assert found.stale == set()
    assert found.unmeasured == []
    assert path.read_bytes().count(b'"record":"cell"') == len(marks)


def test_a_file_that_another_run_is_writing_is_not_mended(path: Path) -> None:
    writer = Writer(path)
    writer.append(A)
    with pytest.raises(StoreError, match="another run is writing it"):
        store.mend(path)
    writer.close()


def test_a_writer_that_wrote_nothing_leaves_every_byte_as_it_was(path: Path) -> None:
    path.write_bytes(dump(A) + dump(X1) + dump(X1))
    before = path.read_bytes()
    Writer(path).close()
    assert path.read_bytes() == before


@pytest.mark.parametrize("write", [Writer, store.mend, lambda path: store.replace(path, b"x")])
def test_what_is_no_regular_file_is_never_replaced_by_one(tmp_path: Path, write: Callable[[Path], object]) -> None:
    """For the superuser /dev/null would be; a pipe stands for it here."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(StoreError, match=rf"^{pipe}: cannot be written: It is no regular file"):
        write(pipe)
    assert pipe.is_fifo()
    assert list(tmp_path.iterdir()) == [pipe], "and nothing is left beside it"
