"""Which slots a machine has, and what several of them have together."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from harness.declare import Value
from harness.groups import Group, groups
from harness.slots.machine import MEMORY_BYTES, Machine
from harness.slots.share import Share
from tests.toys import column, parameter, plan


def machine(*, gpus: int = 0, cpus: int = 8, memory: int = 64) -> Machine:
    return Machine(tuple(f"GPU-{n}" for n in range(gpus)), tuple(range(cpus)), memory << 30)


def group(*needs: str) -> Group:
    cells = plan(parameter("decoder.top_k", Value(1), on=column(needs=needs)))
    (found,) = groups(cells, {cells[0].id: 1.0})
    return found


@pytest.mark.parametrize(
    ("here", "slots"),
    [
        (machine(cpus=1), 1),
        (machine(cpus=2), 1),
        (machine(cpus=9), 4),
        (machine(cpus=64, memory=9), 2),
        (machine(cpus=64, memory=1), 1),
        (machine(gpus=3, memory=1), 3),
    ],
)
def test_auto_is_a_slot_a_gpu_or_as_many_as_cores_and_memory_allow(here: Machine, slots: int) -> None:
    assert here.auto() == slots


@pytest.mark.parametrize("count", [1, 2, 3, 5, 8])
def test_slots_are_all_of_the_machine_and_share_nothing(count: int) -> None:
    slots = machine(gpus=8, cpus=11).slots(count)
    assert [gpu for share in slots.shares for gpu in share.gpus] == [f"GPU-{n}" for n in range(8)]
    assert [cpu for share in slots.shares for cpu in share.cpus] == list(range(11))


def test_more_slots_than_cores_share_them() -> None:
    assert [share.cpus for share in machine(cpus=2).slots(4).shares] == [(0,), (0,), (1,), (1,)]


@pytest.mark.parametrize(
    ("here", "count", "needs", "width"),
    [
        (machine(cpus=8), 4, (), 1),
        (machine(cpus=8), 4, ("cpus:2",), 1),
        (machine(cpus=8), 4, ("cpus:4",), 2),
        (machine(cpus=8), 4, ("devices:2",), 1),
        (machine(cpus=8), 8, ("devices:2",), 2),
        (machine(cpus=5), 2, ("cpus:3",), 2),
        (machine(cpus=2), 2, ("cpus:99",), 1),
        (machine(gpus=4), 4, ("devices:2",), 2),
        (machine(gpus=4), 4, ("cuda:4",), 4),
        (machine(gpus=4), 2, ("cuda:2",), 1),
        (machine(gpus=4), 4, ("cuda:8",), 1),
        (machine(gpus=4, cpus=4), 4, ("cpus:3",), 1),
    ],
)
def test_a_group_takes_as_many_neighbours_as_have_what_it_needs(
    here: Machine, count: int, needs: tuple[str, ...], width: int
) -> None:
    assert here.slots(count).width(group(*needs)) == width


def test_blocks_of_one_width_do_not_overlap_and_the_last_slots_may_be_too_few() -> None:
    slots = machine().slots(5)
    assert [slots.block(slot, 2) for slot in range(4)] == [range(2), range(2), range(2, 4), range(2, 4)]
    with pytest.raises(ValueError, match="slot 4 of 5 is in no block of 2"):
        slots.block(4, 2)


def test_this_machine_has_some_memory_and_the_cores_that_this_process_may_use() -> None:
    assert Machine.here().memory_bytes > MEMORY_BYTES // 64
    assert set(Machine.here().cpus) == os.sched_getaffinity(0)


def test_what_is_started_within_a_share_has_its_cpus_and_the_caller_keeps_its_own() -> None:
    before = os.sched_getaffinity(0)
    last = max(before)
    with Share(("GPU-1", "GPU-2"), (last,)).affinity():
        told = subprocess.run(
            [sys.executable, "-c", "import os; print(os.sched_getaffinity(0))"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    assert told.strip() == f"{{{last}}}"
    assert os.sched_getaffinity(0) == before
    assert Share(("GPU-1", "GPU-2"), (0,)).environment() == {"CUDA_VISIBLE_DEVICES": "GPU-1,GPU-2"}
    assert Share((), (0,)).environment() == {}
