"""pytest-xdist's scheduling protocol over an allocation: which worker is sent which items.

Read against pytest-xdist 3.8 (`dsession.DSession`, `scheduler.protocol.Scheduling`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Any, NoReturn, Protocol

import pytest

from harness.slots import orders
from harness.slots.allocation import Allocation, Give


class Worker(Protocol):
    """What is used of `xdist.workermanage.WorkerController`."""

    gateway: Any
    """Its `id` names the worker."""
    workerinput: dict[str, Any]

    @property
    def shutting_down(self) -> bool:
        """Whether it has ended or was told to."""

    def send_runtest_some(self, indices: Sequence[int]) -> None:
        """Let it run these items of its collection."""

    def shutdown(self) -> None:
        """Let it end after what it was sent."""


class SlotScheduling:
    """Sends items to the workers of slots, whole groups at a time."""

    def __init__(
        self,
        config: pytest.Config,
        slot_of: Callable[[Worker], int],
        allocate: Callable[[Sequence[str]], Allocation],
    ) -> None:
        """Schedule what the workers collect.

        Args:
            config: for reports.
            slot_of: the slot of a worker.
            allocate: the allocation of what was collected.
        """
        self.config = config
        self.allocation: Allocation | None = None
        self.collection: list[str] = []
        self._allocate = allocate
        self._slot_of = slot_of
        self._index: dict[str, int] = {}
        self._slots: dict[Worker, int] = {}
        self._collected: set[Worker] = set()

    @property
    def nodes(self) -> list[Worker]:
        """The workers."""
        return list(self._slots)

    @property
    def collection_is_completed(self) -> bool:
        """From the first worker that has collected: nobody waits for the others."""
        return self.allocation is not None

    @property
    def tests_finished(self) -> bool:
        """Whether there is nothing left that a dying worker could give back."""
        return self.allocation is not None and self.allocation.done

    @property
    def has_pending(self) -> bool:
        """Whether something is being done."""
        return self.allocation is not None and not self.allocation.done

    def add_node(self, node: Worker) -> None:
        """A worker is ready, and collects."""
        self._slots[node] = self._slot_of(node)

    def add_node_collection(self, node: Worker, collection: Sequence[str]) -> None:
        """A worker has collected; `schedule` follows."""
        if self.allocation is None:
            self.collection = list(collection)
            self._index = {item: index for index, item in enumerate(collection)}
            self.allocation = self._allocate(self.collection)
        elif list(collection) != self.collection:
            text = (
                f"worker {node.gateway.id} collected {len(collection)} items, and they are not the "
                f"{len(self.collection)} that the first worker did: collection has to be the same each time"
            )
            report = pytest.CollectReport(nodeid=node.gateway.id, outcome="failed", longrepr=text, result=[])
            self.config.hook.pytest_collectreport(report=report)
            node.shutdown()
            return
        self._collected.add(node)

    def schedule(self) -> None:
        """Let those who have collected have work."""
        assert self.allocation is not None
        while self._collected:
            self.allocation.join(self._slots[self._collected.pop()])
        self._send()

    def mark_test_complete(self, node: Worker, item_index: int, duration: float = 0) -> None:
        """A worker is through with an item, or has obeyed an order."""
        del duration
        assert self.allocation is not None
        slot = self._slots[node]
        if item_index < len(self.collection):
            self.allocation.finish(slot, self.collection[item_index])
        elif (order := item_index - len(self.collection)) == orders.RELEASE:
            self.allocation.release(slot)
        elif order != orders.HOLD:
            self.allocation.begin(slot)
        self._send()

    def judged(self, node: Worker, item: str) -> None:
        """An item has its outcome, though the worker is not yet through with it: it is not to be done again."""
        if self.allocation is not None and node in self._slots:
            self.allocation.finish(self._slots[node], item)

    def remove_node(self, node: Worker) -> str | None:
        """A worker is gone: the item that is given up for it, if any.

        Raises:
            KeyError: it never was ready.
        """
        slot = self._slots.pop(node)
        self._collected.discard(node)
        if self.allocation is None:
            return None
        lost = self.allocation.lose(slot)
        self._send()
        return lost.interrupted if lost.given_up else None

    def _send(self) -> None:
        if self.allocation is None or any(node.shutting_down for node in self._slots):
            return  # the run is ending, or a worker whose end we shall be told of has ended
        workers = {slot: node for node, slot in self._slots.items()}
        for move in self.allocation.moves():
            given = [self._index[item] for item in move.items] if isinstance(move, Give) else []
            order = orders.take(len(move.block)) if isinstance(move, Give) else orders.RELEASE
            indices = [len(self.collection) + order, *given, len(self.collection) + orders.HOLD]
            with contextlib.suppress(OSError):  # it died a moment ago, and we shall be told
                workers[move.slot].send_runtest_some(indices)

    def mark_test_pending(self, item: str) -> NoReturn:
        """Nobody asks for an item to be done again but its worker's death."""
        raise NotImplementedError(item)

    def remove_pending_tests_from_node(self, node: Worker, indices: Sequence[int]) -> NoReturn:
        """Nothing is taken away from a worker that lives."""
        raise NotImplementedError(node, indices)
