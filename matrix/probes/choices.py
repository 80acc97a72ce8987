"""What each token was chosen from, computed from the raw logits that came back with it.

For a library that hands out no processed scores: what penalties and biases make of the raw logits is worked out here
and held against the tokens that were taken, greedily. What tokens are drawn from is told in `drawn`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import cast

from harness.declare import Effect, Probe, Seen, Shown
from harness.jsontypes import JSON
from matrix.probes.scores import number

SCORES = frozenset({"scores"})

_SAME = 1e-4
"""Logits closer than this are equally large."""


@dataclass(frozen=True, slots=True)
class Draw:
    """One generated token with the raw logits of its step."""

    prompt: int
    seed: int
    step: int
    token: int
    end: int
    """Id that ends the request."""
    rank: int
    """Ids with a larger logit."""
    above: float
    """Their probability at temperature 1."""
    share: float
    """Probability of the token at temperature 1."""
    ratio: float
    """The same over that of the likeliest id."""
    raw: Mapping[int, float]
    """Id to logit, the largest first: the likeliest ids, those of the context, the token, the end."""
    counts: Mapping[int, int]
    """Id to its number in prompt and output so far."""


def draws(run: Seen) -> list[Draw]:
    """Every token generated. Raises ``LookupError`` where the engine told nothing of them."""
    return [_draw(step) for step in _steps(run)]


def _steps(run: Seen) -> list[Mapping[str, JSON]]:
    steps = cast("list[Mapping[str, JSON]]", run.observation["steps"])
    if not steps:
        raise LookupError("no logits came back")
    return steps


def _draw(step: Mapping[str, JSON]) -> Draw:
    raw, context = step["raw"], step["context"]
    assert isinstance(raw, dict)
    assert isinstance(context, dict)
    return Draw(
        prompt=int(number(step["prompt"])),
        seed=int(number(step["seed"])),
        step=int(number(step["step"])),
        token=int(number(step["token"])),
        end=int(number(step["end"])),
        rank=int(number(step["rank"])),
        above=number(step["above"]),
        share=number(step["share"]),
        ratio=number(step["ratio"]),
        raw=dict(sorted(((int(token), number(logit)) for token, logit in raw.items()), key=lambda one: -one[1])),
        counts={int(token): _total(times) for token, times in context.items()},
    )


def _total(times: JSON) -> int:
    assert isinstance(times, list)
    return sum(int(number(count)) for count in times)


Moved = Callable[[Draw, float], Mapping[int, float]]
"""The logits of a step after a penalty or bias."""


def repetition(draw: Draw, penalty: float) -> dict[int, float]:
    """Logits of ids that came already, over the penalty if positive, times it if not."""
    return {
        token: (logit / penalty if logit > 0 else logit * penalty) if draw.counts.get(token) else logit
        for token, logit in draw.raw.items()
    }


def _presence(draw: Draw, penalty: float) -> dict[int, float]:
    return {token: logit - penalty * bool(draw.counts.get(token)) for token, logit in draw.raw.items()}


def _frequency(draw: Draw, penalty: float) -> dict[int, float]:
    return {token: logit - penalty * draw.counts.get(token, 0) for token, logit in draw.raw.items()}


def _explained(run: Seen, control: Seen, moved: Callable[[Draw], Mapping[int, float]]) -> Shown:
    """Every token is the likeliest by the moved logits, and some are not by the raw ones.

    Raises:
        LookupError: neither the moved logits nor the raw ones explain the tokens, or they agree everywhere.
    """
    check_raw(run, control)
    fits = telling = plain = 0
    found = draws(run)
    for draw in found:
        logits = moved(draw)
        first = max(logits, key=logits.__getitem__)
        fits += logits[draw.token] >= logits[first] - _SAME
        likeliest = max(draw.raw.values())
        telling += draw.raw[first] < likeliest - _SAME
        plain += draw.raw[draw.token] >= likeliest - _SAME
    text = f"{fits} of {len(found)} tokens are the likeliest with it, {plain} without it, {telling} steps can tell"
    if fits == len(found) and telling:
        return Shown(True, text)
    if run is control or (plain == len(found) and telling):
        return Shown(False, text)
    raise LookupError(text)


def check_raw(run: Seen, control: Seen) -> None:
    """Both runs' first logits of a prompt must agree: what came back is raw, or nothing can be told from it."""
    first, theirs = ([_draw(step) for step in _steps(side) if step["step"] == 0] for side in (run, control))
    known = {(draw.prompt, draw.seed): draw.raw for draw in theirs}
    for draw in first:
        if (other := known.get((draw.prompt, draw.seed))) is None:
            continue
        spread = max(other.values()) - min(other.values())
        apart = max(abs(logit - other[token]) for token, logit in draw.raw.items() if token in other)
        if apart > 0.02 * spread:
            raise LookupError(f"the logits that came back are not raw: they differ from the control's by {apart:.3g}")


def _likeliest(run: Seen) -> Shown:
    found = draws(run)
    plain = sum(draw.rank == 0 for draw in found)
    return Shown(plain == len(found), f"{plain} of {len(found)} tokens are the likeliest by the raw logits")


def _penalty(moved: Moved, neutral: float) -> Effect:
    def effect(run: Seen, control: Seen, value: JSON) -> Shown:
        """Of the neutral value: nothing is moved, as it is in the control."""
        if number(value) == neutral:
            return _likeliest(run)
        return _explained(run, control, lambda draw: moved(draw, number(value)))

    return effect


def _bias(run: Seen, control: Seen, value: JSON) -> Shown:
    assert isinstance(value, dict)
    added = {int(token): number(amount) for token, amount in value.items()}
    return _explained(
        run, control, lambda draw: {token: logit + added.get(token, 0.0) for token, logit in draw.raw.items()}
    )


def _min_tokens(run: Seen, control: Seen, value: JSON) -> Shown:
    """No output ends before the n-th token, although ending was likeliest."""
    early = [draw for draw in draws(run) if draw.step < number(value)]
    ended = sum(draw.token == draw.end for draw in early)
    wanted = sum(draw.raw[draw.end] >= max(draw.raw.values()) - _SAME for draw in early)
    text = f"{ended} outputs ended before {value} tokens; at {wanted} steps before it ending was likeliest"
    if not wanted and run is not control:
        raise LookupError(text)
    return Shown(ended == 0 and wanted > 0, text)


def _probe(says: str, effect: Effect) -> Probe:
    return Probe(says=says, effect=effect, instruments=SCORES)


greedy = _probe("the likeliest id is taken at every step", lambda run, _control, _value: _likeliest(run))
repetition_penalty = _probe(
    "tokens are the likeliest once ids that came are penalised, and not by the raw logits (1: they are)",
    _penalty(repetition, 1.0),
)
presence_penalty = _probe(
    "tokens are the likeliest once ids that came lose the penalty, and not by the raw logits (0: they are)",
    _penalty(_presence, 0.0),
)
frequency_penalty = _probe(
    "tokens are the likeliest once ids lose the penalty each time they came, and not by the raw logits (0: they are)",
    _penalty(_frequency, 0.0),
)
embedding_bias = _probe("tokens are the likeliest with the bias, and not by the raw logits", _bias)
min_tokens = _probe("no output ends before that many tokens, although ending was likeliest", _min_tokens)
