"""What a decoder should do with raw logits, computed by hand: greedy, sampling limits, penalties, beams.

Written from the definitions, in plain Python, so that it shares no code with what it checks. Two things are
conventions of a library rather than definitions, and are followed as the library has them:

- the order in which limits are applied, each to what the one before has left (`Rules.order`);
- what a beam's score is divided by, when a beam is finished, and when the search ends (`transformers_beams`,
  `vllm_beams`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

Model = Callable[[Sequence[int]], Sequence[float]]
"""Ids of a prefix to the raw logits of the token that follows."""
Limit = Literal["top_k", "top_p", "min_p"]

TRANSFORMERS: Final[tuple[Limit, ...]] = ("top_k", "top_p", "min_p")
"""Order of `GenerationMixin._get_logits_processor`, transformers 5.23."""
VLLM: Final[tuple[Limit, ...]] = ("min_p", "top_k", "top_p")
"""Order of `vllm.v1.sample.sampler.Sampler.sample`, vLLM 0.32: min-p is a logits processor, the others come after."""


@dataclass(frozen=True, slots=True)
class Rules:
    """How a token is chosen. The defaults leave the logits as they are."""

    temperature: float = 1.0
    top_k: int = 0
    """0: no limit."""
    top_p: float = 1.0
    min_p: float = 0.0
    penalty: float = 1.0
    """Repetition penalty, on every id of the prompt and of what was generated."""
    ngram: int = 0
    """No sequence of so many ids comes twice in prompt and output together (0: any may)."""
    order: tuple[Limit, ...] = TRANSFORMERS


@dataclass(frozen=True, slots=True)
class Beam:
    """What a beam generated, its ending included, and what its score is."""

    tokens: tuple[int, ...]
    total: float
    """Sum of log-probabilities."""
    score: float = 0.0


def log_probabilities(logits: Sequence[float]) -> list[float]:
    """Log-softmax."""
    top = max(logits)
    whole = top + math.log(math.fsum(math.exp(one - top) for one in logits))
    return [one - whole for one in logits]


def judged(scores: Sequence[float], context: Sequence[int], rules: Rules) -> list[float]:
    """Scores after what the context forbids or makes less likely."""
    found = list(scores)
    if rules.penalty != 1.0:
        for token in set(context):
            found[token] = found[token] / rules.penalty if found[token] > 0 else found[token] * rules.penalty
    for token in _repeating(context, rules.ngram):
        found[token] = -math.inf
    return found


def _repeating(context: Sequence[int], size: int) -> set[int]:
    """Ids that would end an n-gram which the context has already."""
    if size == 0 or len(context) < size:
        return set()
    last = tuple(context[len(context) - size + 1 :])
    starts = range(len(context) - size + 1)
    return {context[start + size - 1] for start in starts if tuple(context[start : start + size - 1]) == last}


def greedy(model: Model, prompt: Sequence[int], rules: Rules, *, ending: int, limit: int) -> list[int]:
    """The likeliest token at every step, until the ending or `limit` tokens."""
    generated: list[int] = []
    while len(generated) < limit and generated[-1:] != [ending]:
        context = [*prompt, *generated]
        scores = judged(model(context), context, rules)
        generated.append(max(range(len(scores)), key=scores.__getitem__))
    return generated


def choices(logits: Sequence[float], context: Sequence[int], rules: Rules, *, slack: float = 0.0) -> dict[int, float]:
    """The ids that may be drawn, with their probabilities.

    `slack` moves every limit outwards by so much probability, for a choice that was made of logits with
    another rounding.
    """
    scores = [one / rules.temperature for one in judged(logits, context, rules)]
    ranked = sorted(((math.exp(one), token) for token, one in enumerate(log_probabilities(scores))), reverse=True)
    for limit in rules.order:
        whole = math.fsum(probability for probability, _ in ranked)
        ranked = _left(limit, [(probability / whole, token) for probability, token in ranked], rules, slack)
    whole = math.fsum(probability for probability, _ in ranked)
    return {token: probability / whole for probability, token in ranked if probability > 0}


def _left(limit: Limit, ranked: list[tuple[float, int]], rules: Rules, slack: float) -> list[tuple[float, int]]:
    """What one limit leaves of (probability, id), likeliest first, which add up to 1."""
    if limit == "top_k":
        last = ranked[min(rules.top_k or len(ranked), len(ranked)) - 1][0]
        return [one for one in ranked if one[0] >= last - slack]
    if limit == "min_p":
        return [one for one in ranked if one[0] >= rules.min_p * ranked[0][0] - slack]
    before, kept = 0.0, list[tuple[float, int]]()
    for one in ranked:
        if kept and before >= rules.top_p + slack:
            break
        kept.append(one)
        before += one[0]
    return kept


def _continued(model: Model, prompt: Sequence[int], beam: Beam, rules: Rules) -> list[Beam]:
    context = [*prompt, *beam.tokens]
    scores = judged(log_probabilities(model(context)), context, rules)
    return [Beam((*beam.tokens, token), beam.total + one) for token, one in enumerate(scores)]


def _best(beams: Sequence[Beam], count: int) -> list[Beam]:
    return sorted(beams, key=lambda beam: -beam.total)[:count]


def transformers_beams(
    model: Model,
    prompt: Sequence[int],
    *,
    width: int,
    length_penalty: float,
    early_stopping: bool | Literal["never"],
    ending: int,
    limit: int,
    rules: Rules = Rules(),
) -> list[Beam]:
    """Finished beams, best first, as `GenerationMixin._beam_search` of transformers 5.23 finds them.

    Of 2 × width continuations, ranked by their sums, the first `width` may finish; the best that do not end go on.
    A score is the sum over (generated tokens, the ending included) ** length_penalty. The search ends when `width`
    beams are finished and the best running one could not beat the worst of them: judged at its length now, or with
    "never" and a positive penalty at the length limit; with True at once.
    """
    running, finished = [Beam((), 0.0)], list[Beam]()
    while True:
        found = _best([one for beam in running for one in _continued(model, prompt, beam, rules)], 2 * width)
        length = len(found[0].tokens)
        over = [one.tokens[-1] == ending or length == limit for one in found]
        ended = [one for one, is_over in zip(found[:width], over, strict=False) if is_over]
        scored = [Beam(one.tokens, one.total, one.total / length**length_penalty) for one in ended]
        finished = sorted([*finished, *scored], key=lambda beam: -beam.score)[:width]
        running = _best([one for one, is_over in zip(found, over, strict=True) if not is_over], width)
        if not running:
            return finished
        reach = limit if early_stopping == "never" and length_penalty > 0 else length
        if len(finished) == width and (
            early_stopping is True or running[0].total / reach**length_penalty <= finished[-1].score
        ):
            return finished


def vllm_beams(
    model: Model, prompt: Sequence[int], *, width: int, length_penalty: float, ending: int, limit: int
) -> list[Beam]:
    """Beams, best first, as `LLM.beam_search` of vLLM 0.32 finds them.

    Each running beam goes on with its own 2 × width likeliest tokens, and every one of these that is the ending is
    finished, wherever it ranks; the best `width` of the others go on, for `limit` steps, whatever has finished. A
    score is the sum over (tokens of prompt and output, the ending left out) ** length_penalty; at the end the running
    beams compete with the finished ones.
    """

    def scored(beam: Beam) -> Beam:
        length = len(prompt) + len(beam.tokens) - (beam.tokens[-1] == ending)
        return Beam(beam.tokens, beam.total, beam.total / max(length, 1) ** length_penalty)

    running, finished = [Beam((), 0.0)], list[Beam]()
    for _ in range(limit):
        found = [one for beam in running for one in _best(_continued(model, prompt, beam, Rules()), 2 * width)]
        finished += [one for one in found if one.tokens[-1] == ending]
        running = _best([one for one in found if one.tokens[-1] != ending], width)
    return sorted(map(scored, [*finished, *running]), key=lambda beam: -beam.score)[:width]
