"""Temporary folders of dead owners go; those of the living, and of others, stay."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness import scratch
from tests.test_processes import until_gone
from tests.toys import alive


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder for temporary files."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    yield tmp_path
    tempfile.tempdir = None


def killed(mark: str = "") -> Path:
    """The folder of an owner that was killed."""
    body = f"""
import os
from harness import scratch
print(scratch.make({mark!r}).path, flush=True)
os.kill(os.getpid(), 9)
"""
    done = subprocess.run([sys.executable, "-c", body], capture_output=True, text=True, check=False)
    path = Path(done.stdout.strip())
    assert path.is_dir(), done.stderr
    return path


def test_the_folder_of_a_killed_owner_is_removed_by_the_next() -> None:
    left = killed()
    (left / "e1").mkdir()
    (left / "e1" / "log").write_text("last words")
    made = scratch.make()
    assert not left.exists()
    assert made.path.exists()
    made.remove()
    assert not made.path.exists()


def test_the_folder_of_a_living_owner_stays() -> None:
    first, second = scratch.make(), scratch.make()
    assert first.path.exists()
    assert scratch.sweep() == []
    for each in (first, second):
        each.remove()


def test_a_folder_that_is_not_certainly_ours_stays(folder: Path) -> None:
    being_made = folder / f"{scratch.PREFIX}new"
    being_made.mkdir()
    (being_made / "owner.new").touch()
    linked = folder / f"{scratch.PREFIX}linked"
    linked.mkdir()
    (folder / "other").touch()
    (linked / "owner").symlink_to(folder / "other")
    file = folder / f"{scratch.PREFIX}file"
    file.touch()
    assert scratch.sweep() == []
    assert being_made.exists()
    assert linked.exists()
    assert file.exists()


def test_processes_that_still_work_for_a_dead_owner_are_ended_and_no_others() -> None:
    working, bystander = (
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], env=os.environ | {scratch.MARK: mark})
        for mark in ("toy-dead", "toy-living")
    )
    try:
        killed("toy-dead")
        assert len(scratch.sweep()) == 1
        working.wait(20)
        until_gone(working.pid)
        assert alive(bystander.pid)
    finally:
        for process in (working, bystander):
            process.kill()
            process.wait()


def test_temporary_files_go_to_the_folder_and_caches_stay_where_they_were(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    short = Path("/t")
    scratch.use_for_temporary_files(short)
    assert os.environ["TMPDIR"] == str(short)
    assert Path(os.environ["TORCHINDUCTOR_CACHE_DIR"]).parent == folder


def test_a_cache_that_the_user_has_placed_stays_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "/my/cache")
    scratch.use_for_temporary_files(Path("/t"))
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == "/my/cache"


def test_a_path_too_long_for_sockets_is_not_used(folder: Path) -> None:
    scratch.use_for_temporary_files(Path("/t" * 60))
    assert tempfile.gettempdir() == str(folder)
