"""The two-way check of the rules: what an example's run says, and what it does not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness import claims
from harness.claimcheck import Checker
from harness.claims import Agreement, BackendClaims, Claim, Claims, ClaimsError, Outcome, Trial
from harness.config.rules import REGISTRY, Rule, rule
from harness.declare import Seen
from harness.failure import Failure
from harness.host import Attempt, BackendHost
from harness.jsontypes import JSON, Settings
from harness.plan import Run
from harness.project import find
from harness.records import BackendInfo, HarnessInfo
from matrix import MATRIX
from tests import interpreters

SNAPSHOT: dict[str, JSON] = {"installed": {"torch": "2.13.0", "transformers": "5.23.0", "accelerate": "1.15.0"}}
UPSTREAM = Failure("generate", "exception", "ValueError", "upstream says no")
ADAPTER = Failure("load", "exception", "ConflictingSettingsError", "we say no", where="harness")
UNREAD = Failure("generate", "not_forwarded", "NotForwarded", "never read")
PACKAGE = Failure("load", "exception", "ImportError", "No module named 'moon'")
COLD = rule("decoding.sampling_at_temperature_zero")
INERT = rule("decoding.greedy_top_k")

Script = Callable[[Settings, int], Failure | None]


class Scripted:
    """Stands in for a backend host: settings and the number of earlier asks decide."""

    def __init__(self, script: Script, tokens: Callable[[Settings], int] = lambda _: 7) -> None:
        self.script = script
        self.tokens = tokens
        self.asked: list[Settings] = []
        self.fresh: list[bool] = []

    def observe(self, run: Run, *, model: str, cache_dir: str | None, fresh: bool, alone: bool = False) -> Attempt:  # noqa: ARG002
        del model, cache_dir
        failure = self.script(run.settings, self.asked.count(run.settings))
        self.asked.append(run.settings)
        self.fresh.append(fresh)
        if failure is not None:
            return Attempt(None, failure)
        ids = [self.tokens(run.settings)]
        output: Any = {"outputs": [{"prompt": 0, "seed": 0, "token_ids": ids, "text": "", "ended": True}]}
        return Attempt(Seen(output, {}, []), None)

    def close(self) -> None:
        """Nothing was started."""


def check(checked: Rule, script: Script, **more: Any) -> Claim:
    return Checker(MATRIX, "pytorch", Scripted(script, **more), SNAPSHOT).claim(checked)


def when(broken: Settings, failure: Failure, times: int = 99) -> Script:
    """Fails for just these settings, and `times` times."""
    return lambda settings, before: failure if settings == broken and before < times else None


WITNESS: Settings = dict(COLD.witness)
NEIGHBOUR: Settings = dict(COLD.neighbour)


@pytest.mark.parametrize(
    ("failure", "outcome", "agreement"),
    [
        (UPSTREAM, Outcome.FAILS, Agreement.AGREES),
        (ADAPTER, Outcome.REFUSED, Agreement.SILENT),
        (UNREAD, Outcome.REFUSED, Agreement.SILENT),
        (PACKAGE, Outcome.NOT_RUN, Agreement.SILENT),
        (None, Outcome.WORKS, Agreement.OVER_STRICT),
    ],
)
def test_a_rejected_witness_is_judged_by_whose_failure_it_was(
    failure: Failure | None, outcome: Outcome, agreement: Agreement
) -> None:
    found = check(COLD, when(WITNESS, failure) if failure else lambda *_: None)
    assert (found.witness.outcome, found.rejection) == (outcome, agreement)
    assert (found.neighbour.outcome, found.acceptance) == (Outcome.WORKS, Agreement.AGREES)


def test_the_witness_is_handed_over_although_validation_rejects_it() -> None:
    observer = Scripted(lambda *_: None)
    Checker(MATRIX, "pytorch", observer, SNAPSHOT).claim(COLD)
    assert WITNESS in observer.asked
    assert NEIGHBOUR in observer.asked


def test_an_accepted_neighbour_that_fails_is_a_missing_rule() -> None:
    found = check(COLD, when(NEIGHBOUR, UPSTREAM))
    assert (found.neighbour.outcome, found.acceptance) == (Outcome.FAILS, Agreement.MISSING_RULE)
    assert found.neighbour.says == "ValueError: upstream says no"


def test_a_warning_agrees_with_what_works_and_is_too_lenient_with_what_fails() -> None:
    assert check(INERT, lambda *_: None).rejection is Agreement.AGREES
    assert check(INERT, when(dict(INERT.witness), UPSTREAM)).rejection is Agreement.TOO_LENIENT


def test_a_failure_that_does_not_repeat_in_a_fresh_engine_says_nothing() -> None:
    found = check(COLD, when(WITNESS, UPSTREAM, times=1))
    assert found.witness.outcome is Outcome.NOT_RUN
    assert "then ran in a fresh engine" in found.witness.says


def test_nothing_is_believed_where_a_bare_config_fails_too() -> None:
    found = check(COLD, lambda *_: UPSTREAM)
    assert {found.witness.outcome, found.neighbour.outcome} == {Outcome.NOT_RUN}
    assert "a bare config fails as well" in found.witness.says


def test_a_witness_whose_neighbour_cannot_run_here_proves_nothing_by_failing() -> None:
    flash = rule("backends.flash_attention_float32")
    found = check(flash, when(dict(flash.witness), UPSTREAM))
    assert (found.neighbour.outcome, found.witness.outcome) == (Outcome.NOT_RUN, Outcome.NOT_RUN)
    assert "flash-attn" in found.neighbour.says


def test_a_neighbour_for_another_backend_is_not_run_here() -> None:
    observer = Scripted(lambda *_: None)
    found = Checker(MATRIX, "pytorch", observer, SNAPSHOT).claim(rule("backends.vllm_section"))
    assert (found.neighbour.outcome, found.acceptance) == (Outcome.ELSEWHERE, Agreement.SILENT)
    assert observer.asked == [{"vllm.enforce_eager": True}]


def test_a_neighbour_that_another_rule_rejects_on_the_backend_is_not_run_here() -> None:
    observer = Scripted(lambda *_: None)
    found = Checker(MATRIX, "vllm", observer, {"installed": {"vllm": "0.32.0"}}).claim(
        rule("quantization.4bit_and_8bit")
    )
    assert found.neighbour.outcome is Outcome.ELSEWHERE
    assert found.neighbour.says == "rejected on vllm: quantization.load_in_4bit=True"
    assert {"quantization.load_in_4bit": True} not in observer.asked


def test_what_works_is_compared_with_the_run_without_the_parameter() -> None:
    assert check(INERT, lambda *_: None).witness.says == "the same tokens as without decoder.top_k"
    told = check(INERT, lambda *_: None, tokens=len).witness.says
    assert told == "other tokens than without decoder.top_k"


def test_every_rule_of_the_backend_is_claimed_once() -> None:
    found = [claim.rule for claim in Checker(MATRIX, "pytorch", Scripted(lambda *_: None), SNAPSHOT).check()]
    assert found == [item.id for item in REGISTRY if item.holds_for("pytorch")]


def stored(*found: Claim) -> BackendClaims:
    info = BackendInfo(model="m", model_hash=None, packages={"torch": "2.13.0"})
    harness = HarnessInfo(version="0", commit=None, python="3.11")
    return BackendClaims(started="2026-01-01T00:00:00Z", harness=harness, backend=info, claims=list(found))


def test_the_table_counts_each_example_once() -> None:
    works, fails = Trial(settings={}, outcome=Outcome.WORKS), Trial(settings={}, outcome=Outcome.FAILS)
    refused, unrun = Trial(settings={}, outcome=Outcome.REFUSED), Trial(settings={}, outcome=Outcome.NOT_RUN)
    found = stored(
        Claim(rule="a", severity="error", witness=fails, neighbour=works),
        Claim(rule="b", severity="error", witness=works, neighbour=fails),
        Claim(rule="c", severity="error", witness=refused, neighbour=unrun),
        Claim(rule="d", severity="warning", witness=works, neighbour=works),
    )
    _, rejected, warned, accepted = claims.table(found).splitlines()
    assert rejected.split()[3:] == ["1", "agrees", "1", "over-strict", "1", "0"]
    assert warned.split()[3:] == ["0", "too", "lenient", "1", "agrees", "0", "0"]
    assert accepted.split()[3:] == ["1", "missing", "rule", "2", "agrees", "0", "1"]


def test_claims_are_written_and_read_back(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "claims.json"
    assert claims.read(file) == Claims()
    known = Claims(backends={"pytorch": stored(check(COLD, when(WITNESS, UPSTREAM)))})
    claims.write(known, file)
    assert claims.read(file) == known


@pytest.mark.parametrize("content", ["", "{", '{"format": 2}', '{"backends": {"pytorch": {}}}'])
def test_a_damaged_claims_file_is_one_clear_error(content: str, tmp_path: Path) -> None:
    file = tmp_path / "claims.json"
    file.write_text(content)
    with pytest.raises(ClaimsError, match="not a claims file"):
        claims.read(file)


REAL = {
    "quantization.4bit_and_8bit": (Outcome.FAILS, "only one can be used"),
    "decoding.sampling_at_temperature_zero": (Outcome.FAILS, "temperature"),
    "decoding.temperature_too_small": (Outcome.FAILS, "probability tensor"),
    "beams.streaming": (Outcome.FAILS, "streamer"),
    "cache.implementation_without_cache": (Outcome.WORKS, "the same tokens"),
    "batching.dynamic_without_budget": (Outcome.REFUSED, "max_tokens_per_batch"),
}


def test_real_transformers_agrees_with_the_rules_that_claim_it_does(pytorch_python: str) -> None:
    project = find(interpreters.ROOT)
    launcher = replace(project.launcher("pytorch"), command=(pytorch_python,))
    host = BackendHost("pytorch", launcher, project.limits)
    checker = Checker(MATRIX, "pytorch", host, launcher.describe("pytorch"))
    try:
        found = {rule_id: checker.claim(rule(rule_id)) for rule_id in REAL}
    finally:
        host.close()
    for rule_id, (outcome, says) in REAL.items():
        assert found[rule_id].witness.outcome is outcome, found[rule_id].witness
        assert says in found[rule_id].witness.says
        assert found[rule_id].neighbour.outcome is Outcome.WORKS, found[rule_id].neighbour
