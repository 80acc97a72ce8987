"""Which group of cells goes to which slot of which node, and what becomes of it when a node is lost. Plain data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from harness.groups import Group

TRIES: Final = 3
"""So often a cell may be lost with its slot: it may be what ends the node."""


@dataclass(slots=True)
class Held:
    """A slot: what it takes of its node, and what it has to do."""

    node: str
    size: int
    """Units of the node: GPUs, or CPUs where there are no GPUs."""
    ready: bool = False
    """Whether its supervisor has said what its node is."""
    group: Group | None = None
    done: set[str] = field(default_factory=set)

    @property
    def cell(self) -> str | None:
        """The cell at work."""
        left = [cell.id for cell in self.group.cells if cell.id not in self.done] if self.group else []
        return left[0] if left else None


class Placing:
    """The groups that wait and the slots that work. A wide group waits for its units of one node to come free.

    The widest group in front of the queue that finds no place has a node kept for it: slots of that node end
    after their group, and nothing narrower is started there. So it waits for cells, but never for ever.
    """

    def __init__(
        self, groups: Iterable[Group], *, narrow: int, wanted: Callable[[Group], int], most: int | None = None
    ) -> None:
        """Everything waits.

        Args:
            groups: longest expected first.
            narrow: units of a slot for cells that want no more.
            wanted: units that a group takes together.
            most: so many slots at once, however many the cluster could have.
        """
        self.narrow = narrow
        self.wanted = wanted
        self.most = most
        self.waiting = sorted(groups, key=lambda group: -wanted(group))
        self.slots: dict[str, Held] = {}
        self.nodes: dict[str, int] = {}
        """Units of every node that can be used."""
        self.able: dict[str, frozenset[str]] = {}
        """Backends that answer, by node, for all nodes that ever said so."""
        self.losses: Counter[str] = Counter()
        """Cell to the times that it was lost with its slot."""
        self._kept: tuple[str, int] | None = None
        """A node, and the units that are to come free on it."""

    def seen(self, nodes: Mapping[str, int]) -> None:
        """The nodes that there are now, with their units."""
        self.nodes = dict(nodes)

    def size(self, group: Group) -> int:
        """Units of the slot that a group gets: all of the biggest node where it wants more. Its cells then say so."""
        biggest = max(self.nodes.values(), default=self.narrow)
        return max(1, min(max(self.narrow, self.wanted(group)), biggest))

    @property
    def finished(self) -> bool:
        """Whether nothing waits or works."""
        return not self.waiting and all(held.group is None for held in self.slots.values())

    def free(self, node: str) -> int:
        """Units of a node that no slot of ours has."""
        return self.nodes[node] - sum(held.size for held in self.slots.values() if held.node == node)

    def to_start(self) -> list[tuple[str, int]]:
        """Nodes and sizes of slots to start now, each to be told by `started`."""
        starting = Counter(held.size for held in self.slots.values() if not held.ready)
        room = {node: self.free(node) for node in self.nodes}
        places = (self.most or len(self.waiting)) - len(self.slots)
        found: list[tuple[str, int]] = []
        self._kept = None
        for group in self.waiting:
            size = self.size(group)
            full = not any(units >= self.narrow for units in room.values())
            if len(found) >= places or (full and (size <= self.narrow or self._kept)):
                break
            if starting[size]:
                starting[size] -= 1
                continue
            fitting = [node for node in self.nodes if self._suits(group, node)]
            node = max(
                (n for n in fitting if not self._kept or n != self._kept[0]), key=lambda n: room[n], default=None
            )
            if node is not None and room[node] >= size:
                found.append((node, size))
                room[node] -= size
            elif self._kept is None and size > self.narrow:
                big = [n for n in fitting if self.nodes[n] >= size]
                self._kept = (max(big, key=lambda n: room[n]), size) if big else None
        return found

    def started(self, slot: str, node: str, size: int) -> None:
        """A slot begins to exist."""
        self.slots[slot] = Held(node, size)

    def ready(self, slot: str, able: frozenset[str]) -> None:
        """A slot's supervisor has told which backends answer on its node."""
        self.slots[slot].ready = True
        self.able[self.slots[slot].node] = able

    def next(self, slot: str) -> str | None:
        """The cell that a slot is to judge now, the rest of its group first; None where there is none for it."""
        held = self.slots[slot]
        if (cell := held.cell) is not None:
            return cell
        held.group, held.done = None, set()
        if held.node not in self.nodes or self._leaving(held):
            return None
        for index, group in enumerate(self.waiting):
            if self.size(group) == held.size and self._suits(group, held.node):
                held.group = self.waiting.pop(index)
                return held.cell
        return None

    def spare(self, slot: str) -> bool:
        """Whether a slot without work should end: what is still starting may show that there is work for it."""
        held = self.slots[slot]
        return held.ready and held.group is None and (self._leaving(held) or not self._learning())

    def judged(self, slot: str) -> None:
        """The cell at work of a slot has its record."""
        held = self.slots[slot]
        if held.cell is not None:
            held.done.add(held.cell)

    def ended(self, slot: str) -> None:
        """A slot without work is no more."""
        del self.slots[slot]

    def lost(self, slot: str) -> str | None:
        """A slot is gone: what it had not judged waits again. The cell that is given up for it, if one is."""
        held = self.slots.pop(slot)
        if held.group is None or (cell := held.cell) is None:
            return None
        self.losses[cell] += 1
        given_up = cell if self.losses[cell] >= TRIES else None
        gone = held.done | ({given_up} if given_up else set())
        if left := tuple(one for one in held.group.cells if one.id not in gone):
            share = held.group.expected_s * len(left) / len(held.group.cells)
            self.waiting.append(replace(held.group, cells=left, expected_s=share))
            self.waiting.sort(key=lambda group: (-self.wanted(group), -group.expected_s))
        return given_up

    def _leaving(self, held: Held) -> bool:
        """Whether a slot stands where a wider one is to be."""
        return self._kept is not None and held.node == self._kept[0] and held.size < self._kept[1]

    def _learning(self) -> bool:
        return any(not held.ready for held in self.slots.values())

    def _suits(self, group: Group, node: str) -> bool:
        """Whether a node may have a group: a node without its backend would end every cell of it at once.

        Where no node has it, every node that could still tell otherwise is waited for.
        """
        backend = group.cells[0].backend
        if node not in self.able:
            return True
        if backend in self.able[node]:
            return True
        return not self._learning() and not any(backend in able for able in self.able.values())
