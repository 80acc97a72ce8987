"""Shared memory is removed only where it is certain whose it was."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness import sharedmemory


@pytest.fixture
def segment() -> Iterator[Path]:
    path = sharedmemory.FOLDER / f"test-{os.getpid()}-{os.urandom(4).hex()}"
    path.write_bytes(bytes(4096))
    yield path
    path.unlink(missing_ok=True)


def mapped(path: Path, flags: int = mmap.MAP_SHARED) -> mmap.mmap:
    with path.open("r+b") as file:
        return mmap.mmap(file.fileno(), 4096, flags=flags)


def mine() -> set[tuple[str, int]]:
    return sharedmemory.held_by([os.getpid()])


def test_what_was_held_and_is_mapped_by_nobody_is_removed(segment: Path) -> None:
    memory = mapped(segment)
    held = mine()
    assert segment.name in {name for name, _ in held}
    memory.close()
    assert sharedmemory.remove(held, frozenset()) == [segment.name]
    assert not segment.exists()


def test_what_somebody_still_maps_stays(segment: Path) -> None:
    memory = mapped(segment)
    assert sharedmemory.remove(mine(), frozenset()) == []
    assert segment.exists()
    memory.close()


def test_what_is_older_than_the_engine_stays(segment: Path) -> None:
    before = sharedmemory.names()
    memory = mapped(segment)
    held = mine()
    memory.close()
    assert sharedmemory.remove(held, before) == []
    assert segment.exists()


def test_a_model_that_somebody_keeps_there_is_not_shared_memory(segment: Path) -> None:
    memory = mapped(segment, mmap.MAP_PRIVATE)
    assert segment.name not in {name for name, _ in mine()}
    memory.close()


def test_a_name_that_another_has_taken_since_stays(segment: Path) -> None:
    memory = mapped(segment)
    held = mine()
    segment.rename(segment.with_suffix(".old"))
    segment.write_bytes(b"another's")
    memory.close()
    try:
        assert sharedmemory.remove(held, frozenset()) == []
        assert segment.read_bytes() == b"another's"
    finally:
        segment.with_suffix(".old").unlink()


def test_a_process_that_is_gone_holds_nothing() -> None:
    assert sharedmemory.held_by([2**22 + 1]) == set()
