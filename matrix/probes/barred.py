"""Ids that cannot come: which are impossible at a step, and that nothing else is moved or lost."""

from __future__ import annotations

from harness.backends.base import Step
from harness.declare import Probe, Seen, Shown
from harness.jsontypes import JSON
from matrix.probes.scores import SCORES, number


def _told(run: Seen) -> list[Step]:
    """The steps of a run; LookupError where those of some token are missing, or the ids barred at one are too many."""
    steps = run.observation.get("steps", [])
    places = {(step["prompt"], step["seed"], step["step"]) for step in steps}
    tokens = [
        (out["prompt"], out["seed"], at) for out in run.observation["outputs"] for at in range(len(out["token_ids"]))
    ]
    unseen = sum(place not in places for place in tokens)
    if unseen or not tokens:
        raise LookupError(f"the scores of {unseen} of {len(tokens)} generated tokens were not seen")
    if over := sum(step["barred"] is None for step in steps):
        raise LookupError(f"at {over} of {len(steps)} steps over 64 ids are impossible: which, is not told")
    return steps


def _moves(control: Seen) -> bool:
    """Whether something else moves scores, in the control as well."""
    return any(step["moved"] for step in control.observation.get("steps", []))


def _nothing_else(step: Step, moves: bool) -> bool:
    """Whether all the ids that are not barred are possible and as likely as they were, and none that is was taken."""
    barred = step["barred"] or []
    whole = step["finite"] + len(barred) == step["vocabulary"]
    return whole and (moves or not step["moved"]) and step["token"] not in barred


def _barred(steps: list[Step]) -> str:
    """The different sets of ids that are impossible at these steps."""
    found = {"over 64 ids" if step["barred"] is None else str(step["barred"] or "none") for step in steps}
    return " or ".join(sorted(found)) or "none"


def _suppressed(run: Seen, control: Seen, value: JSON) -> Shown:
    """Just the ids that the vocabulary has are impossible, at every step, and nothing else is moved or lost."""
    ids = value.get("suppress_tokens") if isinstance(value, dict) else None
    steps = _told(run)
    listed = {int(number(token)) for token in ids} if isinstance(ids, list) else set()
    wanted = sorted(token for token in listed if 0 <= token < steps[0]["vocabulary"])
    alone = _moves(control)
    fine = sum(step["barred"] == wanted and _nothing_else(step, alone) for step in steps)
    return Shown(fine == len(steps), f"barred are {_barred(steps)} ({fine} of {len(steps)} steps fit)")


def _outlasts(run: Seen, control: Seen, value: JSON) -> Shown:
    """Just what ends outputs is impossible, at just the steps before that one, which is reached.

    LookupError where no output is long enough to reach it.
    """
    ending, length = _ending(run, control), number(value)
    steps, moves = _told(run), _moves(control)
    before, after = ([step for step in steps if (step["step"] < length) is early] for early in (True, False))
    fine = sum(
        step["barred"] == (ending if step["step"] < length else []) and _nothing_else(step, moves) for step in steps
    )
    ended = sum(out["ended"] and len(out["token_ids"]) <= length for out in run.observation["outputs"])
    holds = fine == len(steps) and ended == 0
    if holds and not after:
        raise LookupError(f"no output has more than {length:g} tokens, so where the barring ends was not seen")
    return Shown(
        holds,
        f"barred before step {length:g} are {_barred(before)}, from it on {_barred(after)} ({fine} of {len(steps)} "
        f"steps fit, {ending} ends an output); {ended} outputs ended before",
    )


def _ending(run: Seen, control: Seen) -> list[int]:
    """The ids that end an output: the engine's, and those that the run's requests name themselves.

    LookupError where outputs ended with another than the engine's.
    """
    told = run.read_back.get("ending_ids")
    ending = {int(number(token)) for token in told} if isinstance(told, list) else set()
    outputs = [*run.observation["outputs"], *control.observation["outputs"]]
    last = {out["token_ids"][-1] for out in outputs if out["ended"] and out["token_ids"]}
    if not ending or not last <= ending:
        raise LookupError(f"outputs ended with {sorted(last)}, and the engine says that {sorted(ending)} end one")
    return sorted(ending | _own_endings(run))


def _own_endings(run: Seen) -> set[int]:
    """The ids that the run's requests themselves name as ending theirs."""
    given = [call.get("kwargs") for call in run.calls]
    named = [kwargs.get("stop_token_ids") for kwargs in given if isinstance(kwargs, dict)]
    return {int(number(token)) for ids in named if isinstance(ids, list) for token in ids}


min_new_tokens = Probe(
    says="just what ends an output is impossible before the n-th new token, and nothing from it on, "
    "and no other id is moved",
    effect=_outlasts,
    instruments=SCORES,
)
suppressed = Probe(
    says="just the suppressed ids are impossible, at every step, and no other id is moved",
    effect=_suppressed,
    instruments=SCORES,
)
