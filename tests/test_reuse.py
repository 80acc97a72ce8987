"""A second run of the same matrix: what it re-uses, what it runs, and that nobody notices but by the time it takes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import projects
from tests.toys import marked

CHANGED = """
from dataclasses import replace
from tests.declared_toy import FAILS, LACKS, PASSES
from harness.declare import Value
OTHER = replace(PASSES, values=(*PASSES.values[:1], Value(6), Value(5, needs=("cpus:1",))))
MATRIX = replace(MATRIX, parameters=(FAILS, OTHER, LACKS))
"""


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Path]:
    yield projects.make(tmp_path / "project")
    assert marked(f"TOY_FOLDER={tmp_path}") == []


def run(folder: Path, *arguments: str, **more: str) -> tuple[int, str]:
    done = projects.paramatrix(folder, "run", *arguments, TOY_FOLDER=str(folder.parent), **more)
    return done.returncode, done.stdout + done.stderr


def pages(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / "reports").iterdir()}


def test_a_matrix_whose_inputs_did_not_change_is_not_run_again_and_nothing_of_it_changes(project: Path) -> None:
    code, _ = run(project, "--backends", "pytorch")
    assert code == 0
    before = pages(project)
    for workers in ((), ("--workers", "2")):
        code, said = run(project, "--backends", "pytorch", *workers)
        assert code == 0, said
        assert "5 outcomes re-used, 0 to run" in said
        assert "pytorch: 5 cells: 2 passed, 1 failed, 1 uncertain, 1 not run" in said
        assert pages(project) == before
    code, said = run(project, "--backends", "pytorch", "--fresh")
    assert "re-used" not in said
    assert len(projects.results(project).runs) == 1
    assert pages(project)["results.jsonl"] != before["results.jsonl"]


def test_cells_whose_inputs_changed_are_run_and_the_others_keep_their_records(project: Path) -> None:
    run(project, "--backends", "pytorch")
    before = projects.results(project)
    with (project / "declarations.py").open("a") as file:
        file.write(CHANGED)
    _, said = run(project, "--backends", "pytorch", "--cell", "pytorch-decoder.top_k=1")
    assert "1 outcomes re-used, 0 to run" in said
    assert projects.results(project).stale == {"pytorch-decoder.top_k=5"}
    _, said = run(project, "--backends", "pytorch", "-k", "top_k")
    assert "1 outcomes re-used, 2 to run" in said
    after = projects.results(project)
    assert after.latest is not None
    assert {plan.cell for plan in after.latest.planned} == {f"pytorch-decoder.top_k={value}" for value in (1, 5, 6)}
    assert after.cells["pytorch-decoder.top_k=1"] == before.cells["pytorch-decoder.top_k=1"]
    moved = {name for name, cell in after.cells.items() if before.cells.get(name) != cell}
    assert moved == {"pytorch-decoder.top_k=5", "pytorch-decoder.top_k=6"}
    _, said = run(project, "--backends", "pytorch")
    assert "5 outcomes re-used, 0 to run" in said
    assert "pytorch-decoder.top_k=50" not in projects.results(project).planned, "no longer planned"


def test_other_libraries_or_variables_that_reach_them_run_all_and_what_was_not_asked_for_is_stale(
    project: Path,
) -> None:
    run(project, "--backends", "pytorch")
    _, said = run(project, "--backends", "pytorch", "-k", "top_k", VLLM_TOY="1")
    assert "re-used" not in said
    assert projects.results(project).stale == {"pytorch-passthrough_kwargs=raise", "pytorch-decoder.top_p=0.5"}
    _, said = run(project, "--backends", "pytorch", VLLM_TOY="1")
    assert "3 outcomes re-used, 2 to run" in said
    assert projects.results(project).stale == set()


def test_lint_tells_how_many_verdicts_the_checkout_has_left_behind_where_they_were_measured(project: Path) -> None:
    run(project, "--backends", "pytorch")

    def notes(folder: Path, **more: str) -> list[str]:
        said = projects.paramatrix(folder, "lint", TOY_FOLDER=str(project.parent), **more).stdout
        assert "contradiction" in said
        return [line for line in said.splitlines() if "stale" in line]

    assert notes(project) == []
    with (project / "declarations.py").open("a") as file:
        file.write(CHANGED)
    (note,) = notes(project)
    assert note.startswith("note: reports: 1 of 5 verdicts is stale, like pytorch-decoder.top_k=5: ")
    assert projects.results(project).stale == set(), "no run has said so yet"
    results = project / "reports" / "results.jsonl"
    mine = results.read_text()
    results.write_text(mine.replace('"cpu":"', '"cpu":"another '))
    assert notes(project) == [], "another machine's: nothing is known of it here"
    results.write_text(mine)
    assert notes(project, PARAMATRIX_LAUNCHER_PYTORCH="/nonexistent/python") == []


def test_an_outcome_that_is_re_used_and_was_not_accepted_fails_the_run_again(project: Path) -> None:
    run(project, "--backends", "pytorch")
    assert projects.paramatrix(project, "accept").returncode == 0
    (accepted,) = (project / "declarations" / "expectations").glob("*")
    assert run(project, "--backends", "pytorch")[0] == 0
    accepted.write_text(accepted.read_text().replace("rejected_by_backend", "crashed"))
    code, said = run(project, "--backends", "pytorch")
    assert "5 outcomes re-used, 0 to run" in said
    assert "pytorch-passthrough_kwargs=raise: verdict changed" in said
    assert code == 1


def test_a_probe_that_captures_what_nobody_can_tell_is_refused_before_anything_runs(project: Path) -> None:
    with (project / "declarations.py").open("a") as file:
        file.write(
            "import threading\nfrom dataclasses import replace\nfrom tests.declared_toy import PASSES\n"
            "def made(lock):\n    return lambda run, control, value: lock\n"
            "column = PASSES.columns['pytorch']\n"
            "odd = replace(column, probe=replace(column.probe, effect=made(threading.Lock())))\n"
            "MATRIX = replace(MATRIX, parameters=(replace(PASSES, columns={'pytorch': odd}),))\n"
        )
    code, said = run(project, "--backends", "pytorch")
    assert code != 0
    assert "pytorch-decoder.top_k=1: a probe or variant captures a _thread.lock" in said
    assert "Traceback" not in said
    assert not (project / "reports").exists()
