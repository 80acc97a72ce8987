"""The page of invalid combinations: what was measured, what is declared, and nothing mixed up."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from harness import claims as records
from harness import combinations, recommended
from harness.abilities import ability
from harness.advice import Advice, advise
from harness.claims import BackendClaims, Claim, Claims, Recommended, Trial
from harness.config.files import validate_text
from harness.config.rules import REGISTRY, Rule
from harness.declare import Matrix
from harness.declare_limits import Capability, Limitation, Stated, UseCase
from harness.energy.measured import Measurements
from harness.energy.quality import Flag, Note
from harness.pagereader import Page
from harness.records import BackendInfo, CellRecord, HarnessInfo
from harness.store import Results
from harness.verdict import Cause
from matrix import MATRIX
from tests.measurements import energy, file
from tests.measurements import measured as cost
from tests.toys import cell_record, planned, run_record

ROOT = Path(__file__).resolve().parent.parent
TEMPLATES = ROOT / "templates"
VERSIONS: dict[str, str | None] = {"torch": "2.13.0", "transformers": "5.23.0"}
INFO = BackendInfo(model="models/tiny", model_hash=None, packages=VERSIONS, cpu="toy", cpus=2)
LIMIT = Limitation("pytorch", ("a.b=1", "a.b=2"), "wants a moon", "Bring one")
FEATURE = Capability("Flying", ("fly=high", "fly=low"), {"pytorch": Stated(able=True, source="Bob", note="with wings")})


def measured(*cells: CellRecord) -> Results:
    results = Results()
    rows = [planned(cell.row, cell.backend) for cell in cells]
    results.add(run_record("r", *rows, backends={"pytorch": INFO, "vllm": INFO}))
    for cell in cells:
        results.add(cell)
    return results


def matrix(**changes: Any) -> Matrix:
    return dataclasses.replace(MATRIX, **changes)


def claimed(*claims: Claim, recommended: tuple[Recommended, ...] = ()) -> Claims:
    harness = HarnessInfo(version="0.1.0", commit=None, python="3.11.9")
    found = BackendClaims(
        started="2026-02-01T00:00:00Z",
        harness=harness,
        backend=INFO,
        claims=list(claims),
        recommended=list(recommended),
    )
    return Claims(backends={"pytorch": found})


def claim(rule: Rule, witness: records.Outcome, neighbour: records.Outcome = records.Outcome.WORKS) -> Claim:
    def trial(settings: Mapping[str, Any], outcome: records.Outcome) -> Trial:
        return Trial(settings=dict(settings), outcome=outcome, says="as seen")

    return Claim(
        rule=rule.id,
        severity=rule.severity,
        witness=trial(rule.witness, witness),
        neighbour=trial(rule.neighbour, neighbour),
    )


def text(results: Results | None = None, claims: Claims | None = None, declared: Matrix = MATRIX) -> str:
    return combinations.render(declared, results or Results(), claims or Claims(), TEMPLATES)


def test_the_sections_are_those_of_the_sample_in_its_order() -> None:
    sections = [line.removeprefix("## ") for line in text().splitlines() if line.startswith("## ")]
    assert sections == [
        "Config Validation Errors",
        "Runtime Limitations",
        "Backend Capability Matrix",
        "Recommended Configurations by Use Case",
    ]


def test_every_rule_has_one_row_errors_and_warnings_apart() -> None:
    tables = Page(text()).tables
    for heading, severity in (("Config Validation Errors", "error"), ("Warnings", "warning")):
        head, *rows = tables[heading]
        assert head == ["Backend", "Invalid Combination", "Reason", "Resolution"]
        rules = [rule for rule in REGISTRY if rule.severity == severity]
        assert [(row[1], row[3]) for row in rows] == [(rule.combination, rule.resolution) for rule in rules]
        assert [row[0] for row in rows] == [", ".join(rule.backends or ("all",)) for rule in rules]
        assert all(rule.reason in row[2] for rule, row in zip(rules, rows, strict=True))


def test_a_cell_that_failed_is_a_limitation_with_its_cause_versions_and_device() -> None:
    results = measured(cell_record("r", "decoder.top_k=1", Cause.IGNORED, reason="top_k was dropped"))
    row = Page(text(results)).tables["Runtime Limitations"][1]
    assert row[:3] == ["pytorch", "decoder.top_k=1", "ignored: top_k was dropped"]
    assert row[4] == "❌ pytorch-decoder.top_k=1 ignored (torch 2.13.0, transformers 5.23.0, CPU (toy, 2 cores))"


@pytest.mark.parametrize("cause", [Cause.CONFIRMED, Cause.FLAKY, Cause.ENVIRONMENT, Cause.HARNESS_ERROR])
def test_a_cell_that_worked_or_taught_nothing_is_no_limitation(cause: Cause) -> None:
    results = measured(cell_record("r", "decoder.top_k=1", cause))
    assert combinations.limitations(matrix(limitations=()), results) == []


def test_a_cell_that_validation_rejects_is_a_config_error_and_no_runtime_limitation() -> None:
    results = measured(cell_record("r", "decoder.top_k=1", Cause.REJECTED, rejected_by_validation="no"))
    assert combinations.limitations(matrix(limitations=()), results) == []
    assert combinations.unforeseen(results) == []


def test_a_declared_limitation_is_marked_as_such_until_its_cells_are_measured() -> None:
    (row,) = combinations.limitations(matrix(limitations=(LIMIT,)), Results())
    assert (row.parameter, row.limitation, row.measured) == ("a.b=1/2", "wants a moon", ())
    _, shown = Page(text(declared=matrix(limitations=(LIMIT,)))).tables["Runtime Limitations"]
    assert shown[4] == "declared, not measured here"
    cells = [cell_record("r", f"a.b={value}", Cause.MISSING_HARDWARE, reason="no moon") for value in (1, 2)]
    rows = combinations.limitations(matrix(limitations=(LIMIT,)), measured(*cells))
    assert [(row.parameter, row.limitation, row.resolution) for row in rows] == [
        ("a.b=1", "missing_hardware: no moon", "Bring one"),
        ("a.b=2", "missing_hardware: no moon", "Bring one"),
    ]


def test_a_declared_limitation_that_a_cell_contradicts_says_so() -> None:
    results = measured(cell_record("r", "a.b=1", Cause.CONFIRMED))
    (row,) = combinations.limitations(matrix(limitations=(LIMIT,)), results)
    assert row.limitation == "wants a moon; it did not show where measured"
    assert [(item.symbol, item.cell) for item in row.measured] == [("✅", "pytorch-a.b=1")]
    met = dataclasses.replace(LIMIT, given="the cells were given one")
    (row,) = combinations.limitations(matrix(limitations=(met,)), results)
    assert row.limitation == "wants a moon; the cells were given one"


def test_a_backend_that_could_not_be_started_is_told_once_and_limits_no_parameter() -> None:
    cells = [cell_record("r", f"a.b={n}", Cause.MISSING_PACKAGE, reason="none here", backend="vllm") for n in (1, 2)]
    away = INFO.model_copy(update={"unavailable": "none here"})
    results = Results()
    results.add(run_record("r", *(planned(cell.row, "vllm") for cell in cells), backends={"vllm": away}))
    for cell in cells:
        results.add(cell)
    assert combinations.limitations(matrix(limitations=()), results) == []
    assert "None of the 2 cells of vLLM was run: missing_package: none here" in text(results)


@pytest.mark.parametrize("cause", [Cause.ENVIRONMENT, Cause.FLAKY])
def test_a_cell_that_taught_nothing_leaves_a_declared_limitation_as_it_was(cause: Cause) -> None:
    (row,) = combinations.limitations(matrix(limitations=(LIMIT,)), measured(cell_record("r", "a.b=1", cause)))
    assert (row.limitation, row.measured) == ("wants a moon", ())


def test_what_a_machine_lacks_is_a_limitation_whatever_validation_says() -> None:
    cell = cell_record("r", "a.b=1", Cause.MISSING_PACKAGE, rejected_by_validation="no")
    rows = combinations.limitations(matrix(limitations=()), measured(cell))
    assert [row.parameter for row in rows] == ["a.b=1"]


def test_the_features_are_the_eleven_of_the_sample() -> None:
    head, *rows = Page(text()).tables["Backend Capability Matrix"]
    assert head == ["Feature", "PyTorch", "vLLM", "TensorRT"]
    assert [row[0] for row in rows] == [
        "Tensor Parallel",
        "Pipeline Parallel",
        "Data Parallel",
        "BitsAndBytes (4/8-bit)",
        "Native Quantization",
        "float32 precision",
        "float16 precision",
        "bfloat16 precision",
        "Streaming (TTFT/ITL)",
        "LoRA Adapters",
        "Speculative Decoding",
    ]


def test_without_results_no_feature_wears_a_symbol() -> None:
    for row in Page(text()).tables["Backend Capability Matrix"][1:]:
        for shown in row[1:]:
            assert shown.startswith(("<em_open>declared: yes<em_close>", "<em_open>declared: no<em_close>"))
            assert not set("✅❌⚠") & set(shown)


@pytest.mark.parametrize(
    ("causes", "shown"),
    [
        ([Cause.CONFIRMED, Cause.CONFIRMED], "✅"),
        ([Cause.IGNORED, Cause.REJECTED], "❌"),
        ([Cause.CONFIRMED, Cause.REJECTED], "⚠️ (1 of 2 cells pass)"),
        ([Cause.CONFIRMED, Cause.FLAKY], "⚠️ (1 of 2 cells pass)"),
        ([Cause.IGNORED, Cause.FLAKY], "⚠️"),
        ([Cause.CONFIRMED, Cause.MISSING_HARDWARE], "✅ (1 of 2 cells measured)"),
        ([Cause.CONFIRMED], "✅ (1 of 2 cells measured)"),
        ([Cause.MISSING_PACKAGE, Cause.ENVIRONMENT], "declared: yes"),
        ([], "declared: yes"),
    ],
)
def test_a_feature_shows_what_its_cells_showed(causes: list[Cause], shown: str) -> None:
    cells = [cell_record("r", row, cause) for row, cause in zip(FEATURE.rows, causes, strict=False)]
    found = ability(FEATURE, "pytorch", measured(*cells))
    assert found.text == shown
    assert [item.cell for item in found.measured] == [cell.cell for cell in cells]
    assert found.footnote == ("with wings; Bob" if shown.startswith("declared") else "with wings")


@pytest.mark.parametrize(("levels", "shown"), [(("state", "state"), "✅ˢ"), (("state", "behaviour"), "✅")])
def test_a_feature_that_state_alone_shows_is_marked_like_its_cells(levels: tuple[str, str], shown: str) -> None:
    cells = [cell_record("r", row) for row in FEATURE.rows]
    cells = [
        cell.model_copy(update={"evidence": cell.evidence.model_copy(update={"level": level})})
        for cell, level in zip(cells, levels, strict=True)
    ]
    assert ability(FEATURE, "pytorch", measured(*cells)).text == shown


def test_cells_of_one_backend_say_nothing_about_another() -> None:
    results = measured(cell_record("r", "fly=high"), cell_record("r", "fly=low"))
    assert ability(FEATURE, "vllm", results).text == "declared: unknown"


def test_equal_footnotes_share_a_mark_and_each_mark_has_its_note() -> None:
    wings, sky = Stated(able=True, source="Bob"), Stated(able=False, source="Ann", note="by balloon")
    shown = text(
        declared=matrix(
            capabilities=(
                Capability("Flying", (), {"pytorch": wings, "vllm": sky}),
                Capability("Gliding", (), {"pytorch": wings}),
            )
        )
    )
    rows = Page(shown).tables["Backend Capability Matrix"][1:]
    plain = [[cell.replace("<em_open>", "").replace("<em_close>", "") for cell in row] for row in rows]
    assert plain == [
        ["Flying", "declared: yes¹", "declared: no²", "declared: unknown"],
        ["Gliding", "declared: yes¹", "declared: unknown", "declared: unknown"],
    ]
    assert "¹ PyTorch: Bob\\\n² vLLM: by balloon; Ann\n" in shown


# Recommendations --------------------------------------------------------------------------------------------------

FASTEST = UseCase(
    "Speed",
    "vllm",
    "it is said to be fast",
    rests_on=("Flying",),
    figure="tokens_per_s",
    rows={"pytorch": "fly=high", "vllm": "fly=low"},
)
BOTH = (cell_record("r", "fly=high"), cell_record("r", "fly=low", backend="vllm"))


def advice(case: UseCase, results: Results, **speeds: float) -> Advice:
    """The row of a use case, where these backends were measured to be so many times as fast as their control."""
    records = [cost(case.rows[backend], energy(speed=speed), backend=backend) for backend, speed in speeds.items()]
    (found,) = advise(matrix(use_cases=(case,), capabilities=(FEATURE,)), results, file(*records))
    return found


def test_figures_of_equal_circumstances_decide_which_backend_is_recommended() -> None:
    found = advice(FASTEST, measured(*BOTH), pytorch=4.0, vllm=2.0)
    assert found.backend == "PyTorch"
    assert found.reason == "PyTorch 200 tokens/s (198 to 202); vLLM 100 tokens/s (99.01 to 101)"
    assert found.basis == "measured: pytorch-fly=high, vllm-fly=low (model models/tiny, CPU (toy, 2 cores))"
    least = dataclasses.replace(FASTEST, better="lower")
    assert advice(least, measured(*BOTH), pytorch=4.0, vllm=2.0).backend == "vLLM"


def test_backends_whose_intervals_meet_are_not_told_apart() -> None:
    assert advice(FASTEST, measured(*BOTH), pytorch=2.0, vllm=2.003).backend == "vLLM or PyTorch"


@pytest.mark.parametrize(
    ("cells", "means"),
    [
        (BOTH, {}),
        (BOTH, {"pytorch": 4.0}),
        ((BOTH[0], cell_record("r", "fly=low", Cause.IGNORED, backend="vllm")), {"pytorch": 4.0, "vllm": 2.0}),
        (BOTH[:1], {"pytorch": 4.0, "vllm": 2.0}),
    ],
)
def test_without_two_comparable_figures_a_recommendation_is_declared(
    cells: tuple[CellRecord, ...], means: dict[str, float]
) -> None:
    found = advice(FASTEST, measured(*cells), **means)
    assert (found.backend, found.reason) == ("vLLM", "it is said to be fast")
    assert found.basis.startswith("declared: no comparable figures were measured here; Flying ")


def test_a_declared_recommendation_says_where_the_features_it_rests_on_were_seen() -> None:
    wide = dataclasses.replace(FASTEST, backend="pytorch", figure=None)
    seen = "; Flying ✅ (1 of 2 cells measured) (torch 2.13.0, transformers 5.23.0, CPU (toy, 2 cores))"
    assert advice(wide, measured(*BOTH)).basis == f"declared: no comparable figures were measured here{seen}"
    assert advice(wide, Results()).basis == "declared: no comparable figures were measured here; Flying declared: yes"


def test_figures_from_different_devices_are_not_compared() -> None:
    records = [cost("fly=high", energy(speed=4.0)), cost("fly=low", energy(speed=2.0), backend="vllm", run="other")]
    costs = file(*records)
    assert advised(costs).basis.startswith("measured")
    info = costs.runs["other"].backends["vllm"].model_copy(update={"cpus": 64})
    costs.runs["other"] = costs.runs["other"].model_copy(update={"backends": {"vllm": info}})
    assert advised(costs).basis.startswith("declared")


def advised(costs: Measurements, case: UseCase = FASTEST) -> Advice:
    (found,) = advise(matrix(use_cases=(case,), capabilities=(FEATURE,)), measured(*BOTH), costs)
    return found


HOT = (Note(Flag.THROTTLED, "clocks were held down"),)
UNSURE = (Note(Flag.SENSORS_DISAGREE, "more than 5% apart"),)


@pytest.mark.parametrize(
    ("figure", "notes", "decides"),
    [
        ("j_per_output_token", (), True),
        ("j_per_output_token", UNSURE, False),
        ("j_per_output_token", HOT, False),
        ("tokens_per_s", UNSURE, True),
        ("tokens_per_s", HOT, False),
        ("ttft_p50_s", (), False),
    ],
)
def test_figures_that_something_speaks_against_recommend_nothing(
    figure: str, notes: tuple[Note, ...], decides: bool
) -> None:
    case = dataclasses.replace(FASTEST, figure=figure)
    records = [cost("fly=high", energy(speed=4.0, notes=notes)), cost("fly=low", energy(speed=2.0), backend="vllm")]
    assert advised(file(*records), case).basis.startswith("measured" if decides else "declared")


def test_what_nobody_declares_is_not_recommended_without_figures() -> None:
    found = advice(dataclasses.replace(FASTEST, backend=None), measured(*BOTH))
    assert found.backend == "–"
    assert found.basis == "nothing is declared, and no comparable figures were measured here"


def test_no_recommendation_of_today_claims_to_be_measured() -> None:
    """Records hold seconds of one short run, on a machine that may be busy: no figure is made of them."""
    cells = [cell_record("r", "batching.batch_size=8", backend=backend) for backend in ("pytorch", "vllm")]
    rows = advise(MATRIX, measured(*cells))
    assert [row.use_case for row in rows] == [case.name for case in MATRIX.use_cases]
    assert not any(row.basis.startswith("measured") for row in rows)


def test_what_validation_accepts_and_upstream_refuses_is_listed_with_its_phase() -> None:
    cell = cell_record("r", "decoder.top_k=1", Cause.REJECTED, reason="ValueError: no")
    failed = cell.evidence.model_copy(update={"observed": {"failure": {"phase": "load", "kind": "exception"}}})
    results = measured(cell.model_copy(update={"evidence": failed}), cell_record("r", "streaming=True", Cause.IGNORED))
    _, *rows = Page(text(results)).tables["Accepted by validation, fails at runtime"]
    assert rows == [["pytorch", "decoder.top_k=1", "load", "rejected_by_backend: ValueError: no"]]


def test_equal_results_give_equal_bytes_in_whatever_order_they_were_measured() -> None:
    cells = [cell_record("r", f"decoder.top_k={value}", Cause.IGNORED) for value in (10, 9, 1)]
    cells += [cell_record("r", "streaming=True", Cause.REJECTED)]
    assert text(measured(*cells)) == text(measured(*reversed(cells)))


def test_text_from_anywhere_cannot_break_the_tables() -> None:
    evil = "a | b\n\n# heading `code` <b>html</b> [x](y)"
    results = measured(cell_record("r", "decoder.top_k=1", Cause.REJECTED, reason=" ".join(evil.split())))
    rule = next(rule for rule in REGISTRY if rule.holds_for("pytorch") and rule.severity == "error")
    said = claim(rule, records.Outcome.WORKS)
    said = said.model_copy(update={"witness": said.witness.model_copy(update={"says": evil})})
    page = Page(text(results, claimed(said)))
    assert page.html == []
    assert "heading" not in " ".join(page.headings)
    for rows in page.tables.values():
        assert {len(row) for row in rows} == {len(rows[0])}


def test_disagreements_are_listed_with_versions_and_reason_and_agreements_are_not() -> None:
    errors = [rule for rule in REGISTRY if rule.severity == "error" and rule.holds_for("pytorch")]
    warned = next(rule for rule in REGISTRY if rule.severity == "warning" and rule.holds_for("pytorch"))
    works, fails = records.Outcome.WORKS, records.Outcome.FAILS
    claims = claimed(
        claim(errors[0], works),
        claim(errors[1], fails),
        claim(errors[2], fails, neighbour=fails),
        claim(errors[3], records.Outcome.REFUSED),
        claim(warned, fails),
    )
    _, *rows = Page(text(claims=claims)).tables["Are the rules right?"]
    assert [row[1] for row in rows] == ["over-strict", "missing rule", "too lenient"]
    assert rows[0][4] == " ".join(errors[0].reason.split())
    assert rows[0][5] == "torch 2.13.0, transformers 5.23.0"


def test_recommended_configs_are_valid_without_a_warning_and_stand_on_the_page_word_for_word() -> None:
    page = text()
    files = recommended.recommended_files(MATRIX.recommended)
    assert [path.read_text().splitlines()[0] for path in files] == [
        "# Memory-Constrained (Consumer GPU)",
        "# High Throughput (Production)",
        "# Maximum Performance (Hopper or newer)",
    ]
    for path in files:
        content = path.read_text()
        assert validate_text(content, path.name, strict=True).status == "valid"
        title, _, yaml = content.partition("\n")
        assert f"##{title}\n```yaml\n{yaml}```\n" in page


def test_a_recommended_config_says_whether_it_was_run_as_it_is() -> None:
    stated: dict[str, Any] = {"quantization.load_in_4bit": True, "quantization.bnb_4bit_quant_type": "nf4"}

    def statuses(settings: dict[str, Any]) -> list[str]:
        trial = Trial(settings=settings, outcome=records.Outcome.WORKS)
        tried = claimed(recommended=(Recommended(file="1-memory-constrained.yaml", trial=trial),))
        return [item.status for item in recommended.recommendations(MATRIX.recommended, tried)]

    first, *others = statuses(stated)
    assert first == (
        "Run as it is, with the model models/tiny: works (torch 2.13.0, transformers 5.23.0, CPU (toy, 2 cores))"
    )
    assert set(others) == {"Declared, not measured here"}
    # what was run is another config than the file states now
    assert set(statuses(stated | {"fp_precision": "float16"})) == {"Declared, not measured here"}


def test_the_committed_claims_are_about_the_present_rules() -> None:
    known = records.read(ROOT / "reports" / records.FILE)
    checked = {claim.rule: claim for claim in known.backends["pytorch"].claims}
    present = {rule.id: rule for rule in REGISTRY if rule.holds_for("pytorch")}
    assert checked.keys() == present.keys(), "run `paramatrix claims` again"
    for rule_id, rule in present.items():
        witness = {path: value for path, value in rule.witness.items() if path != "backend"}
        assert checked[rule_id].severity == rule.severity, rule_id
        assert checked[rule_id].witness.settings.items() >= witness.items(), rule_id
