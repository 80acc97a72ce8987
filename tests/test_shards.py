"""Shards: a plan that is the same everywhere, parts that make the whole, and an end that says what is missing."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness import groups
from harness.project import find
from harness.records import CellRecord, RunRecord, Shard
from harness.shards import fit, planfile
from harness.shards.missing import missing
from harness.shards.planfile import Asked, PlanFile, PlanFileError, PlannedCell
from harness.shards.split import parse, split
from harness.store import Results, dump, read
from harness.verdict import Cause
from tests import projects
from tests.projects import paramatrix
from tests.toys import cell_record, plan, planned, run_record

ASKED = Asked(backends=["pytorch"], model=None, versions={}, k=None)
SPREAD = "declared_toy.SPREAD"
PLAN = "plan.jsonl"


def write_plan(folder: Path, *arguments: str, name: str = PLAN) -> bytes:
    done = paramatrix(folder, "plan", *(arguments or ("--backends", "pytorch")))
    assert done.returncode == 0, done.stderr
    (folder / name).write_text(done.stdout)
    return done.stdout.encode()


def run_shard(folder: Path, shard: str, *more: str) -> str:
    index = shard.partition("/")[0]
    asked = ("--shard", shard, "--plan", PLAN, "--out", f"shard-{index}.jsonl", *more)
    done = paramatrix(folder, "run", *asked)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def causes(results: Results) -> dict[str, Cause]:
    return {record.cell: record.cause for record in results.measured}


def entry(name: str, key: str, expected_s: float) -> PlannedCell:
    return PlannedCell(cell=name, backend="pytorch", key=key, expected_s=expected_s, declared="")


# The plan --------------------------------------------------------------------------------------------------------


def test_a_plan_is_the_same_wherever_the_checkout_lies(tmp_path: Path) -> None:
    here, there = (projects.make(tmp_path / name, matrix=SPREAD) for name in ("here", "there"))
    assert write_plan(here) == write_plan(here) == write_plan(there)
    made = planfile.read(here / PLAN)
    assert made.data == (here / PLAN).read_bytes()
    assert made.header.cells == len(made.cells) == 9
    assert made.header.asked == ASKED
    assert {cell.key.partition(":")[0] for cell in made.cells} == {"pytorch"}
    assert str(tmp_path) not in made.data.decode()


def test_a_plan_chooses_as_a_run_does(tmp_path: Path) -> None:
    folder = projects.make(tmp_path / "project", matrix=SPREAD)
    write_plan(folder, "-k", "top_k and not 50")
    assert [cell.cell for cell in planfile.read(folder / PLAN).cells] == [
        "pytorch-decoder.top_k=1",
        "pytorch-decoder.top_k=5",
    ]
    done = paramatrix(folder, "plan", "-k", "nobody")
    assert (done.returncode, done.stdout) == (2, "")
    assert "K='nobody' matches none of the 9 planned cells" in done.stderr
    done = paramatrix(folder, "plan", "-k", "top_k and")
    assert (done.returncode, done.stdout) == (2, "")
    assert "Wrong expression passed to '-k'" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_what_cells_took_before_is_what_they_are_expected_to_take(tmp_path: Path) -> None:
    folder = projects.make(tmp_path / "project", matrix="declared_toy.MATRIX")
    record = cell_record("a", "decoder.top_k=5")
    took = record.model_copy(update={"timing": record.timing.model_copy(update={"wall_s": 7.0, "queue_s": 2.0})})
    lines = run_record("a", planned("decoder.top_k=5")), took
    (folder / "earlier.jsonl").write_bytes(b"".join(dump(line) for line in lines))
    write_plan(folder, "--backends", "pytorch", "--results", "earlier.jsonl")
    expected = {cell.cell: cell.expected_s for cell in planfile.read(folder / PLAN).cells}
    assert expected["pytorch-decoder.top_k=5"] == 5.0
    assert set(expected.values()) == {5.0}, "as long as the cells that are like them"
    done = paramatrix(folder, "plan", "--results", "nobody.jsonl")
    assert (done.returncode, done.stderr) == (2, "paramatrix: nobody.jsonl: no such results file\n")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda lines: lines[:-1], "not a whole plan: 1 headers with 9 cells stated, 8 cells found"),
        (lambda lines: lines[1:], "not a whole plan: 0 headers"),
        (lambda lines: [*lines[:-1], lines[-1].replace('"expected_s":2.0', '"expected_s":9.0')], "it was edited"),
        (lambda lines: [*lines[:-1], lines[-1][:-9]], "plan.jsonl:10: not a line of a plan"),
        (lambda lines: lines[:0], "not a whole plan"),
    ],
)
def test_a_plan_that_was_not_copied_whole_is_refused(tmp_path: Path, change: Any, words: str) -> None:
    cells = [entry(f"c{number}", "k", 2.0) for number in range(9)]
    header = planfile.PlanHeader(id="", asked=ASKED, models={}, commit=None, cells=9)
    whole = PlanFile(header=header.model_copy(update={"id": planfile._id(header, cells)}), cells=cells)
    path = tmp_path / PLAN
    path.write_bytes(whole.data)
    assert planfile.read(path) == whole
    path.write_text("\n".join(change(whole.data.decode().splitlines())))
    with pytest.raises(PlanFileError) as caught:
        planfile.read(path)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_plan_that_does_not_fit_is_refused_with_what_differs(tmp_path: Path) -> None:
    folder = projects.make(tmp_path / "project", matrix=SPREAD)
    write_plan(folder)
    with (folder / "declarations.py").open("a") as file:
        # longer than it was: Python tells a changed source by its size and the second it was written in
        file.write("from tests.declared_toy import FAULTY as MATRIX\n")
    done = paramatrix(folder, "run", "--shard", "1/2", "--plan", PLAN, "--out", "shard-1.jsonl")
    assert done.returncode == 2
    assert "does not fit this checkout: 6 cells unknown here, pytorch-fp_precision=bfloat16 first" in done.stderr
    assert "1 cells unknown there, pytorch-decoder.min_p=0.5 first" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (folder / "shard-1.jsonl").exists()


def test_a_cell_that_is_declared_otherwise_does_not_fit(tmp_path: Path) -> None:
    project = find(projects.make(tmp_path))
    first, second = plan(*_top_k(1, 5)), plan(*_top_k(1, 5, note_control=True))
    made = planfile.make(first, groups.expected(first, ()), ASKED, project.root)
    assert fit.check(made, first, project.root) == list(first)
    with pytest.raises(PlanFileError, match=r": 2 cells declared otherwise, pytorch-decoder\.top_k=1 first\. Check"):
        fit.check(made, second, project.root)
    moved = made.model_copy(update={"header": made.header.model_copy(update={"commit": "a" * 40})})
    assert fit.check(moved, first, project.root) == list(first), "no git here: nobody can tell"


def _top_k(*values: int, note_control: bool = False) -> list[Any]:
    from harness.declare import Value
    from tests.toys import parameter

    contrast = {"contrast": 3} if note_control else {}
    return [parameter("decoder.top_k", *(Value(value, **contrast) for value in values))]  # type: ignore[arg-type]


# Splitting -------------------------------------------------------------------------------------------------------

CELLS = st.lists(st.tuples(st.integers(0, 12), st.floats(0, 300)), max_size=60).map(
    lambda found: [entry(f"c{number}", f"k{key}", round(s, 3)) for number, (key, s) in enumerate(found)]
)


@settings(deadline=None)
@given(cells=CELLS, count=st.integers(1, 9))
def test_shards_hold_each_cell_once_keep_keys_together_and_are_balanced(cells: list[PlannedCell], count: int) -> None:
    shards = split(cells, count)
    assert len(shards) == count
    assert sorted(cell.cell for shard in shards for cell in shard) == sorted(cell.cell for cell in cells)
    owners: dict[str, set[int]] = {}
    for index, shard in enumerate(shards):
        for cell in shard:
            owners.setdefault(cell.key, set()).add(index)
    assert all(len(indices) == 1 for indices in owners.values())
    loads = [sum(max(0.001, cell.expected_s) for cell in shard) for shard in shards]
    longest = {key: sum(max(0.001, c.expected_s) for c in cells if c.key == key) for key in owners}
    # the greedy bound, which holds of any list scheduling: the last group came to what was then the emptiest shard
    assert max(loads, default=0) <= sum(loads) / count + max(longest.values(), default=0) + 1e-6
    assert split(list(cells), count) == shards


def test_the_longest_groups_are_placed_first() -> None:
    cells = [entry(name, name, s) for name, s in (("a", 1), ("b", 1), ("c", 2), ("d", 4))]
    assert [[cell.cell for cell in shard] for shard in split(cells, 2)] == [["d"], ["c", "a", "b"]]


@pytest.mark.parametrize("text", ["0/3", "4/3", "3", "a/b", "1/0", "-1/3", "1/3/3"])
def test_a_shard_that_does_not_exist_is_refused(text: str) -> None:
    header = planfile.PlanHeader(id="p", asked=ASKED, models={}, commit=None, cells=0)
    with pytest.raises(ValueError, match="expected INDEX/COUNT with 1 ≤ INDEX ≤ COUNT, like 3/8"):
        parse(text, PlanFile(header=header, cells=[]))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--shard", "1/2"), "--shard and --plan belong together"),
        (("--plan", PLAN), "--shard and --plan belong together"),
        (("--shard", "1/2", "--plan", PLAN, "-k", "top_k", "--out", "x.jsonl"), "-k: the plan says what a shard runs"),
        (("--shard", "1/2", "--plan", PLAN), "the shard's own results file is needed, like --out shard-1.jsonl"),
        (("--shard", "1/2", "--plan", "nobody.jsonl", "--out", "x.jsonl"), "`paramatrix plan > nobody.jsonl` makes it"),
        (("--shard", "5/2", "--plan", PLAN, "--out", "x.jsonl"), "shard '5/2': expected INDEX/COUNT"),
    ],
)
def test_what_a_shard_lacks_is_said_in_one_line(
    arguments: tuple[str, ...], words: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.getbasetemp() / "refusing"
    if not folder.exists():
        write_plan(projects.make(folder))
    done = paramatrix(folder, "run", *arguments)
    assert done.returncode == 2
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (folder / "x.jsonl").exists()


# Measuring -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sharded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project that was measured in three shards, one of them by two workers, and in one run."""
    folder = projects.make(tmp_path_factory.mktemp("shards") / "project", matrix=SPREAD)
    write_plan(folder)
    assert paramatrix(folder, "run", "--out", "whole.jsonl", "--pages", "whole").returncode == 0
    for index, more in ((1, ()), (2, ("--workers", "2")), (3, ())):
        run_shard(folder, f"{index}/3", *more)
    return folder


