"""What tokens were drawn from, told by how likely these very tokens are under each of the values that are tried.

A sampler's choice is chance, so one value is told from others by a likelihood ratio. Whatever the model is: tokens
drawn at another value are n times as likely at this one with a chance of at most 1/n (Markov's inequality).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from harness.config.presets import PRESETS
from harness.declare import Probe, Seen, Shown, Workload
from harness.jsontypes import JSON
from matrix.probes.choices import SCORES, Draw, check_raw, draws, repetition
from matrix.probes.scores import number
from matrix.workloads import DRAWS, MANY_DRAWS

CLEAR = math.log(1e4)
"""Nats by which this value must explain the tokens better than each other one."""
REFUTED = math.log(1e3)
"""Nats, besides those for the number of the others, by which another one must do so for a refusal."""
TOP_P, DECAY, HOT = 0.9, 0.5, 10.0
"""Initial top_p and its factor after each token in the cells of its decay; temperature in the cells of top_k."""
_LIKELIEST = 128
"""Ids among which tokens are compared: as many as surely come back."""
_SLACK = 1e-3
"""Part of a probability by which a limit may be off: upstream rounds otherwise."""


@dataclass(frozen=True, slots=True)
class Rule:
    """What a token is drawn from: raw logits after a repetition penalty, a temperature and limits, in this order."""

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    """Below 1 only with a top_k, or where nothing else moves probabilities: of other ids only their sum is known."""
    min_p: float = 0.0
    penalty: float = 1.0


GREEDY = Rule(top_k=1)
Rules = Callable[[Sequence[Draw]], Iterable[Rule]]
"""The rule that each of the tokens was drawn by."""


Likelihood = tuple[float, float]
"""In nats: the least and the most that rounding leaves."""


def likelihood(found: Sequence[Draw], rules: Rules) -> Likelihood:
    """Log-likelihood of the tokens under rules, as far as they are among the likeliest ids.

    Of a token that is not, it counts whether it may be drawn at all: how these share what is left is not known.
    """
    chances = [_chances(draw, rule) for draw, rule in zip(found, rules(found), strict=True)]
    least, most = (
        math.fsum(math.log(one) if one else -math.inf for one in part) for part in zip(*chances, strict=True)
    )
    return least, most


def lead(ours: Likelihood, other: Likelihood) -> float:
    """Nats by which the first is surely larger; inf where it alone allows the tokens, 0 where neither does."""
    return 0.0 if ours[0] == other[1] == -math.inf else ours[0] - other[1]


def _chances(draw: Draw, rule: Rule) -> tuple[float, float]:
    """Probability of the token, given that it is one of the likeliest ids."""
    likeliest = list(draw.raw)[:_LIKELIEST]
    if draw.token not in likeliest:
        others = draw.above < rule.top_p + _SLACK and draw.ratio >= rule.min_p - _SLACK
        may = float(rule.top_k == 0 and others)
        return may, may
    wide, narrow = _left(draw, likeliest, rule, _SLACK), _left(draw, likeliest, rule, 0.0)
    weight = wide.get(draw.token, 0.0)
    return weight / math.fsum(wide.values()), min(1.0, weight / math.fsum(narrow.values()))


def _left(draw: Draw, likeliest: Sequence[int], rule: Rule, slack: float) -> dict[int, float]:
    """Weight of each id that a rule leaves; with slack also of those that are as good as equal to the last of them."""
    moved, order = draw.raw, likeliest
    if rule.penalty != 1.0:
        moved = repetition(draw, rule.penalty)
        order = sorted(likeliest, key=moved.__getitem__, reverse=True)
    top = moved[order[0]]
    weights = [math.exp((moved[token] - top) / rule.temperature) for token in order]
    if not rule.top_k and rule.top_p == 1.0 and not rule.min_p:
        return dict(zip(order, weights, strict=True))
    limit = rule.top_k or len(order)
    # without a top_k the ids that are not listed count as well: their share follows from the token's own
    whole = math.fsum(weights[:limit]) if rule.top_k else math.exp(draw.raw[draw.token] - top) / draw.share
    found: dict[int, float] = {}
    above, last = 0.0, 1.0
    for token, weight in zip(order, weights, strict=True):
        beyond = len(found) >= limit or weight < rule.min_p - slack
        beyond = beyond or (rule.top_p < 1.0 and above >= (rule.top_p + slack) * whole)
        if found and beyond and weight <= last * (1.0 - slack):
            break
        found[token] = last = weight
        above += weight
    return found


def always(rule: Rule) -> Rules:
    """The same rule for every token."""
    return lambda found: [rule] * len(found)


def decayed(factor: float, least: float = 0.0) -> Rules:
    """top_p times the factor after each token, down to a floor."""
    return lambda found: [Rule(top_p=max(least, TOP_P * factor**draw.step)) for draw in found]


def reset(token: int) -> Rules:
    """top_p decays, and is as at first after each such token."""

    def rules(found: Sequence[Draw]) -> list[Rule]:
        since: dict[tuple[int, int], int] = {}
        rule_of: dict[tuple[int, int, int], Rule] = {}
        for draw in sorted(found, key=lambda draw: draw.step):
            output = (draw.prompt, draw.seed)
            rule_of[*output, draw.step] = Rule(top_p=TOP_P * DECAY ** (draw.step - since.get(output, 0)))
            if draw.token == token:
                since[output] = draw.step + 1
        return [rule_of[draw.prompt, draw.seed, draw.step] for draw in found]

    return rules


def _preset(value: JSON) -> Rules:
    fields = PRESETS[str(value)]
    if not fields["do_sample"]:
        return always(GREEDY)
    return always(
        Rule(
            temperature=number(fields["temperature"]),
            top_k=int(number(fields["top_k"])),
            top_p=number(fields["top_p"]),
            penalty=number(fields.get("repetition_penalty", 1.0)),
        )
    )


@dataclass(frozen=True, slots=True)
class Tried:
    """A parameter's value as a rule, and what it is told from."""

    rules: Callable[[JSON], Rules]
    values: tuple[JSON, ...] = ()
    """Each is told from every other."""
    besides: tuple[Rules, ...] = ()

    def others(self, value: JSON) -> list[Rules]:
        """All that a value is told from."""
        return [*(self.rules(other) for other in self.values if other != value), *self.besides]

    def effect(self, run: Seen, control: Seen, value: JSON) -> Shown:
        """The tokens are likelier by `CLEAR` than with each of the others; refused where one is by `REFUTED` and more.

        Raises:
            LookupError: neither: they are too few to tell.
        """
        check_raw(run, control)
        found = draws(run)
        ours, *others = (likelihood(found, rules) for rules in (self.rules(value), *self.others(value)))
        ahead, behind = min(lead(ours, other) for other in others), max(lead(other, ours) for other in others)
        drawn = sum(draw.rank > 0 for draw in found)
        text = (
            f"{len(found)} tokens, {drawn} of them not the likeliest, are {_times(ahead)} as likely with {value} as "
            "with what explains them best besides"
        )
        told = ahead >= CLEAR or behind >= REFUTED + math.log(len(others))
        if not told and run is not control:
            raise LookupError(f"{text}: too little to tell")
        return Shown(ahead >= CLEAR, text)


