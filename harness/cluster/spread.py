"""A run over many slots: groups are given out, records come back, what a lost slot had not judged is given out again.

It knows a cluster by what `Cluster` says, and pytest not at all.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from harness.cluster.node import Facts, Setup
from harness.cluster.placing import TRIES, Placing
from harness.energy import functional
from harness.energy.metering import Metering
from harness.experiment import Result
from harness.failure import one_line
from harness.groups import Group
from harness.jsontypes import JSON
from harness.plan import Cell
from harness.records import CellRecord
from harness.session import record
from harness.verdict import Cause, Verdict


class ClusterError(RuntimeError):
    """The cluster cannot do what is asked of it; one line that says what is asked and what there is."""


@dataclass(frozen=True, slots=True)
class Placed:
    """A slot has what it holds of its node; its supervisor is being started."""

    slot: str


@dataclass(frozen=True, slots=True)
class Answered:
    """A slot's supervisor answered what it was told last."""

    slot: str
    answer: JSON


@dataclass(frozen=True, slots=True)
class Lost:
    """A slot is gone, with whatever it was doing."""

    slot: str
    reason: str


Event = Placed | Answered | Lost


class Cluster(Protocol):
    """Machines that slots can be had on."""

    @property
    def unit(self) -> str:
        """What slots are made of: "GPU", or "CPU" where there are no GPUs."""

    def nodes(self) -> Mapping[str, int]:
        """The nodes that live, with their units."""

    def free(self) -> float:
        """Units that nobody holds, by the cluster's own account."""

    def start(self, node: str, units: int, setup: Setup) -> str:
        """Ask for a slot on a node; its name. It is `Placed`, then `Answered` with its supervisor's first answer."""

    def judge(self, slot: str, cell: str, run: str) -> None:
        """Ask a slot for a record: it is `Answered` with it."""

    def end(self, slot: str) -> None:
        """End a slot, at once if it is at work. Nothing more is told of it."""

    def events(self, timeout_s: float) -> list[Event]:
        """What happened, once something did or the time is over."""

    def close(self) -> None:
        """End every slot, and wait until their engines have ended."""


