"""Who gets what next: order, wide groups, deaths; and that no sequence of events loses, doubles or overlaps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.slots.allocation import DEATHS, Allocation, Give, Move, Release, Work


def work(key: str, *, items: int = 1, width: int = 1, seconds: float = 1.0) -> Work:
    return Work(key, tuple(f"{key}{number}" for number in range(items)), width, seconds)


def joined(slots: int, *works: Work) -> Allocation:
    allocation = Allocation(works, slots)
    for slot in range(slots):
        allocation.join(slot)
    return allocation


def given_out(moves: list[Move]) -> list[str]:
    return [move.items[0] for move in moves if isinstance(move, Give)]


def test_what_is_expected_to_take_longest_is_given_out_first() -> None:
    allocation = joined(1, work("a", seconds=1), work("b", seconds=9), work("c", seconds=5))
    order = []
    while not allocation.done:
        (item,) = given_out(allocation.moves())
        order.append(item)
        allocation.finish(0, item)
    assert order == ["b0", "c0", "a0"]


def test_a_group_goes_to_one_slot_whole_and_a_second_slot_takes_the_next() -> None:
    allocation = joined(2, work("a", items=3, seconds=9), work("b", items=2))
    assert allocation.moves() == [Give(0, range(1), ("a0", "a1", "a2")), Give(1, range(1, 2), ("b0", "b1"))]
    assert allocation.moves() == []


def test_a_slot_has_nothing_beyond_its_group_so_that_a_free_one_can_have_the_next() -> None:
    allocation = joined(2, work("a", seconds=9), work("b", seconds=8), work("c"), work("d"))
    allocation.moves()
    allocation.finish(1, "b0")
    assert given_out(allocation.moves()) == ["c0"]
    allocation.finish(1, "c0")
    assert given_out(allocation.moves()) == ["d0"]


def test_wide_groups_come_first_and_what_they_leave_over_is_used_meanwhile() -> None:
    allocation = joined(3, work("narrow", seconds=99), work("wide", width=2))
    assert allocation.moves() == [Give(0, range(2), ("wide0",)), Give(2, range(2, 3), ("narrow0",))]


def test_a_block_is_released_before_its_slots_are_used_one_by_one() -> None:
    allocation = joined(2, work("wide", width=2), work("a"), work("b"))
    assert given_out(allocation.moves()) == ["wide0"]
    allocation.finish(0, "wide0")
    assert allocation.moves() == [Release(0)]
    assert allocation.moves() == []
    allocation.release(0)
    assert allocation.moves() == [Give(0, range(1), ("a0",)), Give(1, range(1, 2), ("b0",))]


def test_a_wide_group_that_has_to_be_done_again_gets_a_block_though_narrow_ones_wait() -> None:
    allocation = joined(2, work("wide", width=2), work("a"), work("b"), work("c"))
    allocation.moves()
    allocation.lose(0)
    # its worker has not come back: the slot beside it leads
    assert allocation.moves() == [Give(1, range(2), ("wide0",))]


def test_neighbours_let_go_of_what_they_run_before_a_wide_group_has_their_devices() -> None:
    allocation = Allocation([work("a", width=2, seconds=2), work("b", width=2), work("c"), work("d"), work("e")], 4)
    for slot in range(3):
        allocation.join(slot)
    assert given_out(allocation.moves()) == ["a0", "b0"]
    allocation.finish(0, "a0")
    assert allocation.moves() == [Release(0)]
    allocation.release(0)
    assert given_out(allocation.moves()) == ["c0", "d0"]
    allocation.lose(2)
    allocation.finish(0, "c0")
    assert allocation.moves() == [], "the other slots of its block have no worker: it waits for this one"
    allocation.finish(1, "d0")
    assert allocation.moves() == [Release(1)]
    allocation.release(1)
    assert allocation.moves() == [Give(0, range(2), ("b0",))]


def test_a_cell_at_which_two_workers_died_is_given_up_and_the_rest_of_its_group_goes_on() -> None:
    allocation = joined(1, work("a", items=3))
    for given_up in (False, True):
        allocation.moves()
        allocation.begin(0)
        allocation.finish(0, "a0")
        lost = allocation.lose(0)
        assert (lost.interrupted, lost.given_up) == ("a1", given_up)
        allocation.join(0)
    assert allocation.moves() == [Give(0, range(1), ("a2",))]
    allocation.finish(0, "a2")
    assert allocation.done


def test_a_worker_that_dies_before_it_comes_to_its_first_cell_is_held_against_no_cell() -> None:
    allocation = joined(1, work("a"))
    for _ in range(5):
        allocation.moves()
        assert allocation.lose(0).interrupted is None
        allocation.join(0)
    assert given_out(allocation.moves()) == ["a0"]


def test_an_outcome_that_is_told_twice_counts_once() -> None:
    allocation = joined(1, work("a", items=2))
    allocation.moves()
    for item in ("a0", "a0", "a1", "a1", "a0"):
        allocation.finish(0, item)
    assert allocation.done


def test_who_has_nothing_more_to_do_lets_go_of_its_engines() -> None:
    allocation = joined(2, work("a", seconds=9), work("b"))
    allocation.moves()
    allocation.finish(1, "b0")
    assert allocation.moves() == [Release(1)]
    allocation.release(1)
    assert allocation.moves() == []


def test_a_group_that_is_wider_than_the_machine_is_refused() -> None:
    with pytest.raises(ValueError, match="wide takes 3 slots of 2"):
        Allocation([work("wide", width=3)], 2)


class Simulated:
    """Workers that do what they are told, one thing at a time, in any order among them, and die at any moment."""

    def __init__(self, works: list[Work], slots: int) -> None:
        self.allocation = Allocation(works, slots)
        self.slots = slots
        self.inbox: dict[int, list[Move | str]] = {}
        self.devices: dict[int, range] = {}
        self.at: dict[int, str] = {}
        self.finished: Counter[str] = Counter()
        self.died_at: Counter[str] = Counter()
        self.given_up: list[str] = []

    def events(self, *, deaths: bool) -> list[Callable[[], None]]:
        absent = [slot for slot in range(self.slots) if slot not in self.inbox]
        found: list[Callable[[], None]] = [lambda slot=slot: self.join(slot) for slot in absent]  # type: ignore[misc]
        found += [lambda slot=slot: self.step(slot) for slot, inbox in self.inbox.items() if inbox]  # type: ignore[misc]
        if deaths:
            found += [lambda slot=slot: self.die(slot) for slot in self.inbox]  # type: ignore[misc]
        return found

    def join(self, slot: int) -> None:
        self.inbox[slot] = []
        self.allocation.join(slot)
        self.send()

    def step(self, slot: int) -> None:
        match self.inbox[slot].pop(0):
            case Release():
                self.devices.pop(slot, None)
                self.allocation.release(slot)
            case Give() as move:
                taken = [device for other, block in self.devices.items() if other != slot for device in block]
                assert not set(taken) & set(move.block), f"{move} while others use {taken}"
                self.devices[slot] = move.block
                self.allocation.begin(slot)
                self.inbox[slot] = [*move.items, *self.inbox[slot]]
            case str() as item:
                self.finished[item] += 1
                self.allocation.finish(slot, item)
        self.send()

    def die(self, slot: int) -> None:
        inbox = self.inbox.pop(slot)
        self.devices.pop(slot, None)
        lost = self.allocation.lose(slot)
        at = inbox[0] if inbox and isinstance(inbox[0], str) else None
        assert lost.interrupted == at
        if at is not None:
            self.died_at[at] += 1
        if lost.given_up and at is not None:
            self.given_up.append(at)
        self.send()

    def send(self) -> None:
        for move in self.allocation.moves():
            self.inbox[move.slot].append(move)


@st.composite
def machines(draw: st.DrawFn) -> tuple[list[Work], int]:
    slots = draw(st.integers(1, 4))
    shapes = draw(st.lists(st.tuples(st.integers(1, 3), st.integers(1, slots), st.floats(0, 9)), max_size=6))
    return [work(f"g{n}.", items=i, width=w, seconds=s) for n, (i, w, s) in enumerate(shapes)], slots


@settings(max_examples=400, deadline=None)
@given(machine=machines(), data=st.data())
def test_whoever_finishes_or_dies_when_each_cell_is_done_once_or_given_up_and_devices_never_overlap(
    machine: tuple[list[Work], int], data: st.DataObject
) -> None:
    works, slots = machine
    simulated = Simulated(works, slots)
    for _ in range(data.draw(st.integers(0, 60))):
        if not (events := simulated.events(deaths=True)):
            break
        data.draw(st.sampled_from(events))()
    while not simulated.allocation.done:
        events = simulated.events(deaths=False)
        assert events, f"nobody has anything to do, and {simulated.allocation.left} are left"
        data.draw(st.sampled_from(events))()
    planned = [item for each in works for item in each.items]
    assert sorted([*simulated.finished.elements(), *simulated.given_up]) == sorted(planned)
    assert all(simulated.died_at[item] == DEATHS for item in simulated.given_up)
