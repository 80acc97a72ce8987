"""The slots that a machine has: a GPU each, or a share of the CPU cores; and several of them together."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from harness import snapshot
from harness.gpus import allotted
from harness.groups import Group
from harness.slots.share import Share

T = TypeVar("T")

CORES: Final = 2
"""CPU cores that `auto` leaves to a slot."""
MEMORY_BYTES: Final = 4 << 30
"""Memory that `auto` leaves to a slot: a backend's host and the engines that it keeps."""


@dataclass(frozen=True, slots=True)
class Machine:
    """What can be divided."""

    gpus: tuple[str, ...]
    cpus: tuple[int, ...]
    memory_bytes: int
    """Memory that can be had without swapping."""

    @classmethod
    def here(cls) -> Machine:
        """The machine as this process may use it: a scheduler's choice of GPUs and CPUs is kept."""
        gpus = [str(gpu["uuid"]) for gpu in allotted()]
        cpus = sorted(os.sched_getaffinity(0))
        return cls(tuple(gpus), tuple(cpus), snapshot.available_bytes() or len(cpus) * MEMORY_BYTES)

    def auto(self) -> int:
        """How many slots: one a GPU, or as many as cores and memory allow; at least one."""
        return len(self.gpus) or max(1, min(len(self.cpus) // CORES, self.memory_bytes // MEMORY_BYTES))

    def slots(self, count: int) -> Slots:
        """The machine in `count` parts, which together are all of it.

        More parts than cores or GPUs share these: for engines that wait more than they compute.
        """
        parts = range(count)
        return Slots(tuple(Share(_part(self.gpus, n, count), _part(self.cpus, n, count)) for n in parts))


@dataclass(frozen=True, slots=True)
class Slots:
    """The slots of a machine, in order: neighbours can be joined to a block."""

    shares: tuple[Share, ...]

    def block(self, slot: int, width: int) -> range:
        """The block of so many slots that `slot` belongs to; blocks of one width do not overlap.

        Raises:
            ValueError: it belongs to none, because the last slots are too few.
        """
        first = slot // width * width
        if first + width > len(self.shares):
            raise ValueError(f"slot {slot} of {len(self.shares)} is in no block of {width}")
        return range(first, first + width)

    def share(self, slots: Sequence[int]) -> Share:
        """What these slots have together."""
        gpus = dict.fromkeys(name for slot in slots for name in self.shares[slot].gpus)
        cpus = dict.fromkeys(cpu for slot in slots for cpu in self.shares[slot].cpus)
        return Share(tuple(gpus), tuple(cpus))

    def width(self, group: Group) -> int:
        """How many neighbouring slots a group takes, whichever block it gets.

        One where the whole machine lacks what it needs: it is told so without any device.
        """
        for width in range(1, len(self.shares) + 1):
            blocks = [self.share(range(n, n + width)) for n in range(0, len(self.shares) - width + 1, width)]
            if all(_has(share, group) for share in blocks):
                return width
        return 1


def _has(share: Share, group: Group) -> bool:
    return len(share.gpus) >= group.gpus if share.gpus else len(share.cpus) >= group.cpus


def _part(of: tuple[T, ...], number: int, count: int) -> tuple[T, ...]:
    """The part with this number of `count` neighbouring parts; none is empty unless all are."""
    if not of:
        return ()
    first = number * len(of) // count
    return of[first : max(first + 1, (number + 1) * len(of) // count)]
