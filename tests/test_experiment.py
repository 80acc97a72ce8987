"""When a failure is believed: a scripted observer stands for the backend."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.declare import NotApplicable, OutputRule, Scope, Seen, Value, Variant
from harness.experiment import REUSED, Experiment, Result
from harness.failure import Failure
from harness.host import Attempt
from harness.jsontypes import JSON
from harness.launcher import HostUnavailable
from harness.plan import Cell, Run
from harness.variants import Variants
from harness.verdict import Cause, Outcome
from tests.toys import APPLIED, cell, column, handed_over, parameter, plan, seen

TREATED, CONTROL = "treated", "control"


@dataclass
class Script:
    """Answers each run from its own list; the last answer stays. Notes what it was asked."""

    treated: Sequence[Attempt]
    control: Sequence[Attempt]
    asked: list[tuple[str, bool]] = field(default_factory=list)
    alone: list[bool] = field(default_factory=list)
    raises: Exception | None = None
    treated_key: str = ""

    def observe(self, run: Run, *, model: str, cache_dir: str | None, fresh: bool, alone: bool = False) -> Attempt:
        del model, cache_dir
        if self.raises:
            raise self.raises
        role = TREATED if run.key == self.treated_key else CONTROL
        answers = self.treated if role == TREATED else self.control
        before = sum(who == role for who, _ in self.asked)
        self.asked.append((role, fresh))
        self.alone.append(alone)
        answer = answers[min(before, len(answers) - 1)]
        if role == TREATED and answer.seen:
            return replace(answer, seen=handed_over(answer.seen, top_k=1))
        return answer

    def close(self) -> None:
        """Nothing was started."""


def ran(*, applied: bool, ids: Sequence[int] = (1, 2)) -> Attempt:
    return Attempt(seen(applied=applied, ids=ids), None)


def failed(message: str = "top_k must be positive", **more: Any) -> Attempt:
    facts = {"phase": "generate", "kind": "exception", "type": "ValueError", **more}
    return Attempt(None, Failure(message=message, **facts))


GOOD, NOTHING = ran(applied=True), ran(applied=False)
REJECTED = failed()
CRASHED = failed("engine process ended by SIGSEGV", kind="crashed", type="EngineDied")
HANGS = failed("took longer", kind="timed_out", type="TimeoutError")
MEMORY = failed("CUDA out of memory", type="torch.OutOfMemoryError")
OURS = failed("oops", where="harness", type="KeyError")
UNREAD = failed("the adapter never read decoder.top_k", kind="not_forwarded", where="harness")
NO_LIBRARY = failed("libxcb.so.1: cannot open shared object file", type="ImportError")
NO_PACKAGE = failed("No module named 'flash_attn'", type="ModuleNotFoundError")
CROWDED = failed(
    "Available memory on node 0 (13.71/15.09 GiB) on startup is less than desired CPU memory utilization "
    "(0.97, 14.64 GiB).",
    phase="load",
)
HOST_LOST = failed("the backend host was lost twice", kind="host_lost", type="PeerGone")


def do(
    treated: Sequence[Attempt],
    control: Sequence[Attempt] = (NOTHING,),
    *,
    of: Cell | None = None,
    snapshot: Mapping[str, JSON] | None = None,
) -> tuple[Result, Script]:
    planned = of or cell()
    script = Script(treated, control, treated_key=planned.treated.key)
    result = Experiment(script, snapshot or {}, Variants(Path("unused"))).run(planned)
    return result, script


def test_a_pass_takes_one_run_of_each() -> None:
    result, script = do([GOOD])
    assert result.verdict.cause is Cause.CONFIRMED
    assert script.asked == [(TREATED, False), (CONTROL, False)]


@pytest.mark.parametrize(
    ("failure", "cause"),
    [
        (REJECTED, Cause.REJECTED),
        (CRASHED, Cause.CRASHED),
        (HANGS, Cause.TIMED_OUT),
        (MEMORY, Cause.OUT_OF_MEMORY),
        (replace(CRASHED, failure=replace(CRASHED.failure, oom_killed=True)), Cause.OUT_OF_MEMORY),  # type: ignore[type-var]
    ],
)
def test_a_failure_is_blamed_only_after_its_control_passed_in_a_fresh_engine_and_it_came_again(
    failure: Attempt, cause: Cause
) -> None:
    result, script = do([failure])
    assert result.verdict.cause is cause
    assert script.asked == [(TREATED, False), (CONTROL, True), (TREATED, True)]
    assert [made.role for made in result.attempts] == [TREATED, CONTROL, TREATED]


@pytest.mark.parametrize("failure", [REJECTED, CRASHED, HANGS, MEMORY])
def test_a_failure_whose_control_fails_too_is_the_environment_s(failure: Attempt) -> None:
    result, script = do([failure], [failure])
    assert result.verdict.cause is Cause.ENVIRONMENT
    assert "the control itself failed" in result.verdict.reason
    assert script.asked == [(TREATED, False), (CONTROL, True)]


def test_a_control_that_fails_for_a_known_reason_gives_that_reason() -> None:
    result, _ = do([REJECTED], [NO_PACKAGE])
    assert result.verdict.cause is Cause.MISSING_PACKAGE


@pytest.mark.parametrize(
    "again", [GOOD, NOTHING, CRASHED, HANGS, MEMORY], ids=["runs", "runs in vain", "crashes", "hangs", "no memory"]
)
def test_a_failure_that_does_not_come_again_is_flaky_and_both_outcomes_are_kept(again: Attempt) -> None:
    result, _ = do([REJECTED, again])
    assert result.verdict.cause is Cause.FLAKY
    assert "top_k must be positive" in result.verdict.reason
    assert "top_k must be positive" in result.attempts[0].outcome
    assert result.attempts[-1].outcome != result.attempts[0].outcome


@pytest.mark.parametrize(
    ("failure", "cause"),
    [
        (OURS, Cause.HARNESS_ERROR),
        (UNREAD, Cause.HARNESS_ERROR),
        (NO_LIBRARY, Cause.ENVIRONMENT),
        (HOST_LOST, Cause.ENVIRONMENT),
        (NO_PACKAGE, Cause.MISSING_PACKAGE),
        (failed("Torch not compiled with CUDA enabled", type="AssertionError"), Cause.MISSING_HARDWARE),
        (failed("x is not a local folder and is not a valid model identifier", type="OSError"), Cause.MISSING_MODEL),
    ],
)
def test_a_failure_of_something_else_is_never_the_parameter_s(failure: Attempt, cause: Cause) -> None:
    assert do([failure])[0].verdict.cause is cause
    assert do([REJECTED, failure])[0].verdict.cause is cause
    assert do([GOOD], [failure])[0].verdict.cause is cause


def test_an_engine_short_of_memory_is_tried_once_more_with_no_other_beside_it() -> None:
    result, script = do([CROWDED, GOOD])
    assert result.verdict.cause is Cause.CONFIRMED
    assert script.asked == [(TREATED, False), (TREATED, False), (CONTROL, False)]
    assert script.alone == [False, True, False]
    assert result.attempts[0].outcome.startswith("exception in load"), "the first attempt stays on record"


def test_an_engine_that_is_short_of_memory_alone_too_is_the_environment_s() -> None:
    result, script = do([CROWDED])
    assert result.verdict.cause is Cause.ENVIRONMENT
    assert script.alone == [False, True]


def test_a_control_short_of_memory_is_tried_alone_as_well() -> None:
    result, script = do([GOOD], [CROWDED, NOTHING])
    assert result.verdict.cause is Cause.CONFIRMED
    assert script.alone == [False, False, True]


@pytest.mark.parametrize("failure", [REJECTED, MEMORY, CRASHED, NO_PACKAGE])
def test_no_other_failure_asks_for_the_machine_alone(failure: Attempt) -> None:
    _, script = do([failure])
    assert not any(script.alone)


def test_a_control_that_fails_once_gets_a_fresh_engine_before_it_counts() -> None:
    result, script = do([GOOD], [CRASHED, NOTHING])
    assert result.verdict.cause is Cause.CONFIRMED
    assert script.asked == [(TREATED, False), (CONTROL, False), (CONTROL, True)]


def test_a_judged_failure_is_repeated_in_fresh_engines() -> None:
    result, script = do([NOTHING])
    assert result.verdict.cause is Cause.IGNORED
    assert script.asked == [(TREATED, False), (CONTROL, False), (CONTROL, True), (TREATED, True)]


def test_a_judged_failure_that_turns_into_a_pass_is_flaky() -> None:
    result, _ = do([NOTHING, GOOD])
    assert result.verdict.cause is Cause.FLAKY
    assert "ignored" in result.verdict.reason
    assert "confirmed" in result.verdict.reason


def test_a_judged_failure_with_another_cause_the_second_time_is_flaky() -> None:
    result, _ = do([NOTHING, ran(applied=True, ids=(9,))], of=cell(output=OutputRule.LOSSLESS))
    assert result.verdict.cause is Cause.FLAKY


def test_a_judged_failure_that_then_fails_to_run_is_flaky() -> None:
    assert do([NOTHING, CRASHED])[0].verdict.cause is Cause.FLAKY


def test_a_judged_failure_whose_control_then_fails_is_the_environment_s() -> None:
    assert do([NOTHING], [NOTHING, CRASHED])[0].verdict.cause is Cause.ENVIRONMENT


def test_an_uncertain_verdict_is_not_repeated() -> None:
    result, script = do([NOTHING], of=cell(probe=replace(APPLIED, decisive=False)))
    assert result.verdict.cause is Cause.NO_EFFECT
    assert len(script.asked) == 2


ATTEMPTS = st.sampled_from([GOOD, NOTHING, REJECTED, CRASHED, HANGS, MEMORY, OURS, NO_LIBRARY, NO_PACKAGE, HOST_LOST])


@given(st.lists(ATTEMPTS, min_size=1, max_size=3), st.lists(ATTEMPTS, min_size=1, max_size=3))
def test_whatever_happens_blame_needs_two_failures_alike_and_a_control_that_ran_in_a_fresh_engine(
    treated: list[Attempt], control: list[Attempt]
) -> None:
    result, script = do(treated, control)
    made = list(zip(script.asked, result.attempts, strict=True))
    if result.verdict.outcome is Outcome.FAIL:
        tries = [attempt.outcome for (role, _), attempt in made if role == TREATED]
        assert len(tries) == 2
        assert (tries[0] == "ran") == (tries[1] == "ran")
        assert any(role == CONTROL and fresh and attempt.outcome == "ran" for (role, fresh), attempt in made)
        assert [fresh for (role, fresh), _ in made if role == TREATED] == [False, True]
    if result.verdict.outcome is Outcome.PASS:
        last = {role: attempt for (role, _), attempt in made}
        assert last[TREATED].outcome == last[CONTROL].outcome == "ran"


def test_controls_are_shared_between_cells_and_the_record_says_so() -> None:
    cells = plan(parameter("decoder.top_k", Value(1), Value(2)))
    script = Script([GOOD], [NOTHING])
    experiment = Experiment(script, {}, Variants(Path("unused")))
    results = []
    for planned in cells:
        script.treated_key = planned.treated.key
        results.append(experiment.run(planned))
    assert [role for role, _ in script.asked] == [TREATED, CONTROL, TREATED]
    assert [made.outcome for made in results[1].attempts] == ["ran", REUSED]
    assert results[1].verdict.cause is Cause.CONFIRMED


class Wordy:
    """Every run tells at length, each in objects of its own."""

    def __init__(self) -> None:
        self.told = 0

    def observe(self, run: Run, *, model: str, cache_dir: str | None, fresh: bool, alone: bool = False) -> Attempt:
        del model, cache_dir, fresh, alone
        facts: dict[str, JSON] = {f"setting {number}": [run.key, number] for number in range(1000)}
        self.told += len(json.dumps(facts))
        return Attempt(Seen({"outputs": []}, facts, [{"call": "generate", "kwargs": {"key": run.key}}]), None)

    def close(self) -> None:
        """Nothing was started."""


def test_what_earlier_runs_showed_takes_less_room_than_its_text() -> None:
    """A column may have thousands of runs, and any of them may be the control of a later cell."""
    cells = plan(parameter("decoder.top_k", *map(Value, range(1, 31))))
    observer = Wordy()
    experiment = Experiment(observer, {}, Variants(Path("unused")))
    tracemalloc.start()
    try:
        for planned in cells:
            experiment.run(planned)
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < observer.told / 2


def of_three_cells(treated: Sequence[Attempt], control: Sequence[Attempt]) -> tuple[list[Cause], Script, list[Result]]:
    """Cells that share a control."""
    cells = plan(parameter("decoder.top_k", Value(1), Value(2), Value(3)))
    script = Script(treated, control)
    experiment = Experiment(script, {}, Variants(Path("unused")))
    results = []
    for planned in cells:
        script.treated_key = planned.treated.key
        results.append(experiment.run(planned))
    return [result.verdict.cause for result in results], script, results


def test_a_control_that_failed_twice_is_given_up_for_all_cells_that_share_it() -> None:
    causes, script, results = of_three_cells([GOOD], [HANGS])
    assert causes == [Cause.ENVIRONMENT] * 3
    controls = [fresh for role, fresh in script.asked if role == CONTROL]
    assert controls == [False, True]
    assert results[2].attempts[-1].outcome == REUSED
    assert results[2].verdict.reason == results[0].verdict.reason


def test_a_control_that_fails_as_its_treated_runs_do_is_given_up_after_two_fresh_engines() -> None:
    causes, script, _ = of_three_cells([HANGS], [HANGS])
    assert causes == [Cause.ENVIRONMENT] * 3
    assert [fresh for role, fresh in script.asked if role == CONTROL] == [True, True]


def test_a_control_that_failed_once_is_tried_again() -> None:
    causes, script, _ = of_three_cells([REJECTED], [CRASHED, NOTHING])
    assert causes == [Cause.ENVIRONMENT, Cause.REJECTED, Cause.REJECTED]
    assert [fresh for role, fresh in script.asked if role == CONTROL] == [True, True, True]


def test_controls_of_other_engines_are_not_shared() -> None:
    first, second = plan(
        parameter("decoder.top_k", Value(1), Value(2, companions={"pytorch.attn_implementation": "eager"})),
        parameter("pytorch.attn_implementation", on=column(scope=Scope.ENGINE)),
    )
    script = Script([GOOD], [NOTHING])
    experiment = Experiment(script, {}, Variants(Path("unused")))
    for planned in (first, second):
        script.treated_key = planned.treated.key
        experiment.run(planned)
    assert [role for role, _ in script.asked] == [TREATED, CONTROL, TREATED, CONTROL]


def test_a_host_that_cannot_start_is_the_environment_s() -> None:
    planned = cell()
    script = Script([], [], raises=HostUnavailable("the pytorch host\ncannot import its library"))
    result = Experiment(script, {}, Variants(Path("unused"))).run(planned)
    assert result.verdict.cause is Cause.ENVIRONMENT
    assert result.verdict.reason == "the pytorch host cannot import its library"


def _broken(kind: type[Exception]) -> Callable[[Path, Path], object]:
    def build(shipped: Path, folder: Path) -> object:
        raise kind(f"no {folder.name} of {shipped.name}")

    return build


@pytest.mark.parametrize("kind", [OSError, ValueError, KeyError, TypeError, RuntimeError])
def test_a_derived_model_that_cannot_be_built_is_a_missing_model(kind: type[Exception], tmp_path: Path) -> None:
    variant = Variant("broken", build=_broken(kind), locate=lambda folder: {"model": str(folder)})
    planned = cell(variant=variant)
    result = Experiment(Script([GOOD], [NOTHING]), {}, Variants(tmp_path)).run(planned)
    assert result.verdict.cause is Cause.MISSING_MODEL
    assert "no built of tiny" in result.verdict.reason
    assert list(tmp_path.iterdir()) == [], "nothing half-built is left"


def test_a_cell_without_meaning_is_not_run() -> None:
    (planned,) = plan(parameter("decoder.top_k", Value(1), on=NotApplicable("no such thing")))
    result, script = do([GOOD], of=planned)
    assert (result.verdict.cause, result.verdict.reason, script.asked) == (Cause.NOT_APPLICABLE, "no such thing", [])


@pytest.mark.parametrize(
    ("needs", "snapshot", "cause", "reason"),
    [
        (("cuda",), {"gpus": []}, Cause.MISSING_HARDWARE, "needs 1 NVIDIA GPU, found 0"),
        (("cuda",), {}, Cause.MISSING_HARDWARE, "needs 1 NVIDIA GPU, found 0"),
        (("cuda:2",), {"gpus": [{}]}, Cause.MISSING_HARDWARE, "needs 2 NVIDIA GPUs, found 1"),
        (("cpus:4",), {"cpus": 2}, Cause.MISSING_HARDWARE, "needs 4 CPU cores, found 2"),
        (("cpus:4",), {}, Cause.MISSING_HARDWARE, "needs 4 CPU cores, found None"),
        (
            ("package:flash-attn",),
            {"installed": {"torch": "2"}},
            Cause.MISSING_PACKAGE,
            "needs the package flash-attn, which is not installed",
        ),
        (("package:x",), {}, Cause.MISSING_PACKAGE, "needs the package x, which is not installed"),
    ],
)
def test_what_the_machine_lacks_is_said_and_nothing_is_run(
    needs: tuple[str, ...], snapshot: dict[str, JSON], cause: Cause, reason: str
) -> None:
    result, script = do([GOOD], of=cell(needs=needs), snapshot=snapshot)
    assert (result.verdict.cause, result.verdict.reason, script.asked) == (cause, reason, [])


@pytest.mark.parametrize(
    ("needs", "snapshot"),
    [
        (("cuda",), {"gpus": [{}]}),
        (("cuda:2", "cpus:2"), {"gpus": [{}, {}], "cpus": 2}),
        (("package:flash_attn", "package:Flash-Attn"), {"installed": {"flash-attn": "2.8"}}),
    ],
)
def test_what_the_machine_has_is_used(needs: tuple[str, ...], snapshot: dict[str, JSON]) -> None:
    assert do([GOOD], of=cell(needs=needs), snapshot=snapshot)[0].verdict.cause is Cause.CONFIRMED


def test_a_need_nobody_understands_is_an_error_not_a_verdict() -> None:
    with pytest.raises(ValueError, match="unknown need 'tpu'"):
        do([GOOD], of=cell(needs=("tpu",)))
