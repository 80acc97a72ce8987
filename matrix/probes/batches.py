"""Batching: seen in the shapes that the model is really called with."""

from __future__ import annotations

import itertools
from collections.abc import Callable

from harness.declare import Effect, Probe, Seen, Shown
from harness.jsontypes import JSON
from matrix.probes.scores import number

TOKEN_BUDGET = 96
"""Padded prompt tokens a batch, in the cells of dynamic strategies."""
BATCH_SIZE = 3
"""Rows a batch, in the cells of static strategies. Does not divide the eight prompts."""

Shapes = Callable[[Seen], list[tuple[int, int]]]
"""(rows, width) of each batch, in order, as they can be seen on a backend."""


def prefills(run: Seen) -> list[tuple[int, int]]:
    """(rows, width) of each forward call that takes in prompts, in order."""
    return [(shape[0], shape[1]) for shape in run.observation["forwards"] if shape[1] > 1]


def sized(shapes: Shapes) -> Effect:
    """Batches of just so many prompts, the last of what is left."""

    def effect(run: Seen, control: Seen, value: JSON) -> Shown:
        del control
        rows = [shape[0] for shape in shapes(run)]
        prompts = len({output["prompt"] for output in run.observation["outputs"]})
        size = int(number(value))
        wanted = [size] * (prompts // size) + ([prompts % size] if prompts % size else [])
        return Shown(rows == wanted, f"prompts were taken in as rows {rows}")

    return effect


def within_budget(shapes: Shapes) -> Effect:
    """No batch is over the budget, and none could have taken the next prompt as well."""

    def effect(run: Seen, control: Seen, value: JSON) -> Shown:
        del control
        found = shapes(run)
        return Shown(_fits(found, number(value)) and max(r for r, _ in found) > 1, f"prompts were taken in as {found}")

    return effect


def _fits(shapes: list[tuple[int, int]], budget: float) -> bool:
    within = all(rows == 1 or rows * width <= budget for rows, width in shapes)
    full = all(
        (rows + 1) * max(width, following) > budget for (rows, width), (_, following) in itertools.pairwise(shapes)
    )
    return within and full


def by_strategy(shapes: Shapes) -> Effect:
    """Batches as the strategy of that name forms them, of the companions' size or budget."""

    def effect(run: Seen, control: Seen, value: JSON) -> Shown:
        del control
        name, found = str(value), shapes(run)
        rows, widths = [r for r, _ in found], [w for _, w in found]
        fixed = all(r == BATCH_SIZE for r in rows[:-1])
        grouped = not fixed and _fits(found, TOKEN_BUDGET) if name.endswith("dynamic") else fixed
        ordered = (widths == sorted(widths)) is name.startswith("sorted_")
        return Shown(bool(found) and grouped and ordered, f"prompts were taken in as {found} (rows, width)")

    return effect


batch_size = Probe(says="prompts enter the model in that many rows at a time", effect=sized(prefills))
token_budget = Probe(
    says="batches are as large as the token budget allows, and no larger", effect=within_budget(prefills)
)
strategy = Probe(
    says="static: fixed rows; dynamic: as many as the token budget allows; sorted: short prompts first",
    effect=by_strategy(prefills),
)