@pytest.fixture
def shards(sharded: Path, tmp_path: Path) -> Path:
    """A copy of it to go on with."""
    return Path(shutil.copytree(sharded, tmp_path / "project"))


def test_shards_are_the_whole(shards: Path) -> None:
    done = paramatrix(shards, "merge", *(f"shard-{index}.jsonl" for index in (1, 2, 3)), "--out", "merged.jsonl")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "merged.jsonl: 9 cells of 3 runs\n"
    merged, whole = read(shards / "merged.jsonl"), read(shards / "whole.jsonl")
    assert causes(merged) == causes(whole)
    assert {name: plan.row for name, plan in merged.planned.items()} == {
        name: plan.row for name, plan in whole.planned.items()
    }
    assert {run.shard for run in merged.runs.values()} == {
        Shard(plan=planfile.read(shards / PLAN).header.id, index=index, of=3) for index in (1, 2, 3)
    }
    assert paramatrix(shards, "report", "--results", "merged.jsonl", "--out", "pages").returncode == 0
    assert rows(shards / "pages") == rows(shards / "whole")


def rows(folder: Path) -> list[str]:
    page = (folder / "parameter-support-matrix.md").read_text(encoding="utf-8")
    return [line for line in page.splitlines() if line.startswith("| `")]


def test_a_shard_writes_its_file_and_no_pages(shards: Path) -> None:
    assert not (shards / "reports").exists()
    assert {path.name for path in shards.glob("*.md")} == set()
    made = planfile.read(shards / PLAN)
    for index, cells in enumerate(split(made.cells, 3), start=1):
        found = read(shards / f"shard-{index}.jsonl")
        assert set(found.cells) == set(found.planned) == {cell.cell for cell in cells}
        assert cells


