"""What each token was chosen from, computed from the raw logits that came back with it.

For a library that hands out no processed scores: what temperature, filters, penalties and biases make of the
raw logits is worked out here and held against the tokens that were taken.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import cast

from harness.config.presets import PRESETS
from harness.declare import Effect, Probe, Seen, Shown
from harness.jsontypes import JSON
from matrix.probes.scores import number

SCORES = frozenset({"scores"})

_SAME = 1e-4
"""Logits closer than this are equally large."""
_CLEAR = 3.0
"""Nats of likelihood by which one temperature must explain the draws better than another."""
_LIKELIEST = 64
"""Ids among which draws at different temperatures are compared: as many as surely come back."""


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
    ratio: float
    """Probability of the token over that of the likeliest."""
    raw: Mapping[int, float]
    """Id to logit: the likeliest ids, those of the context, the token, the end."""
    counts: Mapping[int, int]
    """Id to its number in prompt and output so far."""


def draws(run: Seen) -> list[Draw]:
    """Every token generated. Raises ``LookupError`` where the engine told nothing of them."""
    steps = cast("list[Mapping[str, JSON]]", run.observation["steps"])
    if not steps:
        raise LookupError("no logits came back")
    return [_draw(step) for step in steps]


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
        ratio=number(step["ratio"]),
        raw={int(token): number(logit) for token, logit in raw.items()},
        counts={int(token): _total(times) for token, times in context.items()},
    )


def _total(times: JSON) -> int:
    assert isinstance(times, list)
    return sum(int(number(count)) for count in times)


def _likelihood(found: list[Draw], temperature: float) -> float:
    """Log-likelihood of the tokens, each among the likeliest ids of its step, at a temperature."""
    total = 0.0
    for draw in found:
        likeliest = sorted(draw.raw.values(), reverse=True)[:_LIKELIEST]
        if draw.raw[draw.token] >= likeliest[-1]:
            top = likeliest[0]
            mass = math.fsum(math.exp((logit - top) / temperature) for logit in likeliest)
            total += (draw.raw[draw.token] - top) / temperature - math.log(mass)
    return total


def _temperature(run: Seen, control: Seen, value: JSON) -> Shown:
    """The draws are likelier at the value than at the control's temperature: 1, or 0.5 where the value is 1."""
    wanted = number(value)
    other = 0.5 if wanted == 1.0 else 1.0
    found = draws(run)
    drawn = sum(draw.rank > 0 for draw in found)
    lead = _likelihood(found, wanted) - _likelihood(found, other)
    text = (
        f"{len(found)} draws, {drawn} not of the likeliest id, are e^{lead:.3g} times as likely at {wanted:g} as at "
        f"{other:g}"
    )
    if abs(lead) < _CLEAR and run is not control:
        raise LookupError(f"{text}: too little to tell")
    return Shown(drawn > 0 and lead >= _CLEAR, text)


def _top_k(run: Seen, control: Seen, value: JSON) -> Shown:
    """No draw beyond the k likeliest ids, and some in their second half; of 0: far beyond any limit tried."""
    del control
    k, worst = int(number(value)), max(draw.rank for draw in draws(run))
    fine = worst >= _LIKELIEST if k == 0 else k // 2 <= worst < k
    return Shown(fine, f"ids up to the {worst + 1}th likeliest were drawn")


def _top_p(run: Seen, control: Seen, value: JSON) -> Shown:
    """No draw when likelier ids already hold p; of 1: some when they hold half; of 0: the likeliest alone."""
    del control
    found, p = draws(run), number(value)
    most, drawn = max(draw.above for draw in found), any(draw.rank > 0 for draw in found)
    fine = {0.0: not drawn, 1.0: most >= 0.5}.get(p, drawn and most < p + 1e-3)
    return Shown(fine, f"ids were drawn when likelier ones held up to {most:.3g}")


def _min_p(run: Seen, control: Seen, value: JSON) -> Shown:
    """No draw of less than min_p of the likeliest id's probability; of 0: some below a fifth."""
    del control
    found, least = draws(run), number(value)
    low = min(draw.ratio for draw in found)
    drawn = least == 1 or any(draw.rank > 0 for draw in found)
    fine = low < 0.2 if least == 0 else drawn and low >= least - 1e-3
    return Shown(fine, f"ids of at least {low:.3g} of the likeliest one's probability were drawn")


Moved = Callable[[Draw, float], Mapping[int, float]]
"""The logits of a step after a penalty or bias."""


def _repetition(draw: Draw, penalty: float) -> dict[int, float]:
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
    _check_raw(run, control)
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


def _check_raw(run: Seen, control: Seen) -> None:
    """Both runs' first logits of a prompt must agree: what came back is raw, or nothing can be told from it."""
    theirs = {(draw.prompt, draw.seed): draw.raw for draw in draws(control) if draw.step == 0}
    for draw in draws(run):
        other = theirs.get((draw.prompt, draw.seed)) if draw.step == 0 else None
        if other is None:
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


