"""Files of lines: read one line at a time, opened by one writer alone, replaced as a whole."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import glob
import json
import mmap
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from harness.records import OfCell, RunRecord


class StoreError(RuntimeError):
    """A results file that cannot be read or written; one line with the mend."""


def dump(record: RunRecord | OfCell) -> bytes:
    """One line."""
    value = record.model_dump(mode="json")
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode() + b"\n"


def lines(path: Path, made_by: str) -> Iterator[tuple[int, bytes]]:
    """Number and text of each line that is not blank.

    Args:
        path: the file.
        made_by: the command that makes such a file.

    Raises:
        StoreError: missing, unreadable, or torn.
    """
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if not line.endswith(b"\n"):
                    raise StoreError(
                        f"{path}:{number}: the last line is torn ({len(line)} bytes without a line end), "
                        "expected whole lines. `paramatrix repair` sets it aside and keeps the rest."
                    )
                if line.strip():
                    yield number, line
    except FileNotFoundError:
        raise StoreError(f"{path}: no such results file. Run `{made_by}` first, or name one with --results.") from None
    except OSError as error:
        raise StoreError(f"{path}: cannot be read: {error.strerror}") from None


def mend(path: Path) -> Path | None:
    """Set a torn last line aside where no run is writing; the file it is in now, or None if none was torn.

    Raises:
        StoreError: another run is writing it, or it cannot be written.
    """
    with alone(path):
        return repair(path)


@contextlib.contextmanager
def alone(path: Path) -> Iterator[None]:
    """No run writes `path` meanwhile, or it would go on writing what is there no more. A file that is not yet is free.

    Raises:
        StoreError: a run is writing it, or it cannot be written.
    """
    if not path.exists():
        yield
        return
    try:
        fd = open_alone(path)
    except OSError as error:
        raise StoreError(f"{path}: cannot be written: {error.strerror}") from None
    try:
        yield
    finally:
        os.close(fd)


def repair(path: Path) -> Path | None:
    """Move a torn last line into a file beside the results; that file, or None if none was torn.

    Torn is also a line of which the disk kept the end alone. One that lacks nothing but its end is whole.

    Raises:
        StoreError: it is no file of lines such as results are.
    """
    last = _last(path)
    if _is_json(last):
        if last and not last.endswith(b"\n"):
            replace(path, path.read_bytes() + b"\n")
        return None
    with path.open("rb") as file:
        first = file.readline()
    if first != last and not _is_json(first):
        raise StoreError(f"{path}:1: not a results line, so its last line is left alone too. Name a file of results.")
    aside = path.with_name(path.name + ".torn")
    with aside.open("ab") as file:
        file.write(last.removesuffix(b"\n") + b"\n")
        file.flush()
        os.fsync(file.fileno())
    replace(path, path.read_bytes().removesuffix(last))
    return aside


def _last(path: Path) -> bytes:
    """A file's last line, with its end where it has one."""
    if not (size := path.stat().st_size):
        return b""
    with path.open("rb") as file, mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ) as data:
        return data[data.rfind(b"\n", 0, size - 1) + 1 :]


def _is_json(line: bytes) -> bool:
    if not line.strip(b" \r\n"):
        return True  # nothing there: a blank line is passed over
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True


def open_alone(path: Path) -> int:
    """A descriptor that appends to `path`, and the only one: another run would be compacted away.

    Raises:
        StoreError: another run is writing it.
        OSError: it cannot be opened, or is no regular file.
    """
    _demand_replaceable(path)
    while True:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # the other run may just have put a compacted file in the place of the one we opened
            if os.path.samestat(os.fstat(fd), path.stat()):
                _sweep(path)
                return fd
        except BlockingIOError:
            os.close(fd)
            raise StoreError(
                f"{path}: another run is writing it. Wait for its end, or choose another file with --results."
            ) from None
        except FileNotFoundError:
            pass
        os.close(fd)


def replace(path: Path, data: bytes) -> None:
    """Replace a file's content atomically: readers see the old or the new, never a part.

    Raises:
        StoreError: it cannot be written.
    """
    replace_by(path, [data])


def replace_by(path: Path, parts: Iterable[bytes]) -> None:
    """The same, with content that is told part by part.

    Raises:
        StoreError: it cannot be written.
    """
    real = Path(os.path.realpath(path))  # a link stays one: who names the file otherwise means the same
    scratch = real.with_name(f".{real.name}.{os.getpid()}")
    try:
        _demand_replaceable(real)
        real.parent.mkdir(parents=True, exist_ok=True)
        with scratch.open("wb") as file:
            with contextlib.suppress(OSError):  # a new file, or a file system without modes
                os.fchmod(file.fileno(), stat.S_IMODE(real.stat().st_mode))
            file.writelines(parts)
            file.flush()
            os.fsync(file.fileno())
        scratch.replace(real)
    except OSError as error:
        raise StoreError(f"{path}: cannot be written: {error.strerror}. {_advice(error)}") from None
    finally:
        with contextlib.suppress(OSError):
            scratch.unlink()  # there is none where all went well


def _advice(error: OSError) -> str:
    if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
        return "Make room for it and run again."
    if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
        return "Make the folder writable."
    return "Mend that and run again."


def _sweep(path: Path) -> None:
    """Remove what those have left who were killed while they replaced `path`, which now is ours alone."""
    real = Path(os.path.realpath(path))
    for scratch in real.parent.glob(f".{glob.escape(real.name)}.*"):
        if scratch.suffix.removeprefix(".").isdecimal():
            scratch.unlink(missing_ok=True)


def _demand_replaceable(path: Path) -> None:
    """A device, a pipe or a folder must not make way for a file: for the superuser, /dev/null would."""
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "It is no regular file")
