"""The four verdicts and their causes."""

from __future__ import annotations

import pytest

from harness.verdict import Cause, Outcome, Verdict

CAUSES = {
    Outcome.PASS: {"confirmed"},
    Outcome.FAIL: {
        "rejected_by_backend",
        "crashed",
        "timed_out",
        "out_of_memory",
        "ignored",
        "wrong_output",
    },
    Outcome.UNCERTAIN: {"no_observable_effect", "inert", "flaky", "probe_error"},
    Outcome.NOT_RUN: {
        "missing_package",
        "missing_hardware",
        "missing_model",
        "environment",
        "harness_error",
        "not_applicable",
    },
}


@pytest.mark.parametrize("cause", Cause)
def test_every_cause_has_one_outcome(cause: Cause) -> None:
    assert [outcome for outcome, causes in CAUSES.items() if cause.value in causes] == [cause.outcome]
    assert Verdict(cause, "because").outcome is cause.outcome


def test_only_one_cause_is_a_pass() -> None:
    assert [cause for cause in Cause if cause.outcome is Outcome.PASS] == [Cause.CONFIRMED]
