"""From a cell to its verdict: which runs are made, in what order, and when a failure is believed."""

from __future__ import annotations

import pickle
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from harness.failure import blamed_cause, one_line, outside_cause, short_of_memory
from harness.host import Attempt, Observer
from harness.jsontypes import JSON
from harness.judge import Finding, judge
from harness.launcher import HostUnavailable
from harness.plan import Cell, Run
from harness.variants import VariantError, Variants
from harness.verdict import Cause, Outcome, Verdict

REUSED: Final = "reused"
"""Outcome of an attempt that was not made: an earlier one of the same run stands in."""
_TRIES: Final = 2


@dataclass(frozen=True, slots=True)
class Made:
    """A run that stands behind a verdict."""

    role: Literal["treated", "control"]
    attempt: Attempt
    outcome: str
    """"ran", how it failed, or `REUSED`."""


@dataclass(slots=True)
class Result:
    """A cell's verdict and every run that led to it, in order."""

    verdict: Verdict
    finding: Finding | None = None
    treated: Attempt | None = None
    control: Attempt | None = None
    attempts: list[Made] = field(default_factory=list)


class Experiment:
    """Runs and judges cells of one backend, sharing controls between them."""

    def __init__(self, observer: Observer, snapshot: Mapping[str, JSON], variants: Variants) -> None:
        self.observer = observer
        self.snapshot = snapshot
        self.variants = variants
        self._ran: dict[str, bytes] = {}
        """What was seen, by run. Packed: most runs are never asked for again, and a column may have thousands."""
        self._failed_controls: dict[str, list[Attempt]] = {}

    def run(self, cell: Cell) -> Result:
        """Run and judge one cell. Never raises for what the backend does."""
        if cell.not_applicable:
            return Result(Verdict(Cause.NOT_APPLICABLE, cell.not_applicable))
        if unmet := unmet_need(cell.needs, self.snapshot):
            return Result(unmet)
        result = Result(Verdict(Cause.HARNESS_ERROR, "not judged"))
        try:
            self._run(cell, result)
        except HostUnavailable as error:
            result.verdict = Verdict(Cause.ENVIRONMENT, one_line(str(error)))
        except VariantError as error:
            result.verdict = Verdict(Cause.MISSING_MODEL, one_line(str(error)))
        return result

    def _run(self, cell: Cell, result: Result) -> None:
        treated = self._observe(result, "treated", cell.treated)
        if treated.seen is None:
            self._failed(cell, treated, result)
            return
        control = self._control(cell, result)
        if control.seen is None:
            result.verdict = _control_failed(control)
            return
        result.finding = judge(cell, treated.seen, control.seen)
        result.verdict = result.finding.verdict
        if result.verdict.outcome is Outcome.FAIL:
            self._repeat(cell, result)

    def _repeat(self, cell: Cell, result: Result) -> None:
        """A failure that was judged, not raised: believed only if fresh engines show it again."""
        first = result.verdict
        control = self._observe(result, "control", cell.control, fresh=True)
        treated = self._observe(result, "treated", cell.treated, fresh=True)
        if control.seen is None:
            result.verdict = _control_failed(control)
        elif treated.seen is None:
            result.verdict = _flaky(first, _failure_text(treated))
        else:
            result.finding = judge(cell, treated.seen, control.seen)
            second = result.finding.verdict
            result.verdict = (
                second if second.cause is first.cause else _flaky(first, f"{second.cause}: {second.reason}")
            )

    def _failed(self, cell: Cell, first: Attempt, result: Result) -> None:
        """A run that failed: blamed on the parameter only when its control passes in a fresh engine."""
        assert first.failure is not None
        if outside := outside_cause(first.failure):
            result.verdict = Verdict(outside, first.failure.line)
            return
        control = self._given_up(cell, result) or self._observe(result, "control", cell.control, fresh=True)
        if control.seen is None:
            result.verdict = _control_failed(control)
            return
        again = self._observe(result, "treated", cell.treated, fresh=True)
        cause = blamed_cause(first.failure)
        if again.failure is None:
            result.verdict = _flaky(Verdict(cause, first.failure.line), "ran when repeated in a fresh engine")
        elif outside := outside_cause(again.failure):
            result.verdict = Verdict(outside, again.failure.line)
        elif blamed_cause(again.failure) is not cause:
            result.verdict = _flaky(Verdict(cause, first.failure.line), _failure_text(again))
        else:
            result.verdict = Verdict(cause, again.failure.line)

    def _control(self, cell: Cell, result: Result) -> Attempt:
        """The control's observation: shared between cells whose controls are the same run."""
        known = self._ran.get(cell.control.key)
        if known is not None:
            return self._reuse(_unpacked(known), result)
        if failed := self._given_up(cell, result):
            return failed
        control = self._observe(result, "control", cell.control)
        if control.seen is None:
            control = self._observe(result, "control", cell.control, fresh=True)
        return control

    def _given_up(self, cell: Cell, result: Result) -> Attempt | None:
        """The last failure of a control that failed twice, once at least in a fresh engine: a third would tell nothing.

        It would cost every cell that shares the control the same time, a hang its whole limit.
        """
        failed = self._failed_controls.get(cell.control.key, [])
        return self._reuse(failed[-1], result) if len(failed) >= _TRIES else None

    def _reuse(self, known: Attempt, result: Result) -> Attempt:
        result.attempts.append(Made("control", known, REUSED))
        result.control = known
        return known

    def _observe(
        self, result: Result, role: Literal["treated", "control"], run: Run, *, fresh: bool = False
    ) -> Attempt:
        attempt = self._once(result, role, run, fresh=fresh, alone=False)
        if attempt.failure is not None and short_of_memory(attempt.failure):
            # an engine that is kept for later cells may be what holds the memory
            attempt = self._once(result, role, run, fresh=fresh, alone=True)
        return attempt

    def _once(
        self, result: Result, role: Literal["treated", "control"], run: Run, *, fresh: bool, alone: bool
    ) -> Attempt:
        model = self.variants.resolve(run)
        cache_dir = model.get("cache_dir")
        attempt = self.observer.observe(run, model=model["model"], cache_dir=cache_dir, fresh=fresh, alone=alone)
        outcome = "ran" if attempt.failure is None else _failure_text(attempt)
        result.attempts.append(Made(role, attempt, outcome))
        if attempt.seen is not None:
            # one cell's treated run is often the control of the next: the same run need not be made twice
            self._ran[run.key] = _packed(attempt)
        if role == "treated":
            result.treated = attempt
        else:
            result.control = attempt
            if attempt.seen is not None:
                self._failed_controls.pop(run.key, None)
            else:
                self._failed_controls.setdefault(run.key, []).append(attempt)
        return attempt


