"""Groups given out to slots: wide ones get their place, lost ones come again, none is lost or doubled."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from harness.cluster.placing import TRIES, Placing
from harness.groups import Group
from tests.toys import cell

PYTORCH = frozenset({"pytorch"})


def group(name: str, *, wide: int = 1, cells: int = 1, backend: str = "pytorch", expected_s: float = 1.0) -> Group:
    made = tuple(replace(cell(), id=f"{name}.{n}", backend=backend) for n in range(cells))
    return Group(name, made, gpus=wide, cpus=1, expected_s=expected_s)


def placing(*groups: Group, most: int | None = None) -> Placing:
    return Placing(groups, narrow=1, wanted=lambda group: group.gpus, most=most)


def start(queue: Placing, able: frozenset[str] = PYTORCH) -> list[str]:
    names = []
    for node, size in queue.to_start():
        names.append(f"{node}/{len(queue.slots)}")
        queue.started(names[-1], node, size)
        queue.ready(names[-1], able)
    return names


def test_a_wide_group_has_a_node_kept_for_it_while_the_others_go_on() -> None:
    queue = placing(group("a", cells=2), group("b"), group("c"), group("d"), group("e"))
    queue.seen({"one": 2, "two": 1})
    first, second, third = sorted(start(queue))
    for slot in (first, second, third):
        assert queue.next(slot)
    queue.waiting.insert(0, group("wide", wide=2))

    assert queue.to_start() == []
    for slot in (first, second, third):
        while queue.next(slot):
            queue.judged(slot)
        assert queue.spare(slot)
        queue.ended(slot)
    assert ("one", 2) in queue.to_start()
    assert [one.key for one in queue.waiting] == ["wide"], "the node of one unit did all the rest meanwhile"


def test_a_group_wider_than_every_node_gets_the_biggest_so_that_its_cells_can_say_what_they_lack() -> None:
    queue = placing(group("wide", wide=8))
    queue.seen({"one": 2, "two": 1})
    assert queue.to_start() == [("one", 2)]


def test_a_node_without_a_backend_gets_none_of_its_cells_while_another_may_have_it() -> None:
    queue = placing(group("a"), group("b"))
    queue.seen({"bare": 1, "good": 1})
    for node, size in queue.to_start():
        queue.started(node, node, size)
    queue.ready("bare", frozenset())
    assert queue.next("bare") is None
    assert not queue.spare("bare"), "the other may lack it too"
    queue.ready("good", PYTORCH)
    assert queue.next("bare") is None
    assert queue.spare("bare")
    queue.ended("bare")
    assert queue.next("good") == "a.0"
    assert queue.to_start() == [], "it would be started and ended for ever"
    queue.lost("good")
    queue.seen({"bare": 1})
    assert queue.to_start() == [], "what can be judged waits for the node to come back"


def test_where_no_node_has_a_backend_its_cells_go_to_any_and_say_so() -> None:
    queue = placing(group("a"))
    queue.seen({"bare": 1})
    (slot,) = start(queue, frozenset())
    assert queue.next(slot) == "a.0"


def test_a_cell_that_is_lost_with_its_slot_again_and_again_is_given_up_alone() -> None:
    queue = placing(group("a", cells=3))
    queue.seen({"one": 1})
    told: list[str | None] = []
    for _ in range(TRIES):
        (slot,) = start(queue)
        if not told:
            assert queue.next(slot) == "a.0"
            queue.judged(slot)
        assert queue.next(slot) == "a.1"
        told.append(queue.lost(slot))
    assert told == [None] * (TRIES - 1) + ["a.1"]
    (slot,) = start(queue)
    assert queue.next(slot) == "a.2"


@settings(max_examples=100, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    widths=st.lists(st.tuples(st.integers(1, 5), st.integers(1, 4)), min_size=1, max_size=12),
    nodes=st.lists(st.integers(1, 4), min_size=1, max_size=4),
    most=st.none() | st.integers(1, 3),
    losses=st.integers(0, 12),
)
def test_whatever_is_lost_every_cell_ends_once_and_no_node_holds_more_than_it_has(
    seed: int, widths: list[tuple[int, int]], nodes: list[int], most: int | None, losses: int
) -> None:
    random = Random(seed)  # noqa: S311 - a simulation
    groups = [group(f"g{n}", wide=wide, cells=cells) for n, (wide, cells) in enumerate(widths)]
    queue = placing(*groups, most=most)
    units = {f"node{n}": size for n, size in enumerate(nodes)}
    ended: Counter[str] = Counter()
    count = 0
    for _ in range(2000):
        if queue.finished:
            break
        queue.seen(units)
        for node, size in queue.to_start():
            count += 1
            queue.started(f"s{count}", node, size)
        assert all(queue.free(node) >= 0 for node in units)
        assert most is None or len(queue.slots) <= most
        slot = random.choice(list(queue.slots))
        held = queue.slots[slot]
        if losses and random.random() < 0.2:
            losses -= 1
            if (given_up := queue.lost(slot)) is not None:
                ended[given_up] += 1
        elif not held.ready:
            queue.ready(slot, PYTORCH)
            queue.next(slot)
        elif held.cell is not None:
            ended[held.cell] += 1
            queue.judged(slot)
            if queue.next(slot) is None and queue.spare(slot):
                queue.ended(slot)
        elif queue.next(slot) is None and queue.spare(slot):
            queue.ended(slot)
    assert queue.finished
    assert ended == Counter({one.id: 1 for listed in groups for one in listed.cells})
