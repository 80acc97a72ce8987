"""The order in which cells are judged: as on the page, those of one engine together, or at random."""

from __future__ import annotations

import random
import re
from collections.abc import Callable

import pytest

from harness import groups
from harness.plugin.asked import cell_of, run_id


def arrange(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Put the items in the order asked for; equally in every worker of a run."""
    asked = str(config.getoption("--matrix-order"))
    kind, _, seed = asked.partition(":")
    if kind == "random":
        # judged one after the other as the seed says: engines are shared only where neighbours happen to
        random.Random(seed or run_id(config)).shuffle(items)  # noqa: S311 - an order, no secret
        return
    items.sort(key=_by_engine(items))


def check(config: pytest.Config) -> None:
    """Refuse an order that nobody knows.

    Raises:
        pytest.UsageError: it is neither `page` nor `random` nor `random:SEED`.
    """
    asked = str(config.getoption("--matrix-order"))
    if not re.fullmatch(r"page|random(:.+)?", asked):
        raise pytest.UsageError(f"--matrix-order={asked}: expected page, random or random:SEED")


def _by_engine(items: list[pytest.Item]) -> Callable[[pytest.Item], tuple[int, int]]:
    """Cells that share an engine stand together; otherwise the order stays."""
    first: dict[str, int] = {}
    position: dict[pytest.Item, tuple[int, int]] = {}
    for index, item in enumerate(items):
        cell = cell_of(item)
        key = groups.key(cell) if cell else item.nodeid
        position[item] = (first.setdefault(key, index), index)
    return position.__getitem__