def test_a_shard_that_was_interrupted_goes_on_where_it_stopped(shards: Path) -> None:
    file = shards / "shard-1.jsonl"
    whole, lines = causes(read(file)), file.read_bytes().splitlines(keepends=True)
    assert len(lines) > 3
    file.write_bytes(b"".join(lines[:2]))
    before = set(read(file).cells)
    run_shard(shards, "1/3")
    after = read(file)
    assert causes(after) == whole
    assert all(after.cells[name] == CellRecord.model_validate_json(lines[1]) for name in before)
    again = {name for name, cell in after.cells.items() if cell.run != after.cells[min(before)].run}
    assert again == set(whole) - before


def test_where_inputs_cannot_be_told_the_plan_stands_in_for_them(shards: Path) -> None:
    file = shards / "shard-1.jsonl"
    found = read(file)
    untold = [record.model_copy(update={"fingerprint": None}) for record in found.cells.values()]
    (run,) = found.runs.values()
    lines: list[RunRecord | CellRecord] = [run.model_copy(update={"fingerprints": {}}), *untold]
    file.write_bytes(b"".join(dump(line) for line in lines))
    before = file.read_bytes()
    assert f"shard 1/3: {len(untold)} cells, {len(untold)} of them judged before" in run_shard(shards, "1/3")
    assert file.read_bytes() == before


