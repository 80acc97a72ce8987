"""What one interpreter says of the machine."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from harness.snapshot import memory_bytes

KERNEL = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def blocks(folder: Path, states: str, size: str = "8000000\n") -> Path:
    (folder / "block_size_bytes").write_text(size)
    for number, state in enumerate(states.split()):
        (folder / f"memory{number}").mkdir()
        (folder / f"memory{number}" / "state").write_text(f"{state}\n")
    return folder


def test_memory_is_what_is_built_in_whatever_the_kernel_has_of_it_at_the_moment(tmp_path: Path) -> None:
    assert memory_bytes(blocks(tmp_path, "online offline online online")) == 3 * 128 << 20
    assert memory_bytes() >= KERNEL


@pytest.mark.parametrize("size", ["many\n", "8000000\n", None])
def test_where_no_block_is_told_it_is_what_the_kernel_has(tmp_path: Path, size: str | None) -> None:
    folder = tmp_path / "nowhere" if size is None else blocks(tmp_path, "", size)
    assert memory_bytes(folder) == pytest.approx(KERNEL, rel=0.5)
