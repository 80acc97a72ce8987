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


def stays_close(steps: int, least: int, within: float, below: float, cell: float = 0.01) -> float:
    """P(a walk never falls under -`below`, and at least `least` of its steps end at `within` or under it).

    The walk is the difference of the n-th arrivals of two Poisson processes, in mean gaps; it is computed on a grid.
    """
    reach, edge = round(25 / cell), round((within + below) / cell)
    decay = math.exp(-cell)
    start = round(below / cell)
    walks = {0: [float(place == start) for place in range(reach)]}
    for _ in range(steps):
        walks = _counted({count: _stepped(row, decay) for count, row in walks.items()}, edge)
    return math.fsum(math.fsum(row) for count, row in walks.items() if count >= least)


def _stepped(row: list[float], decay: float) -> list[float]:
    """A distribution over places after a two-sided geometric step; what leaves the grid is lost."""
    ahead, back = [], []
    up = down = 0.0
    for left, right in zip(row, reversed(row), strict=True):
        up, down = up * decay + left, down * decay + right
        ahead.append(up)
        back.append(down)
    share = (1 - decay) / (1 + decay)
    return [share * (a + b - own) for a, b, own in zip(ahead, reversed(back), row, strict=True)]


def _counted(walks: Mapping[int, list[float]], edge: int) -> dict[int, list[float]]:
    """Walks at places up to `edge` have one step more that counts."""
    found: dict[int, list[float]] = {}
    for count, row in walks.items():
        near = [chance if place <= edge else 0.0 for place, chance in enumerate(row)]
        far = [0.0 if place <= edge else chance for place, chance in enumerate(row)]
        for own, part in ((count + 1, near), (count, far)):
            found[own] = [a + b for a, b in zip(found[own], part, strict=True)] if own in found else part
    return found
