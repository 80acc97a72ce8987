"""Batching: seen in the shapes that the model is really called with."""

from __future__ import annotations

import itertools

from harness.declare import Probe, Seen, Shown
from harness.jsontypes import JSON
from matrix.probes.scores import number

TOKEN_BUDGET = 96
"""Padded prompt tokens a batch, in the cells of dynamic strategies."""
BATCH_SIZE = 3
"""Rows a batch, in the cells of static strategies. Does not divide the eight prompts."""


def prefills(run: Seen) -> list[tuple[int, int]]:
    """(rows, width) of each forward call that takes in prompts, in order."""
    return [(shape[0], shape[1]) for shape in run.observation["forwards"] if shape[1] > 1]


def _rows(run: Seen, control: Seen, value: JSON) -> Shown:
    del control
    rows = [shape[0] for shape in prefills(run)]
    prompts = len({output["prompt"] for output in run.observation["outputs"]})
    size = int(number(value))
    wanted = [size] * (prompts // size) + ([prompts % size] if prompts % size else [])
    return Shown(rows == wanted, f"prompts were taken in as rows {rows}")


def _budget(run: Seen, control: Seen, value: JSON) -> Shown:
    """No batch is over the budget, and none could have taken the next prompt as well."""
    del control
    shapes = prefills(run)
    return Shown(_fits(shapes, number(value)) and max(r for r, _ in shapes) > 1, f"prompts were taken in as {shapes}")


def _fits(shapes: list[tuple[int, int]], budget: float) -> bool:
    within = all(rows == 1 or rows * width <= budget for rows, width in shapes)
    full = all(
        (rows + 1) * max(width, following) > budget for (rows, width), (_, following) in itertools.pairwise(shapes)
    )
    return within and full


def _strategy(run: Seen, control: Seen, value: JSON) -> Shown:
    del control
    name, shapes = str(value), prefills(run)
    rows, widths = [r for r, _ in shapes], [w for _, w in shapes]
    fixed = all(r == BATCH_SIZE for r in rows[:-1])
    grouped = not fixed and _fits(shapes, TOKEN_BUDGET) if name.endswith("dynamic") else fixed
    ordered = (widths == sorted(widths)) is name.startswith("sorted_")
    return Shown(bool(shapes) and grouped and ordered, f"prompts were taken in as {shapes} (rows, width)")


batch_size = Probe(says="prompts enter the model in that many rows at a time", effect=_rows)
token_budget = Probe(says="batches are as large as the token budget allows, and no larger", effect=_budget)
strategy = Probe(
    says="static: fixed rows; dynamic: as many as the token budget allows; sorted: short prompts first",
    effect=_strategy,
)
