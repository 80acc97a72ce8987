"""Lint: green where all agrees; each contradiction, planted by itself, is named."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness import lint, pages, store
from harness import report as rendering
from harness.claims import BackendClaims, Claim, Claims, Outcome, Recommended, Trial
from harness.combinations import PAGE as INVALID
from harness.config.rules import REGISTRY, rule
from harness.declare import Matrix, Value
from harness.declare_limits import Capability, Limitation, Stated, UseCase
from harness.diff import difference
from harness.diff import render as compared
from harness.lint import Subject
from harness.lint_pages import stale_comparison
from harness.records import BackendInfo, CellRecord, HarnessInfo, Planned, RunRecord
from harness.report import PAGE as SUPPORT
from harness.verdict import Cause
from tests import projects, toys
from tests.toys import cell_record, parameter, run_record

TEMPLATES = projects.ROOT / "templates"
OVER_STRICT = "quantization.method_missing"
SAID = Stated(able=True, source="its documentation")
UNABLE = Stated(able=False, source="its documentation")
EVERYWHERE = {"pytorch": SAID, "vllm": SAID, "tensorrt": UNABLE}
SAMPLING = Capability("Sampling", (), EVERYWHERE, own_rows={"pytorch": ("decoder.top_k=1", "decoder.top_k=2")})
PACKING = Capability("Packing", (), EVERYWHERE)
LIMIT = Limitation("pytorch", ("decoder.top_p=0.5",), "wants a moon", "Bring one")
CASE = UseCase("Drawing", "pytorch", "it draws", rests_on=("Sampling",), rows={"pytorch": "decoder.top_k=1"})

MATRIX = dataclasses.replace(
    toys.matrix(
        parameter("decoder.top_k", Value(1), Value(2), Value(3)),
        parameter("decoder.top_p", Value(0.5)),
        parameter("quantization.quantization", Value(True), section="Core"),
    ),
    capabilities=(SAMPLING, PACKING),
    limitations=(LIMIT,),
    use_cases=(CASE,),
)
REFUSED = cell_record("r", "quantization.quantization=True", section="Core", rejected_by_validation="names no method")
CELLS = (
    cell_record("r", "decoder.top_k=1"),
    cell_record("r", "decoder.top_k=2"),
    cell_record("r", "decoder.top_k=3", Cause.REJECTED, reason="ValueError: no"),
    cell_record("r", "decoder.top_p=0.5", Cause.MISSING_HARDWARE),
    REFUSED,
)
INFO = BackendInfo(model="models/tiny", model_hash=None, packages={"toylib": "1.0"}, cpu="toy", cpus=2)


def claims(*claimed: Claim, recommended: tuple[Recommended, ...] = ()) -> Claims:
    checked = BackendClaims(
        started="2026-01-01T00:00:00Z",
        harness=HarnessInfo(version="0.1.0", commit=None, python="3.11.9"),
        backend=INFO,
        claims=list(claimed),
        recommended=list(recommended),
    )
    return Claims(backends={"pytorch": checked})


def over_strict(witness: Outcome = Outcome.WORKS) -> Claim:
    known = rule(OVER_STRICT)
    return Claim(
        rule=known.id,
        severity=known.severity,
        witness=Trial(settings=dict(known.witness), outcome=witness, says="as seen"),
        neighbour=Trial(settings=dict(known.neighbour), outcome=Outcome.WORKS),
    )


def results(*cells: CellRecord, also: tuple[Planned, ...] = ()) -> store.Results:
    found = store.Results()
    plans = [Planned(cell=c.cell, backend=c.backend, row=c.row, section=c.section) for c in cells]
    found.add(run_record("r", *plans, *also, backends={"pytorch": INFO}))
    for cell in cells:
        found.add(cell)
    return found


def subject(
    matrix: Matrix = MATRIX,
    cells: tuple[CellRecord, ...] = CELLS,
    claimed: Claims | None = None,
    edit: Callable[[str], str] = str,
    page: str = "",
    **more: Any,
) -> Subject:
    """A folder in which all agrees, but for what a test changes: data, or the text of a page."""
    known = claims(over_strict()) if claimed is None else claimed
    found = results(*cells, **more)
    committed = pages.render(matrix, found, known, TEMPLATES)
    if page:
        changed = edit(committed[page])
        assert changed != committed[page], "the contradiction is planted"
        committed[page] = changed
    return Subject(matrix, found, known, committed, TEMPLATES)


def changed(cell: CellRecord, **changes: Any) -> tuple[CellRecord, ...]:
    """The cells, with another record in the place of one."""
    made = cell_record("r", cell.row, section=cell.section, **changes)
    return tuple(made if known.cell == cell.cell else known for known in CELLS)


def declared(**changes: Any) -> Matrix:
    return dataclasses.replace(MATRIX, **changes)


def sub(pattern: str, replacement: str) -> Callable[[str], str]:
    return lambda text: re.sub(pattern, replacement, text, count=1, flags=re.MULTILINE)


def twice(pattern: str) -> Callable[[str], str]:
    return sub(f"^({pattern}.*\n)", r"\1\1")


def only(made: Subject) -> str:
    (problem,) = [*lint.declarations(made.matrix), *lint.check(made)]
    return problem


def notes(made: Subject) -> list[str]:
    return lint.notes(made, ["pytorch"])


# Where all agrees -------------------------------------------------------------------------------------------------


def test_where_all_agrees_nothing_is_said() -> None:
    assert lint.declarations(MATRIX) == []
    assert lint.check(subject()) == []


def test_results_older_than_the_declarations_are_a_note_and_no_contradiction() -> None:
    newer = declared(parameters=(*MATRIX.parameters, parameter("decoder.min_p", Value(0.5))))
    made = subject(newer)
    assert lint.check(made) == []
    assert "1 cells of pytorch are declared and not among the results, like pytorch-decoder.min_p=0.5" in notes(made)


def test_stale_verdicts_are_a_note_with_their_number_and_no_contradiction() -> None:
    said = lint.notes(subject(), ["pytorch"], {"pytorch-decoder.top_k=1"})
    assert said[0] == (
        "1 of 5 verdicts is stale, like pytorch-decoder.top_k=1: what decides it has changed since. "
        "`make matrix` measures it again"
    )
    assert not any("stale" in note for note in notes(subject()))


def test_what_is_declared_able_and_fails_here_is_a_note() -> None:
    failing = Capability("Failing", (), EVERYWHERE, own_rows={"pytorch": ("decoder.top_k=3",)})
    made = subject(declared(capabilities=(SAMPLING, failing)))
    assert lint.check(made) == []
    assert "Failing on pytorch: declared able, measured ❌ (toylib 1.0, CPU (toy, 2 cores))" in notes(made)


def test_a_rule_that_was_never_held_against_a_backend_is_a_note() -> None:
    said = [note for note in notes(subject()) if "was never held against pytorch: `paramatrix claims` does it" in note]
    others = [rule.id for rule in REGISTRY if rule.holds_for("pytorch") and rule.id != OVER_STRICT]
    assert [note.split()[1] for note in said] == others


# Pages and their results ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", [SUPPORT, INVALID])
def test_a_page_that_differs_from_its_results_is_named_with_the_line(page: str) -> None:
    number = subject().pages[page].splitlines().index("") + 1
    problem = only(subject(page=page, edit=sub("^$", "By hand.")))
    assert problem.startswith(f"{page}:{number}: is not what its results render to: has 'By hand.', expected ''.")


def test_a_page_that_is_not_there_is_named() -> None:
    made = subject()
    without = dataclasses.replace(made, pages={SUPPORT: made.pages[SUPPORT]})
    assert only(without) == f"{INVALID}: there is no such page. `paramatrix report` renders it again."


def test_line_ends_of_another_system_are_named() -> None:
    assert "its line ends differ" in only(subject(page=SUPPORT, edit=lambda text: text.replace("\n", "\r\n")))


def test_a_row_that_nothing_plans_any_more_is_named() -> None:
    gone = Planned(cell="pytorch-old=1", backend="pytorch", row="old=1", section="Decoder")
    assert only(subject(also=(gone,))).startswith("results: pytorch-old=1 is among the rows, and nothing plans it")


# Within a page ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "replacement", "says"),
    [
        (r": 3/5 ", ": 4/5 ", "says passed 4, its table shows 3"),
        (r": 3/5 ", ": 3/6 ", "says planned 6, its table shows 5"),
        (r"judged: 4", "judged: 5", "says judged 5, its table shows 4"),
        (r"failed: 1", "failed: 0", "says failed 0, its table shows 1"),
        (r"uncertain: 0", "uncertain: 1", "says uncertain 1, its table shows 0"),
        (r"not run: 1\]", "not run: 0]", "says not_run 0, its table shows 1"),
        (r"60\.0%", "99.9%", "says 99.9% of 3/5"),
        (r"^- \*\*PYTORCH.*$", "", "pytorch has cells and no summary"),
        (r"^(- \*\*)PYTORCH(.*)$", r"\1PYTORCH\2\n\1VLLM\2", "vllm has a summary and no cells"),
        (r"(`decoder.top_k=1` \| )✅", r"\1✔", "'✔' in the column of pytorch is no symbol of the legend"),
        (r"(`decoder.top_k=1` \| )✅", r"\1❌", "says failed 1, its table shows 2"),
    ],
)
def test_a_summary_that_its_table_does_not_bear_out_is_named(pattern: str, replacement: str, says: str) -> None:
    problems = lint.check(subject(page=SUPPORT, edit=sub(pattern, replacement)))
    assert [problem for problem in problems if says in problem], problems


@pytest.mark.parametrize(
    ("page", "line", "says"),
    [
        (SUPPORT, r"\| `decoder\.top_k=1`", "row decoder.top_k=1 stands there 2 times"),
        (
            INVALID,
            r"\| pytorch \| `decoder\.top_k=3` \|",
            "the limitation pytorch: decoder.top_k=3 stands there 2 times",
        ),
        (INVALID, r"\| Sampling \| ✅", "the feature Sampling stands there 2 times"),
        (INVALID, r"\| all \| `quantization\.quantization=True", "stands there 2 times"),
    ],
)
def test_what_stands_on_a_page_twice_is_named(page: str, line: str, says: str) -> None:
    problems = lint.check(subject(page=page, edit=twice(line)))
    assert [problem for problem in problems if says in problem], problems


@pytest.mark.parametrize(
    ("pattern", "replacement", "says"),
    [
        (r"^\| Sampling \| ✅", "| Sampling | ❌", "Sampling on PyTorch is ❌, and its cells are ✅"),
        (r"^\| Sampling \| ✅", "| Sampling | ⚠️", "Sampling on PyTorch is ⚠️, and all its cells are ✅"),
        (
            r"^\| Sampling \| ✅",
            "| Sampling | *yes*",
            "Sampling on PyTorch is declared, and cells of it were judged: ✅",
        ),
        (
            r"^\| Packing \| \*declared: yes\*",
            "| Packing | ✅",
            "Packing on PyTorch is ✅, and no cell of it was judged",
        ),
    ],
)
def test_a_feature_that_its_cells_do_not_bear_out_is_named(pattern: str, replacement: str, says: str) -> None:
    problems = lint.check(subject(page=INVALID, edit=sub(pattern, replacement)))
    assert [problem for problem in problems if problem.endswith(says)], problems


# Between the pages ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("page", "pattern", "replacement", "says"),
    [
        (
            INVALID,
            r"❌ (`pytorch-decoder\.top_k=3`)",
            r"✅ \1",
            "pytorch-decoder.top_k=3 is ✅ below 'Runtime Limitations'; on parameter-support-matrix.md it is ❌",
        ),
        (
            INVALID,
            r"✅ (`pytorch-decoder\.top_k=2`)",
            r"⚠️ \1",
            "pytorch-decoder.top_k=2 is ⚠️ below 'Cells behind the symbols'; on parameter-support-matrix.md it is ✅",
        ),
        (
            SUPPORT,
            r"(`decoder\.top_k=3` \| )❌",
            r"\1✅",
            "pytorch-decoder.top_k=3 fails at runtime; on parameter-support-matrix.md it is ✅",
        ),
        (
            SUPPORT,
            r"^\| `decoder\.top_k=3` .*\n",
            "",
            "pytorch-decoder.top_k=3 fails at runtime; on parameter-support-matrix.md it is not there",
        ),
        (
            INVALID,
            r"^(\| pytorch \| `decoder\.top_p=0\.5` \|.*\| )[^|]*\|$",
            r"\1declared, not measured here |",
            "",
        ),
    ],
)
def test_a_cell_that_the_pages_show_differently_is_named(page: str, pattern: str, replacement: str, says: str) -> None:
    problems = lint.check(subject(page=page, edit=sub(pattern, replacement)))
    assert [problem for problem in problems if problem.endswith(says)], problems


def test_a_limitation_called_unmeasured_whose_cell_was_judged_is_named() -> None:
    passing = changed(CELLS[3])
    edit = sub(r"^(\| pytorch \| `decoder\.top_p=0\.5` \|.*\| )[^|]*\|$", r"\1declared, not measured here |")
    problems = lint.check(subject(cells=passing, page=INVALID, edit=edit))
    assert [problem for problem in problems if "decoder.top_p=0.5 of pytorch is a limitation declared" in problem]


# Capabilities, limitations, use cases -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("capability", "says"),
    [
        (
            dataclasses.replace(SAMPLING, own_rows={"pytorch": ("decoder.top_k=1", "decoder.top_k=9")}),
            "capability 'Sampling' on pytorch: rests on pytorch-decoder.top_k=9, which is not planned",
        ),
        (
            dataclasses.replace(SAMPLING, stated={**EVERYWHERE, "pytorch": UNABLE}),
            "declared not able, and pytorch-decoder.top_k=1, pytorch-decoder.top_k=2 passed",
        ),
        (
            dataclasses.replace(SAMPLING, stated={"pytorch": SAID, "vllm": SAID}),
            "capability 'Sampling' on tensorrt: nothing is declared",
        ),
        (
            dataclasses.replace(SAMPLING, own_rows={"pytorch": ("quantization.quantization=True",)}),
            "declared able, and validation rejects pytorch-quantization.quantization=True",
        ),
    ],
)
def test_a_capability_at_odds_with_its_cells_is_named(capability: Capability, says: str) -> None:
    assert says in only(subject(declared(capabilities=(capability, PACKING))))


def test_a_limitation_of_a_cell_that_is_not_planned_is_named() -> None:
    absent = dataclasses.replace(LIMIT, rows=("decoder.top_p=0.9",))
    assert only(subject(declared(limitations=(absent,)))) == (
        "limitation decoder.top_p=0.9 of pytorch: is about pytorch-decoder.top_p=0.9, which is not planned"
    )


@pytest.mark.parametrize(
    ("case", "says"),
    [
        (dataclasses.replace(CASE, rests_on=("Flying",)), "rests on 'Flying', which is no capability: expected one of"),
        (dataclasses.replace(CASE, rows={"vllm": "a=1"}), "is decided by vllm-a=1, which is not planned"),
        (dataclasses.replace(CASE, backend="tensorrt"), "recommends tensorrt, whose Sampling is declared: no"),
    ],
)
def test_a_recommendation_at_odds_with_what_it_rests_on_is_named(case: UseCase, says: str) -> None:
    assert says in only(subject(declared(use_cases=(case,))))


def test_a_recommended_backend_whose_feature_failed_is_named() -> None:
    failed = Capability("Failing", (), EVERYWHERE, own_rows={"pytorch": ("decoder.top_k=3",)})
    case = dataclasses.replace(CASE, rests_on=("Failing",))
    made = subject(declared(capabilities=(SAMPLING, failed), use_cases=(case,)))
    assert only(made) == "use case 'Drawing': recommends pytorch, whose Failing is ❌"


# Rules and measured passes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("claimed", [Claims(), claims(), claims(over_strict(Outcome.FAILS))])
def test_a_rule_that_rejects_a_cell_that_passed_has_to_be_known_as_over_strict(claimed: Claims) -> None:
    assert only(subject(claimed=claimed)).startswith(
        f"pytorch-quantization.quantization=True: rule {OVER_STRICT} rejects it, and it passed. Mend the rule"
    )


def test_a_cell_that_the_schema_rejects_and_that_passed_is_named() -> None:
    matrix = declared(parameters=(*MATRIX.parameters, parameter("decoder.top_p", Value(7), section="Core")))
    odd = cell_record("r", "decoder.top_p=7", section="Core", rejected_by_validation="above 1")
    assert only(subject(matrix, (*CELLS, odd))).startswith(
        "pytorch-decoder.top_p=7: the schema rejects it, and it passed"
    )


def test_a_cell_judged_under_other_rules_than_todays_is_named() -> None:
    before = only(subject(cells=changed(REFUSED)))
    assert before.startswith(
        "pytorch-quantization.quantization=True: validation accepted it when it was measured, and rej"
    )
    since = only(subject(cells=changed(CELLS[0], rejected_by_validation="a rule of old")))
    assert since.startswith(
        "pytorch-decoder.top_k=1: validation rejected it when it was measured, and accepts it today"
    )


# Recommended configurations ---------------------------------------------------------------------------------------

GOOD = "# Plain\nmodel: org/model\ndecoder:\n  top_k: 1\n  do_sample: true\n"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (GOOD.replace("top_k: 1", "top_k: no"), "decoder.top_k"),
        (GOOD + "  temperature: 0.0\n", "decoder.temperature"),
        (GOOD.replace("top_k: 1", "top_k: 3"), "pytorch-decoder.top_k=3 failed: rejected_by_backend: ValueError: no"),
    ],
)
def test_a_recommended_config_that_is_invalid_or_known_to_fail_is_named(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "1.yaml").write_text(GOOD)
    matrix = declared(recommended=tmp_path)
    assert [*lint.declarations(matrix), *lint.check(subject(matrix))] == []
    (tmp_path / "1.yaml").write_text(text)
    problems = [*lint.declarations(matrix), *lint.check(subject(matrix))]
    assert problems
    assert all(problem.startswith("recommended 1.yaml: ") and says in problem for problem in problems), problems


def test_a_recommended_config_that_was_run_and_failed_is_named(tmp_path: Path) -> None:
    (tmp_path / "1.yaml").write_text(GOOD)
    trial = Trial(
        settings={"decoder.top_k": 1, "decoder.do_sample": True}, outcome=Outcome.FAILS, says="ValueError: no"
    )
    claimed = claims(over_strict(), recommended=(Recommended(file="1.yaml", trial=trial),))
    made = subject(declared(recommended=tmp_path), claimed=claimed)
    assert only(made) == "recommended 1.yaml: it was run as it is and fails: ValueError: no"


def test_two_recommended_configs_of_one_name_are_named(tmp_path: Path) -> None:
    for name in ("1.yaml", "2.yaml"):
        (tmp_path / name).write_text(GOOD)
    assert only(subject(declared(recommended=tmp_path))) == "recommended: 2 configs are called '# Plain'"


# The command ------------------------------------------------------------------------------------------------------


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with results, of its default version and of another, and all their pages."""
    folder = projects.make(tmp_path / "project", matrix="test_lint.MATRIX")
    older = folder / "reports" / "pytorch-0.9"
    for place, cells in ((folder / "reports", CELLS), (older, CELLS[:-1])):
        place.mkdir(parents=True)
        found = results(*cells)
        lines: list[RunRecord | CellRecord] = [*found.runs.values(), *found.cells.values()]
        (place / "results.jsonl").write_bytes(b"".join(store.dump(line) for line in lines))
        known = claims(over_strict()) if place is not older else Claims()
        if known.backends:
            (place / "claims.json").write_text(known.model_dump_json())
        pages.write(MATRIX, found, known, TEMPLATES, place)
    page = compared(difference(results(*CELLS[:-1]), results(*CELLS)), TEMPLATES)
    rendering.save(page, folder / "reports" / "pytorch-0.9-to-1.0.md")
    return folder