def _times(nats: float) -> str:
    return f"10^{nats / math.log(10):.1f} times" if math.isfinite(nats) else "infinitely" if nats > 0 else "not at all"


_STAYS, _GREEDY = always(Rule(top_p=TOP_P)), always(GREEDY)
TRIED = {
    "temperature": Tried(
        lambda value: always(Rule(temperature=heat) if (heat := number(value)) else GREEDY), (0.0, 0.5, 1.0, 1.5)
    ),
    "top_k": Tried(lambda value: always(Rule(temperature=HOT, top_k=int(number(value)))), (0, 1, 5, 50)),
    "top_p": Tried(lambda value: always(Rule(top_p=number(value))), (0.0, 0.5, 0.9, 1.0)),
    "min_p": Tried(lambda value: always(Rule(min_p=number(value))), (0.0, 0.1, 0.2, 1.0)),
    "preset": Tried(_preset, tuple(PRESETS), (always(Rule()),)),
    "top_p_decay": Tried(lambda value: decayed(number(value)), besides=(_STAYS, _GREEDY)),
    "top_p_min": Tried(lambda value: decayed(DECAY, number(value)), besides=(decayed(DECAY), _STAYS, _GREEDY)),
    "top_p_reset": Tried(lambda value: reset(int(number(value))), besides=(decayed(DECAY), _STAYS, _GREEDY)),
}
"""By probe. The values are those of its cells and their controls."""

_STATISTICS = (
    "the likelihood of the tokens of {outputs} outputs under different seeds, up to {tokens} of each, with the value "
    "over that with {others}: 10000 confirms it, and a thousandth over the number of others refuses it, which have a "
    "chance of 1e-4 and of 1e-3 at most where they are false (Markov's inequality, for any model); in between nothing "
    "is told, which has a chance below 1e-3 with the shipped model"
)


def _probe(name: str, says: str, others: str, work: Workload = DRAWS, *, decisive: bool = True) -> Probe:
    told = _STATISTICS.format(outputs=len(work.seeds), tokens=work.max_new_tokens, others=others)
    return Probe(says=says, effect=TRIED[name].effect, instruments=SCORES, decisive=decisive, statistics=told)


temperature = _probe(
    "temperature",
    "tokens are drawn as is likely at the temperature, and not at another",
    "each other temperature tried",
    MANY_DRAWS,
)
top_k = _probe(
    "top_k",
    "tokens are drawn from the k likeliest ids, and not from fewer or more (0: from all)",
    "each other top_k tried",
)
top_p = _probe(
    "top_p",
    "tokens are drawn from the likeliest ids that reach p, and not from fewer or more",
    "each other top_p tried",
)
min_p = _probe(
    "min_p",
    "tokens are drawn from the ids with min_p of the likeliest one's probability, and not from fewer or more",
    "each other min_p tried",
    MANY_DRAWS,
)
preset = _probe(
    "preset",
    "tokens are drawn from what the preset's fields leave",
    "each other preset, and with sampling without limits",
    MANY_DRAWS,
    decisive=False,
)
top_p_decay = _probe(
    "top_p_decay",
    "tokens are drawn from what is left of top_p after each one",
    "a top_p that stays, and with greedy decoding",
)
top_p_min = _probe(
    "top_p_min",
    "tokens are drawn from what is left of top_p, down to its floor",
    "a top_p that decays without it, with one that stays, and with greedy decoding",
)
top_p_reset = _probe(
    "top_p_reset",
    "tokens are drawn from what is left of top_p since the token last came",
    "a top_p that decays without it, with one that stays, and with greedy decoding",
    decisive=False,
)