def test_all_of_a_shard_is_made_again_where_that_is_asked_for(shards: Path) -> None:
    """Also what has no fingerprint."""
    file = shards / "shard-1.jsonl"
    found = read(file)
    (run,) = found.runs.values()
    untold = [record.model_copy(update={"fingerprint": None}) for record in found.cells.values()]
    file.write_bytes(dump(run) + b"".join(map(dump, untold)))
    run_shard(shards, "1/3", "--fresh")
    assert {cell.run for cell in read(file).cells.values()}.isdisjoint({run.run})


def test_what_broke_is_measured_again_and_what_was_judged_is_not(shards: Path) -> None:
    file = shards / "shard-2.jsonl"
    found = read(file)
    (run,) = found.runs.values()
    broken, *others = found.cells.values()
    mended = broken.model_dump() | {"verdict": "not_run", "cause": "environment", "reason": "no disk"}
    mended["evidence"]["level"] = None
    file.write_bytes(dump(run) + b"".join(dump(line) for line in (CellRecord.model_validate(mended), *others)))
    done = paramatrix(shards, "merge", *(f"shard-{index}.jsonl" for index in (1, 2, 3)), "--out", "merged.jsonl")
    assert (done.returncode, done.stderr) == (3, f"{broken.cell}: not judged: environment: no disk\n")
    run_shard(shards, "2/3")
    after = read(file)
    assert causes(after) == causes(found)
    assert {name for name, cell in after.cells.items() if cell.run != run.run} == {broken.cell}
    run_shard(shards, "2/3")
    assert read(file).cells == after.cells


def test_a_shard_that_has_no_cells_is_not_missed(shards: Path) -> None:
    for shard in ("6/7", "7/7", "7/7"):
        assert f"shard {shard}: 0 cells" in run_shard(shards, shard)
    done = paramatrix(shards, "merge", "shard-6.jsonl", "shard-7.jsonl", "--out", "merged.jsonl")
    assert done.returncode == 3
    assert done.stderr == "".join(f"shard {index}/7 is missing\n" for index in range(1, 6))
    assert read(shards / "merged.jsonl").cells == {}