def test_the_command_looks_at_every_version_and_at_the_pages_that_compare_them(project: Path) -> None:
    done = projects.paramatrix(project, "lint")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "reports: 5 cells on 2 pages: no contradiction" in done.stdout
    assert "reports/pytorch-0.9: 4 cells on 2 pages: no contradiction" in done.stdout
    names = ("invalid-combinations.md", "pytorch-0.9/parameter-support-matrix.md", "pytorch-0.9-to-1.0.md")
    for name in names:
        with (project / "reports" / name).open("a") as page:
            page.write("More.\n")
    done = projects.paramatrix(project, "lint")
    assert done.returncode == 1
    *problems, last = [line for line in done.stdout.splitlines() if not line.startswith("note: ")]
    assert last == "3 contradictions"
    for name, problem in zip(names, problems, strict=True):
        assert name.rpartition("/")[2] in problem
        assert "'More.'" in problem


OTHER = "| `footprint_bytes` | `1` | `2` | pytorch-decoder.top_k=1 |"


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        (lambda text: re.sub(r"^\| `top_k` .*\n", "", text, flags=re.MULTILINE), ""),
        (lambda text: text.replace("## Appeared", f"{OTHER}\n\n## Appeared"), f"has {OTHER!r}"),
        (lambda text: text.replace("Judged differently: 1", "Judged differently: 0"), "has '- Judged differently: 0'"),
        (
            lambda text: re.sub(r"^\| `pytorch-decoder\.top_k=2` .*\n", "", text, flags=re.MULTILINE),
            "lacks '| `pytorch-dec",
        ),
    ],
)
def test_a_comparison_may_leave_out_what_varies_by_nature_and_nothing_else(
    edit: Callable[[str], str], says: str
) -> None:
    seen = cell_record("r", "decoder.top_k=1")
    other = seen.model_copy(update={"evidence": seen.evidence.model_copy(update={"resolved": {"top_k": 2}})})
    before = results(seen, cell_record("r", "decoder.top_k=2", Cause.IGNORED))
    fresh = compared(difference(before, results(other, cell_record("r", "decoder.top_k=2"), CELLS[2])), TEMPLATES)
    changed = edit(fresh)
    assert changed != fresh
    problems = list(stale_comparison("page", changed, fresh))
    assert [says in problem for problem in problems] == ([True] if says else [])


def test_the_command_looks_at_results_and_pages_that_lie_elsewhere(project: Path, tmp_path: Path) -> None:
    source = project / "reports" / "results.jsonl"
    asked = ("--results", str(source), "--out", str(tmp_path / "pages"))
    assert projects.paramatrix(project, "report", *asked).returncode == 0
    assert projects.paramatrix(project, "lint", *asked).returncode == 0
    (tmp_path / "pages" / SUPPORT).unlink()
    assert f"{SUPPORT}: there is no such page" in projects.paramatrix(project, "lint", *asked).stdout


def test_results_that_cannot_be_read_are_an_error_and_no_contradiction(project: Path) -> None:
    (project / "reports" / "results.jsonl").write_text("{}\n")
    done = projects.paramatrix(project, "lint")
    assert done.returncode == 2
    assert "not a results line" in done.stderr
