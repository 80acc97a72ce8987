"""A plan's cells spread over shards, by the plan alone: every machine comes to the same answer."""

from __future__ import annotations

import re
from collections.abc import Iterable

from harness.records import Shard
from harness.shards.planfile import PlanFile, PlannedCell


def parse(text: str, plan: PlanFile) -> Shard:
    """The shard that "3/8" names.

    Raises:
        ValueError: not of this form, or outside of it.
    """
    match = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text)
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise ValueError(f"shard {text!r}: expected INDEX/COUNT with 1 ≤ INDEX ≤ COUNT, like 3/8")
    return Shard(plan=plan.header.id, index=int(match[1]), of=int(match[2]))


def split(cells: Iterable[PlannedCell], count: int) -> list[list[PlannedCell]]:
    """`count` lists of cells, which take about equally long; those of one engine key stay together.

    Longest processing time first: each group, the longest first, goes to the shard that has least so far: the
    longest shard takes at most 4/3 of the shortest time possible (Graham 1969). Shards can be empty.
    """
    together: dict[str, list[PlannedCell]] = {}
    for cell in cells:
        together.setdefault(cell.key, []).append(cell)
    shards: list[list[PlannedCell]] = [[] for _ in range(count)]
    # by the plan's whole milliseconds: no sum depends on its order
    loads = [0] * count
    for group in sorted(together.values(), key=lambda group: -_ms(group)):
        least = loads.index(min(loads))
        shards[least] += group
        loads[least] += _ms(group)
    return shards


def _ms(cells: Iterable[PlannedCell]) -> int:
    # a cell always weighs something, or all that took no time would go to one shard
    return sum(max(1, round(1000 * cell.expected_s)) for cell in cells)
