"""A run over a cluster that is played: headers, losses, refusals, and an end where nothing can be had."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from harness.cluster.node import Facts, Setup
from harness.cluster.spread import Answered, ClusterError, Event, Lost, Placed, Spread
from harness.declare import Scope, Value
from harness.groups import expected, groups
from harness.records import BackendInfo, CellRecord, HarnessInfo
from harness.verdict import Cause
from tests.toys import cell_record, column, parameter, plan

SETUP = Setup(project="/somewhere", versions={}, models={"pytorch": "model"}, plan="0")
CELLS = plan(parameter("decoder.top_k", *[Value(n) for n in range(1, 7)], on=column(scope=Scope.ENGINE)))


class Played:
    """Answers at once: with the facts of its node, then with records. What is in `script` happens instead."""

    unit = "CPU"

    def __init__(self, **nodes: str) -> None:
        """Nodes by name, with the CPU that each has; "-" cannot be placed, "!" refuses, "0" has no units."""
        self.cpus = nodes
        self.deadly: set[str] = set()
        """Cells that take their slot along."""
        self.where: dict[str, str] = {}
        self.told: list[Event] = []
        self.asked: list[tuple[str, str]] = []
        self.closed = False

    def nodes(self) -> Mapping[str, int]:
        return {node: 0 if cpu == "0" else 2 for node, cpu in self.cpus.items()}

    def free(self) -> float:
        return 0.5

    def start(self, node: str, units: int, setup: Setup) -> str:
        assert units == 2
        assert setup is SETUP
        slot = f"{node}{len(self.where)}"
        self.where[slot] = node
        if self.cpus[node] == "-":
            return slot
        answer: dict[str, Any] = {"event": "ready", "facts": facts(self.cpus[node]).model_dump(mode="json")}
        if self.cpus[node] == "!":
            answer = {"event": "failed", "reason": "no project there"}
        self.told += [Placed(slot), Answered(slot, answer)]
        return slot

    def judge(self, slot: str, cell: str, run: str) -> None:
        self.asked.append((cell, self.where[slot]))
        if cell in self.deadly:
            self.told.append(Lost(slot, "the node has died"))
        else:
            record = cell_record(run, cell.removeprefix("pytorch-"))
            self.told.append(Answered(slot, record.model_dump(mode="json")))

    def end(self, slot: str) -> None:
        self.told = [event for event in self.told if event.slot != slot]

    def events(self, timeout_s: float) -> list[Event]:
        del timeout_s
        told, self.told = self.told, []
        return told

    def close(self) -> None:
        self.closed = True


def facts(cpu: str) -> Facts:
    info = BackendInfo(model="model", model_hash=None, cpu=cpu, cpus=2)
    return Facts(
        backends={"pytorch": info}, harness=HarnessInfo(version="1", commit=None, python="3"), installed=["pytorch"]
    )


def spread(cluster: Played, said: list[str] | None = None, wait_s: float = 0.2) -> Spread:
    found = groups(CELLS, expected(CELLS, ()))
    tell = (said if said is not None else []).append
    return Spread(cluster, CELLS, found, SETUP, "r1", share=2, most=None, wait_s=wait_s, tell=tell)


def test_nodes_that_differ_have_headers_of_their_own_and_equal_ones_share_theirs() -> None:
    cluster = Played(one="EPYC", two="Xeon", three="EPYC")
    run = spread(cluster)
    first = run.first()
    records = list(run.records())

    assert sorted(record.cell for record in records) == sorted(cell.id for cell in CELLS)
    assert first == run.facts["r1"]
    assert set(run.facts) == {"r1", "r1-2"}
    node = dict(cluster.asked)
    for record in records:
        assert run.facts[record.run].backends["pytorch"].cpu == cluster.cpus[node[record.cell]]


def test_a_cell_that_takes_its_slot_along_three_times_is_told_as_not_run_and_the_others_are_judged() -> None:
    cluster = Played(one="EPYC", two="EPYC")
    deadly = CELLS[2].id
    cluster.deadly.add(deadly)
    said: list[str] = []
    records = {record.cell: record for record in spread(cluster, said).records()}

    assert set(records) == {cell.id for cell in CELLS}
    assert [cell for cell, _ in cluster.asked].count(deadly) == 3
    assert len(cluster.asked) == len(CELLS) + 2, "nothing else was asked for twice"
    assert records[deadly].cause is Cause.ENVIRONMENT
    assert records[deadly].reason == ("lost with its slot 3 times, the last time because of this: the node has died")
    assert {record.cause for cell, record in records.items() if cell != deadly} == {Cause.CONFIRMED}
    assert said == [f"a slot was lost while it judged {deadly}: the node has died"] * 3


def test_a_node_that_refuses_is_told_of_once_and_the_others_do_its_work() -> None:
    cluster = Played(bad="!", good="EPYC")
    said: list[str] = []
    assert len(list(spread(cluster, said).records())) == len(CELLS)
    assert said == ["node bad is not used: no project there"]
    assert {node for _, node in cluster.asked} == {"good"}


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        ({"one": "0"}, "asked for 2 CPU a slot, but none of the 1 nodes has any: start nodes with some"),
        ({"one": "!"}, "no node can be used: no project there"),
        ({"one": "-"}, r"asked for 2 CPU a slot and got none within 0.2 s: there are 0.5 of 2 CPUs free on 1 nodes"),
        ({}, r"asked for 2 CPU a slot and got none within 0.2 s: there are 0.5 of 0 CPUs free on 0 nodes"),
    ],
)
def test_where_nothing_can_be_had_it_says_what_is_asked_and_what_there_is(nodes: dict[str, str], message: str) -> None:
    with pytest.raises(ClusterError, match=message):
        spread(Played(**nodes)).first()


def test_when_the_last_node_goes_what_arrived_stays_and_the_rest_is_not_waited_for() -> None:
    class Ending(Played):
        def nodes(self) -> Mapping[str, int]:
            return {} if len(self.asked) >= 3 else super().nodes()

        def judge(self, slot: str, cell: str, run: str) -> None:
            super().judge(slot, cell, run)
            if len(self.asked) >= 3:
                self.told[-1] = Lost(slot, "the node has died")

    run = spread(Ending(one="EPYC"))
    arrived: list[CellRecord] = []
    with pytest.raises(ClusterError, match="got none within"):
        arrived.extend(run.records())
    assert len(arrived) == 2