def test_a_shard_does_not_write_into_the_results_of_another(shards: Path) -> None:
    before = {path: path.read_bytes() for path in shards.glob("*.jsonl")}
    for other, words in (("shard-2.jsonl", "holds results of shard 2/3 of plan"), ("whole.jsonl", "without a plan")):
        done = paramatrix(shards, "run", "--shard", "1/3", "--plan", PLAN, "--out", other)
        assert done.returncode == 2
        assert words in done.stderr
    assert {path: path.read_bytes() for path in shards.glob("*.jsonl")} == before


def test_missing_shards_and_cells_are_told_with_an_exit_code_of_their_own(shards: Path) -> None:
    file = shards / "shard-1.jsonl"
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join(lines[:-1]))
    gone = CellRecord.model_validate_json(lines[-1]).cell
    done = paramatrix(shards, "merge", "shard-1.jsonl", "shard-3.jsonl", "--out", "merged.jsonl", "--plan", PLAN)
    count = len(split(planfile.read(shards / PLAN).cells, 3)[1])
    assert done.returncode == 3
    assert done.stderr == f"shard 2/3 ({count} cells) is missing\n{gone}: not measured\n"
    assert set(read(shards / "merged.jsonl").cells), "what is there is merged"


def test_shards_of_two_plans_are_refused(shards: Path) -> None:
    shutil.move(shards / "shard-3.jsonl", shards / "old-3.jsonl")
    old = (shards / PLAN).read_bytes()
    assert write_plan(shards, "--backends", "pytorch", "-k", "not raise") != old
    run_shard(shards, "3/3")
    for sources in (("shard-1.jsonl", "shard-3.jsonl"), ("shard-3.jsonl", "shard-1.jsonl", "whole.jsonl")):
        done = paramatrix(shards, "merge", *sources, "--out", "merged.jsonl")
        assert done.returncode == 2
        assert "expected shards of one plan, split in one way. Merge each plan by itself" in done.stderr
    done = paramatrix(shards, "merge", "shard-1.jsonl", "--out", "merged.jsonl", "--plan", PLAN)
    assert done.returncode == 2
    assert "these are shards of plan" in done.stderr
    assert not (shards / "merged.jsonl").exists()


# Merging ---------------------------------------------------------------------------------------------------------

ROWS = [f"decoder.top_k={number}" for number in range(12)]
DEAL = st.lists(st.integers(1, 4), min_size=len(ROWS), max_size=len(ROWS))


def shard_of(index: int, rows: list[str], cause: Mapping[str, Cause]) -> Results:
    table = Results()
    shard = Shard(plan="p", index=index, of=4)
    started = f"2026-01-0{5 - index}T00:00:00Z"
    table.add(run_record(f"r{index}", *map(planned, rows), started=started, narrowed=True, shard=shard))
    for row in rows:
        table.add(cell_record(f"r{index}", row, cause.get(row, Cause.CONFIRMED)))
    return table


def part_of(table: Results, keep: set[str]) -> Results:
    """A copy of a shard's file from when it had only some of its records."""
    found = Results()
    for run in table.runs.values():
        found.add(run)
    for name in sorted(keep):
        found.add(table.cells[name])
    return found


