"""Exact tails of the binomial distribution, and counts held against probabilities. No libraries."""

from __future__ import annotations

import math
from collections.abc import Mapping


def at_most(count: int, draws: int, chance: float) -> float:
    """P(X ≤ count), X of `draws` draws with `chance` each."""
    if chance in (0.0, 1.0):
        return float(chance == 0.0 or count >= draws)
    return min(1.0, math.fsum(_exactly(one, draws, chance) for one in range(count + 1)))


def at_least(count: int, draws: int, chance: float) -> float:
    """P(X ≥ count)."""
    return at_most(draws - count, draws, 1.0 - chance)


def _exactly(count: int, draws: int, chance: float) -> float:
    ways = math.lgamma(draws + 1) - math.lgamma(count + 1) - math.lgamma(draws - count + 1)
    return math.exp(ways + count * math.log(chance) + (draws - count) * math.log1p(-chance))


def surprises(counts: Mapping[int, int], chances: Mapping[int, float], error: float) -> dict[int, float]:
    """The kinds whose count has an exact two-sided binomial tail below `error` divided by the number of kinds.

    True chances give any surprise with a probability of `error` at most (Bonferroni). What is expected less than five
    times is counted together, under -1, with what has no chance at all.
    """
    draws = sum(counts.values())
    frequent = {kind: chance for kind, chance in chances.items() if chance * draws >= 5}
    pooled = {**frequent, -1: max(0.0, 1.0 - math.fsum(frequent.values()))}
    seen = {kind: counts.get(kind, 0) for kind in frequent}
    seen[-1] = draws - sum(seen.values())
    tails = {
        kind: 2 * min(at_most(seen[kind], draws, chance), at_least(seen[kind], draws, chance))
        for kind, chance in pooled.items()
    }
    return {kind: tail for kind, tail in tails.items() if tail < error / len(pooled)}
