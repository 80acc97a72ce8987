"""The four verdicts and their causes, and how findings become one. Pure: no processes, no files."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Outcome(StrEnum):
    """What is known of a cell at the end."""

    PASS = "pass"  # noqa: S105 - no password
    FAIL = "fail"
    UNCERTAIN = "uncertain"
    NOT_RUN = "not_run"

    @property
    def symbol(self) -> str:
        """As pages and progress show it."""
        return {"pass": "✅", "fail": "❌", "uncertain": "⚠️", "not_run": "➖"}[self.value]


class Cause(StrEnum):
    """Why; each belongs to one outcome."""

    CONFIRMED = "confirmed"

    REJECTED = "rejected_by_backend"
    CRASHED = "crashed"
    TIMED_OUT = "timed_out"
    OUT_OF_MEMORY = "out_of_memory"
    IGNORED = "ignored"
    WRONG_OUTPUT = "wrong_output"

    NO_EFFECT = "no_observable_effect"
    INERT = "inert"
    FLAKY = "flaky"
    PROBE_ERROR = "probe_error"

    MISSING_PACKAGE = "missing_package"
    MISSING_HARDWARE = "missing_hardware"
    MISSING_MODEL = "missing_model"
    ENVIRONMENT = "environment"
    HARNESS_ERROR = "harness_error"
    NOT_APPLICABLE = "not_applicable"

    @property
    def outcome(self) -> Outcome:
        """The outcome this cause stands for."""
        return _OUTCOME[self]


_OUTCOME = {
    Cause.CONFIRMED: Outcome.PASS,
    **dict.fromkeys(
        (
            Cause.REJECTED,
            Cause.CRASHED,
            Cause.TIMED_OUT,
            Cause.OUT_OF_MEMORY,
            Cause.IGNORED,
            Cause.WRONG_OUTPUT,
        ),
        Outcome.FAIL,
    ),
    **dict.fromkeys((Cause.NO_EFFECT, Cause.INERT, Cause.FLAKY, Cause.PROBE_ERROR), Outcome.UNCERTAIN),
    **dict.fromkeys(
        (
            Cause.MISSING_PACKAGE,
            Cause.MISSING_HARDWARE,
            Cause.MISSING_MODEL,
            Cause.ENVIRONMENT,
            Cause.HARNESS_ERROR,
            Cause.NOT_APPLICABLE,
        ),
        Outcome.NOT_RUN,
    ),
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """A cause and one line of reason; the outcome follows from the cause."""

    cause: Cause
    reason: str

    @property
    def outcome(self) -> Outcome:
        """The cause's outcome."""
        return self.cause.outcome