@settings(max_examples=40, deadline=None)
@given(deal=DEAL, data=st.data())
def test_any_partition_order_and_repetition_makes_the_same_bytes(
    tmp_path_factory: pytest.TempPathFactory, deal: list[int], data: st.DataObject
) -> None:
    from harness.merge import merge

    folder = tmp_path_factory.mktemp("merge")
    whole = {
        Path(f"{index}"): shard_of(index, [row for row, to in zip(ROWS, deal, strict=True) if to == index], {})
        for index in range(1, 5)
    }
    merge(folder / "expected", whole)
    expected = (folder / "expected").read_bytes()
    # copies of shards, whole or from before their end, each cell in one of them at least
    copies = dict(whole)
    for path, table in whole.items():
        names = sorted(table.cells)
        kept = set(data.draw(st.lists(st.sampled_from(names)))) if names else set()
        copies[Path(f"{path}-early")] = part_of(table, kept)
        copies[Path(f"{path}-late")] = part_of(table, set(names) - kept)
        if data.draw(st.booleans()):
            del copies[path]
    order = data.draw(st.permutations(sorted(copies)))
    merge(folder / "at-once", {path: copies[path] for path in order})
    assert (folder / "at-once").read_bytes() == expected
    cuts = sorted(data.draw(st.lists(st.integers(0, len(order)), max_size=3)))
    steps: dict[Path, Results] = {}
    for number, (start, end) in enumerate(pairwise([0, *cuts, len(order)])):
        if start < end:
            steps[folder / f"{number}"] = merge(folder / f"{number}", {path: copies[path] for path in order[start:end]})
    merge(folder / "in-steps", steps)
    assert (folder / "in-steps").read_bytes() == expected
    assert missing(read(folder / "in-steps")) is not None
    assert not missing(read(folder / "in-steps"))


@settings(max_examples=40, deadline=None)
@given(deal=DEAL, absent=st.sets(st.integers(1, 4), max_size=3), broken=st.sets(st.sampled_from(ROWS)))
def test_what_is_missing_is_all_that_is_missing(deal: list[int], absent: set[int], broken: set[str]) -> None:
    from harness.merge import merged

    cause = dict.fromkeys(broken, Cause.HARNESS_ERROR)
    there = {
        Path(f"{index}"): shard_of(index, [row for row, to in zip(ROWS, deal, strict=True) if to == index], cause)
        for index in {1, 2, 3, 4} - absent
    }
    found = missing(merged(there))
    assert found is not None
    assert found.shards == [f"{index}/4" for index in sorted(absent)]
    assert {record.row for record in found.failed} == {
        row for row, to in zip(ROWS, deal, strict=True) if row in broken and to not in absent
    }
    assert found.unmeasured == []


def test_what_a_shard_has_not_measured_again_since_its_inputs_changed_is_missing() -> None:
    """It was begun anew with other inputs, and stopped."""
    rows, shard = ROWS[:2], Shard(plan="p", index=1, of=1)
    cells = [f"pytorch-{row}" for row in rows]
    table = Results()
    for run, mark in (("a", "0" * 16), ("b", "1" * 16)):
        header = run_record(run, *map(planned, rows), narrowed=True, shard=shard)
        table.add(header.model_copy(update={"fingerprints": dict.fromkeys(cells, mark)}))
        for row in rows[: 2 if run == "a" else 1]:
            table.add(cell_record(run, row, fingerprint=mark))
    found = missing(table)
    assert found
    assert found.lines() == [f"{cells[1]}: stale: not measured again since its inputs changed"]
    table.add(cell_record("b", rows[1], fingerprint="1" * 16))
    assert not missing(table)


def test_results_without_a_plan_lack_nothing_that_anybody_knows_of() -> None:
    table = Results()
    table.add(run_record("a", planned("x=1")))
    assert missing(table) is None


# The real library ------------------------------------------------------------------------------------------------


def test_three_shards_of_the_real_library_judge_as_one_run(tmp_path: Path, pytorch_python: str) -> None:
    folder = projects.make(tmp_path / "project", launcher=(pytorch_python,), matrix="declared_real.MATRIX")
    write_plan(folder)
    assert paramatrix(folder, "run", "--out", "whole.jsonl").returncode == 0
    for index in (1, 2, 3):
        run_shard(folder, f"{index}/3")
    done = paramatrix(folder, "merge", *(f"shard-{index}.jsonl" for index in (1, 2, 3)), "--out", "merged.jsonl")
    assert (done.returncode, done.stderr) == (0, "")
    merged, whole = read(folder / "merged.jsonl"), read(folder / "whole.jsonl")
    assert causes(merged) == causes(whole)
    assert set(merged.planned) == set(whole.planned)
    assert json.loads((folder / PLAN).read_bytes().splitlines()[0])["cells"] == len(whole.planned)
