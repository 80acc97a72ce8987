"""Who gets what next: groups of cells and slots as a state machine, without processes, clocks or pytest.

What takes several slots comes first, then what is expected to take longest. At the start of a run nobody has to
give up a slot for a wide group, and at its end the slots are evened out by what is short.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

DEATHS: Final = 2
"""Deaths of a worker in the middle of the same item after which the item is given up."""


@dataclass(frozen=True, slots=True)
class Work:
    """Items that stay together, in their order."""

    key: str
    items: tuple[str, ...]
    width: int
    """Neighbouring slots that they take together."""
    expected_s: float


@dataclass(frozen=True, slots=True)
class Give:
    """Let the worker of `slot` do these items on the devices of all slots of `block`."""

    slot: int
    block: range
    items: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Release:
    """Let the worker of `slot` end whatever it keeps running on its devices."""

    slot: int


Move = Give | Release


@dataclass(frozen=True, slots=True)
class Lost:
    """What the death of a worker meant."""

    interrupted: str | None
    """The item that it was at."""
    given_up: bool
    """Whether that item is not tried again."""


@dataclass(slots=True)
class _Busy:
    work: Work
    block: range
    left: list[str]
    begun: bool = False


class Allocation:
    """Each item is given out until it is finished once, or given up; no two workers ever have the same devices."""

    def __init__(self, works: Iterable[Work], slots: int) -> None:
        """`slots`: how many there are.

        Raises:
            ValueError: a work is wider.
        """
        self.slots = slots
        self._waiting: list[Work] = []
        self._busy: dict[int, _Busy] = {}
        self._present: set[int] = set()
        self._runs_on: dict[int, range] = {}
        """Where the worker of a slot keeps something running, also while it has nothing to do."""
        self._releasing: set[int] = set()
        self._deaths: Counter[str] = Counter()
        for work in works:
            if not 1 <= work.width <= slots:
                raise ValueError(f"{work.key} takes {work.width} slots of {slots}")
            self._waiting.append(work)
        self._sort()

    @property
    def done(self) -> bool:
        """Whether every item is finished or given up."""
        return not self._waiting and not self._busy

    @property
    def left(self) -> list[str]:
        """Items that are neither finished nor given up."""
        busy = [item for at in self._busy.values() for item in at.left]
        return busy + [item for work in self._waiting for item in work.items]

    def join(self, slot: int) -> None:
        """A slot has a worker, which runs nothing yet."""
        self._present.add(slot)

    def begin(self, slot: int) -> None:
        """A worker comes to the first of the items that it was given."""
        if slot in self._busy:
            self._busy[slot].begun = True

    def finish(self, slot: int, item: str) -> None:
        """An item has its outcome; it may be told more than once."""
        busy = self._busy.get(slot)
        if busy and item in busy.left:
            busy.left.remove(item)
            if not busy.left:
                del self._busy[slot]

    def release(self, slot: int) -> None:
        """A worker runs nothing any more."""
        self._releasing.discard(slot)
        self._runs_on.pop(slot, None)

    def lose(self, slot: int) -> Lost:
        """A worker is gone, and all that it ran with it: what it had is to be done again, but not a third time."""
        self._present.discard(slot)
        self.release(slot)
        busy = self._busy.pop(slot, None)
        if busy is None:
            return Lost(None, given_up=False)
        interrupted = busy.left[0] if busy.begun else None
        given_up = False
        if interrupted is not None:
            self._deaths[interrupted] += 1
            given_up = self._deaths[interrupted] >= DEATHS
        again = tuple(item for item in busy.left if not (given_up and item == interrupted))
        if again:
            self._waiting.append(replace(busy.work, items=again))
            self._sort()
        return Lost(interrupted, given_up)

    def moves(self) -> list[Move]:
        """What is to be done now. Each move counts as made."""
        made: list[Move] = []
        reserved: set[int] = set()
        for work in list(self._waiting):
            if not self._idle() - reserved:
                break
            block = self._block_for(work, reserved)
            if block is None:
                continue
            made += self._place(work, block)
            if work in self._waiting:
                # nobody else may have it: what is in the way goes, and then the block is free
                reserved.update(block)
        if not self._waiting:
            # engines that nobody will ask again hold memory that others may want
            made += [self._let_go(slot) for slot in sorted(self._idle()) if slot in self._runs_on]
        return made

    def _idle(self) -> set[int]:
        """Slots with a worker that has nothing to do and are not in anybody's block."""
        return self._present - self._taken()

    def _taken(self) -> set[int]:
        return {slot for busy in self._busy.values() for slot in busy.block} | self._releasing

    def _block_for(self, work: Work, reserved: set[int]) -> range | None:
        """The block that can be had soonest; None where others come first everywhere.

        Of blocks that are not free it is the one with the fewest busy slots. Nothing more is given to it meanwhile,
        so it becomes free.
        """
        taken = self._taken()
        found: list[tuple[tuple[bool, int, bool, int], range]] = []
        for first in range(0, self.slots - work.width + 1, work.width):
            block = range(first, first + work.width)
            if reserved.isdisjoint(block):
                nobody = self._present.isdisjoint(block)
                cold = self._runs_on.get(first) != block
                found.append(((nobody, len(taken.intersection(block)), cold, first), block))
        return min(found)[1] if found else None

    def _place(self, work: Work, block: range) -> list[Move]:
        """Give the work out, or clear what is in its way."""
        leaders = sorted(self._present.intersection(block))
        if not leaders or not self._taken().isdisjoint(block):
            return []
        leader = leaders[0]
        in_the_way = [
            slot
            for slot, where in self._runs_on.items()
            if not set(where).isdisjoint(block) and (slot != leader or not set(where) <= set(block))
        ]
        if in_the_way:
            return [self._let_go(slot) for slot in in_the_way if slot not in self._releasing]
        self._waiting.remove(work)
        self._busy[leader] = _Busy(work, block, list(work.items))
        self._runs_on[leader] = block
        return [Give(leader, block, work.items)]

    def _let_go(self, slot: int) -> Release:
        self._releasing.add(slot)
        return Release(slot)

    def _sort(self) -> None:
        self._waiting.sort(key=lambda work: (-work.width, -work.expected_s))
