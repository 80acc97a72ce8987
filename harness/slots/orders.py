"""How a worker is told what to do besides cells: by items that are no tests.

pytest-xdist begins an item only once it knows the next one or the end, so the first cell of a group would be bound
to a worker while the cell before it runs, perhaps for minutes, beside idle slots. `HOLD` stands for a next item
that is not known yet: it does nothing, and the worker waits in it. `RELEASE` and the orders that give a width come
back to the scheduler like any item that was run, which says that they were obeyed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import pytest

from harness.slots.machine import Slots
from harness.slots.share import Share

HOLD: Final = 0
RELEASE: Final = 1


def take(width: int) -> int:
    """The order to use the devices of a block of so many slots from now on."""
    return RELEASE + width


def count(slots: int) -> int:
    """How many orders there are on a machine of so many slots."""
    return take(slots) + 1


class Order(pytest.Item):
    """Stands among the items of a worker, and is obeyed instead of run."""

    def __init__(self, *, number: int, **more: Any) -> None:
        super().__init__(**more)
        self.number = number

    def runtest(self) -> None:
        """Never called: `Obedience` takes it out of pytest's hands."""
        raise NotImplementedError


class Obedience:
    """The worker's side: which slot it is, and what it does when it is told."""

    def __init__(self, slot: int, slots: Slots, use: Callable[[Share | None], None]) -> None:
        """`use` ends what runs elsewhere than on a share; on None, all that runs."""
        self.slot = slot
        self.slots = slots
        self.use = use

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """The orders come after everything that was collected and selected."""
        if session.items:
            session.items += [
                Order.from_parent(session, name=f"order-{number}", number=number)
                for number in range(count(len(self.slots.shares)))
            ]

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> bool | None:
        """Orders are not run, and nothing is reported of them."""
        if not isinstance(item, Order):
            return None
        if item.number == RELEASE:
            self.use(None)
        elif item.number != HOLD:
            self.use(self.slots.share(self.slots.block(self.slot, item.number - RELEASE)))
        return True


def told(slot: int, slots: Slots) -> dict[str, Any]:
    """What a worker has to know, in plain values."""
    return {"slot": slot, "shares": [[list(share.gpus), list(share.cpus)] for share in slots.shares]}


def hear(facts: Mapping[str, Any], use: Callable[[Share | None], None]) -> Obedience:
    """A worker's side from what it was told."""
    slots = Slots(tuple(Share(tuple(gpus), tuple(cpus)) for gpus, cpus in facts["shares"]))
    return Obedience(int(facts["slot"]), slots, use)