TOP_P, DECAY = 0.9, 0.5
"""Initial top_p and its factor after each token, in the cells of its decay."""


def _decays(run: Seen, control: Seen, value: JSON) -> Shown:
    """At each step no draw when likelier ids already hold what is left of top_p."""
    del control
    found = draws(run)
    over = sum(draw.above >= TOP_P * number(value) ** draw.step + 1e-3 for draw in found)
    drawn = sum(draw.rank > 0 for draw in found)
    return Shown(over == 0 and drawn > 0, f"{over} of {len(found)} draws lie beyond the decayed top_p")


def _floor(run: Seen, control: Seen, value: JSON) -> Shown:
    """Draws beyond the decayed top_p, and none beyond its floor."""
    del control
    found = draws(run)
    decayed = [draw for draw in found if TOP_P * DECAY**draw.step < number(value)]
    kept = sum(draw.above >= TOP_P * DECAY**draw.step + 1e-3 for draw in decayed)
    over = sum(draw.above >= number(value) + 1e-3 for draw in decayed)
    return Shown(kept > 0 and over == 0, f"{kept} draws lie beyond the decayed top_p, {over} beyond its floor")


def _resets(run: Seen, control: Seen, value: JSON) -> Shown:
    """After the token top_p is as at first: draws beyond what it had decayed to, and none beyond what it is."""
    del control
    since: dict[tuple[int, int], int] = {}
    kept = over = 0
    found = sorted(draws(run), key=lambda draw: (draw.prompt, draw.seed, draw.step))
    for draw in found:
        age = draw.step - since.get((draw.prompt, draw.seed), 0)
        over += draw.above >= TOP_P * DECAY**age + 1e-3
        kept += draw.above >= TOP_P * DECAY**draw.step + 1e-3
        if draw.token == value:
            since[draw.prompt, draw.seed] = draw.step + 1
    return Shown(kept > 0 and over == 0, f"{kept} draws lie beyond the decayed top_p, {over} beyond the one reset")


def _preset(run: Seen, control: Seen, value: JSON) -> Shown:
    """Tokens are drawn, all from what the preset's fields leave, and none need another temperature."""
    del control
    fields: Mapping[str, JSON] = PRESETS[str(value)]
    found = draws(run)
    drawn = sum(draw.rank > 0 for draw in found)
    if not fields["do_sample"]:
        return Shown(drawn == 0, f"{drawn} of {len(found)} tokens are not the likeliest")
    kept = sum(_left(draw, fields) for draw in found)
    text = f"{drawn} of {len(found)} tokens are not the likeliest, {kept} lie among what the preset leaves"
    return Shown(drawn > 0 and kept == len(found), text)


def _left(draw: Draw, fields: Mapping[str, JSON]) -> bool:
    """Whether penalty, temperature, top_k and top_p leave the token, in upstream's order."""
    logits = _repetition(draw, number(fields.get("repetition_penalty", 1.0)))
    k, temperature = int(number(fields["top_k"])), number(fields["temperature"])
    best = sorted(logits, key=logits.__getitem__, reverse=True)[:k]
    top = logits[best[0]]
    weights = {token: math.exp((logits[token] - top) / temperature) for token in best}
    mass = math.fsum(weights.values())
    above = math.fsum(weight for weight in weights.values() if weight > weights.get(draw.token, 0.0)) / mass
    return draw.token in weights and above < number(fields["top_p"]) + 1e-3


def _probe(says: str, effect: Effect, *, decisive: bool = True) -> Probe:
    return Probe(says=says, effect=effect, instruments=SCORES, decisive=decisive)


greedy = _probe("the likeliest id is taken at every step", lambda run, _control, _value: _likeliest(run))
temperature = _probe("tokens are drawn as is likely at the temperature, and not at the control's", _temperature)
top_k = _probe("no id beyond the k likeliest is drawn, and some close to the k-th are (0: far beyond)", _top_k)
top_p = _probe("no id is drawn when likelier ones already hold p (1: some are)", _top_p)
min_p = _probe("no id below min_p of the likeliest one's probability is drawn (0: some are)", _min_p)
repetition_penalty = _probe(
    "tokens are the likeliest once ids that came are penalised, and not by the raw logits (1: they are)",
    _penalty(_repetition, 1.0),
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
top_p_decay = _probe("no id is drawn when likelier ones hold what is left of top_p", _decays)
top_p_min = _probe("ids are drawn beyond the decayed top_p, down to its floor", _floor)
top_p_reset = _probe("ids are drawn beyond the decayed top_p once the token came", _resets, decisive=False)
preset = _probe("tokens are drawn from what the preset's fields leave", _preset, decisive=False)
