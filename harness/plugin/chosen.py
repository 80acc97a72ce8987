"""A pytest plugin that runs chosen cells only, also in the workers of pytest-xdist."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import pytest

from harness.plugin.asked import SHARD, cell_of
from harness.plugin.told import CHOSEN
from harness.records import Shard


class Chosen:
    """Deselects all other cells. What is chosen is fixed once: a worker that is replaced collects the same."""

    def __init__(self, ids: Collection[str], shard: Shard | None = None) -> None:
        """`ids`: of the cells to run. `shard`: the shard they are, for the run's header."""
        self.ids = frozenset(ids)
        self.shard = shard

    def pytest_configure(self, config: pytest.Config) -> None:
        """The header says which shard it is."""
        if self.shard is not None:
            config.stash[SHARD] = self.shard

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """xdist: the workers collect, so they choose."""
        node.workerinput[CHOSEN] = sorted(self.ids)

    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        """Keep the chosen cells."""
        kept: list[pytest.Item] = []
        left: list[pytest.Item] = []
        for item in items:
            cell = cell_of(item)
            (kept if cell and cell.id in self.ids else left).append(item)
        if left:
            config.hook.pytest_deselected(items=left)
            items[:] = kept
