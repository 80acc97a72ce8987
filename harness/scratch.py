"""Temporary folders that the next start removes when their owner died before it could.

An owner holds a lock on a file in its folder, and the kernel lets go of it however the owner ends.
Folders without that file are not ours to judge.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from dataclasses import dataclass
from getpass import getuser
from pathlib import Path
from typing import Final

from harness import processes

PREFIX: Final = "paramatrix-"
MARK: Final = "PARAMATRIX_HOST"
"""Environment variable that all processes of a host inherit, by which they can be found."""
_LOCK = "owner"
_SHORT = 64
"""Sockets are made in temporary folders, and a socket's whole path has 107 characters, see unix(7)."""
_CACHES = {"TORCHINDUCTOR_CACHE_DIR": "torchinductor_{user}"}
"""What libraries keep in the temporary folder on purpose, for the next process."""


@dataclass(frozen=True, slots=True)
class Scratch:
    """A folder of this process's own."""

    path: Path
    lock: int
    """The descriptor that holds the lock. A forked child has to close it, or it owns the folder as well."""

    def remove(self) -> None:
        """Delete the folder and all in it."""
        shutil.rmtree(self.path, ignore_errors=True)
        with contextlib.suppress(OSError):
            os.close(self.lock)


def make(mark: str = "") -> Scratch:
    """A new folder, after the removal of those whose owners are dead.

    Args:
        mark: the value of `MARK` in all processes that work for the owner, "" when there is none.
    """
    sweep()
    path = Path(tempfile.mkdtemp(prefix=PREFIX))
    unlocked = path / f"{_LOCK}.new"
    lock = os.open(unlocked, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    os.write(lock, mark.encode())
    fcntl.flock(lock, fcntl.LOCK_EX)
    unlocked.rename(path / _LOCK)  # seen only once it is locked
    return Scratch(path, lock)


def sweep() -> list[Path]:
    """Remove the folders of dead owners, and end the processes that still work for them; the folders."""
    removed: list[Path] = []
    for path in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        try:
            lock = os.open(path / _LOCK, os.O_RDWR | os.O_NOFOLLOW)
        except OSError:
            continue  # not of ours, another user's, or just being made or removed
        try:
            if os.fstat(lock).st_uid != os.getuid():
                continue
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if mark := os.read(lock, 1000).decode(errors="replace"):
                processes.end_marked(f"{MARK}={mark}")
            shutil.rmtree(path, ignore_errors=True)
            removed.append(path)
        except OSError:
            continue  # its owner lives
        finally:
            os.close(lock)
    return removed


def use_for_temporary_files(folder: Path) -> None:
    """Have this process and its children make their temporary files in `folder`, so that they go with it.

    Where the path is too long for sockets nothing is changed. Caches stay where they were.
    """
    if len(str(folder)) > _SHORT:
        return
    for name, place in _CACHES.items():
        os.environ.setdefault(name, str(Path(tempfile.gettempdir()) / place.format(user=_user())))
    os.environ["TMPDIR"] = str(folder)
    tempfile.tempdir = None  # it is computed once and remembered


def _user() -> str:
    try:
        return getuser()
    except (KeyError, OSError):  # a container may run under a number that has no name
        return str(os.getuid())