def unmet_need(needs: tuple[str, ...], snapshot: Mapping[str, JSON]) -> Verdict | None:
    """What the machine lacks for a cell, or None.

    Raises:
        ValueError: a need nobody understands.
    """
    gpus = snapshot.get("gpus")
    count = len(gpus) if isinstance(gpus, list) else 0
    installed = snapshot.get("installed")
    for need in needs:
        kind, _, argument = need.partition(":")
        if kind == "cuda":
            wanted = int(argument or 1)
            if count < wanted:
                text = f"needs {wanted} NVIDIA GPU{'s' if wanted > 1 else ''}, found {count}"
                return Verdict(Cause.MISSING_HARDWARE, text)
        elif kind == "devices":
            if 0 < count < int(argument):
                return Verdict(Cause.MISSING_HARDWARE, f"needs {argument} NVIDIA GPUs, found {count}")
        elif kind == "cpus":
            cpus = snapshot.get("cpus")
            if not isinstance(cpus, int) or cpus < int(argument):
                return Verdict(Cause.MISSING_HARDWARE, f"needs {argument} CPU cores, found {cpus}")
        elif kind == "package":
            if not isinstance(installed, dict) or argument.lower().replace("_", "-") not in installed:
                return Verdict(Cause.MISSING_PACKAGE, f"needs the package {argument}, which is not installed")
        else:
            raise ValueError(f"unknown need {need!r}: expected cuda[:N], devices:N, cpus:N or package:NAME")
    return None


def _packed(attempt: Attempt) -> bytes:
    return zlib.compress(pickle.dumps(attempt), level=1)


def _unpacked(data: bytes) -> Attempt:
    attempt = pickle.loads(zlib.decompress(data))  # noqa: S301 - packed by this process
    assert isinstance(attempt, Attempt)
    return attempt


def _control_failed(control: Attempt) -> Verdict:
    assert control.failure is not None
    cause = outside_cause(control.failure) or Cause.ENVIRONMENT
    return Verdict(cause, one_line(f"the control itself failed: {control.failure.line}"))


def _failure_text(attempt: Attempt) -> str:
    failure = attempt.failure
    assert failure is not None
    return f"{failure.kind} in {failure.phase}: {failure.line}"


def _flaky(first: Verdict, second: str) -> Verdict:
    return Verdict(Cause.FLAKY, one_line(f"first {first.cause}: {first.reason}; then {second}"))