class Spread:
    """The records of a run, as they arrive."""

    def __init__(
        self,
        cluster: Cluster,
        cells: Iterable[Cell],
        groups: Iterable[Group],
        setup: Setup,
        run: str,
        *,
        share: int,
        most: int | None,
        wait_s: float,
        tell: Callable[[str], None],
    ) -> None:
        """Nothing is started yet.

        Args:
            cluster: where the slots are.
            cells: what is judged.
            groups: the same, by engine key.
            setup: what every supervisor is told.
            run: the run's id; nodes that differ from the first get it with a suffix.
            share: CPUs of a slot where there are no GPUs.
            most: so many slots at once.
            wait_s: seconds without any slot after which no more is waited for.
            tell: takes a line for people.
        """
        self.cluster = cluster
        self.cells = {cell.id: cell for cell in cells}
        self.setup = setup
        self.run = run
        self.wait_s = wait_s
        self.tell = tell
        self.facts: dict[str, Facts] = {}
        """Run id to what the nodes of that header are."""
        gpus = cluster.unit == "GPU"
        self.placing = Placing(
            groups, narrow=1 if gpus else share, wanted=lambda g: g.gpus if gpus else g.cpus, most=most
        )
        self._runs: dict[str, str] = {}
        self._placed: set[str] = set()
        self._refused: dict[str, str] = {}
        self._unready: Counter[str] = Counter()
        self._alone_since = time.monotonic()

    def first(self) -> Facts:
        """What the first node that answers is. Its records are of the run itself.

        Raises:
            ClusterError: none does.
        """
        while not self.facts:
            list(self._step())
        return self.facts[self.run]

    def records(self) -> Iterator[CellRecord]:
        """Every cell's record, in the order in which they arrive.

        Raises:
            ClusterError: no slot is left, and none can be had.
        """
        while not self.placing.finished:
            yield from self._step()

    def _step(self) -> Iterator[CellRecord]:
        self.placing.seen({n: units for n, units in self.cluster.nodes().items() if n not in self._refused})
        for node, units in self.placing.to_start():
            self.placing.started(self.cluster.start(node, units, self.setup), node, units)
        self._demand_slots()
        for event in self.cluster.events(timeout_s=1.0):
            arrived = self._take(event)
            if arrived is not None:
                yield arrived
        for slot, held in list(self.placing.slots.items()):
            if held.ready and held.cell is None:
                self._give(slot)

    def _take(self, event: Event) -> CellRecord | None:
        held = self.placing.slots.get(event.slot)
        if held is None:
            return None
        if isinstance(event, Placed):
            self._placed.add(event.slot)
        elif isinstance(event, Lost):
            return self._lost(event.slot, event.reason)
        elif not held.ready:
            self._greeted(event.slot, event.answer)
        else:
            arrived = CellRecord.model_validate(event.answer)
            self.placing.judged(event.slot)
            self._give(event.slot)
            return arrived
        return None

    def _greeted(self, slot: str, answer: JSON) -> None:
        """A supervisor told what its node is, or why it judges nothing."""
        assert isinstance(answer, dict)
        node = self.placing.slots[slot].node
        if answer.get("event") != "ready":
            self._refuse(node, str(answer.get("reason")))
            self._end(slot)
            return
        facts = Facts.model_validate(answer["facts"])
        known = {one.kind: run for run, one in self.facts.items()}
        run = known.get(facts.kind) or (f"{self.run}-{len(known) + 1}" if known else self.run)
        self.facts.setdefault(run, facts)
        self._runs[slot] = run
        self.placing.ready(slot, facts.able)

    def _give(self, slot: str) -> None:
        cell = self.placing.next(slot)
        if cell is not None:
            self.cluster.judge(slot, cell, self._runs[slot])
        elif self.placing.spare(slot):
            self._end(slot)

    def _end(self, slot: str) -> None:
        self.cluster.end(slot)
        self.placing.ended(slot)
        self._placed.discard(slot)

    def _lost(self, slot: str, reason: str) -> CellRecord | None:
        held = self.placing.slots[slot]
        cell, node = held.cell, held.node
        given_up = self.placing.lost(slot)
        self.cluster.end(slot)
        self._placed.discard(slot)
        if not held.ready:
            self._unready[node] += 1
            if self._unready[node] >= TRIES:
                self._refuse(node, reason)
            return None
        self.tell(f"a slot was lost{f' while it judged {cell}' if cell else ''}: {reason}")
        if given_up is None:
            return None
        text = one_line(f"lost with its slot {TRIES} times, the last time because of this: {reason}")
        result = Result(Verdict(Cause.ENVIRONMENT, text))
        energy = functional.of_result(result, Metering(), None)
        return record(self.cells[given_up], result, energy, run=self._runs[slot], queue_s=0.0, wall_s=0.0)

    def _refuse(self, node: str, reason: str) -> None:
        if node not in self._refused:
            self._refused[node] = reason
            self.tell(f"node {node[:8]} is not used: {reason}")

    def _demand_slots(self) -> None:
        """Stop where there is nothing to wait for.

        Raises:
            ClusterError: so it is.
        """
        if self._placed or self.placing.finished:
            self._alone_since = time.monotonic()
            return
        there = self.placing.nodes
        asked = f"asked for {self.placing.narrow} {self.cluster.unit} a slot"
        if not there and self._refused:
            raise ClusterError(f"no node can be used: {next(iter(self._refused.values()))}")
        waited = time.monotonic() - self._alone_since
        if not self.placing.slots and there and max(there.values()) < 1:
            raise ClusterError(f"{asked}, but none of the {len(there)} nodes has any: start nodes with some")
        if waited > self.wait_s:
            free = f"{self.cluster.free():g} of {sum(there.values())} {self.cluster.unit}s free on {len(there)} nodes"
            raise ClusterError(f"{asked} and got none within {self.wait_s:g} s: there are {free}")
