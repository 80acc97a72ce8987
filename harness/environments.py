"""Makes virtual environments from pinned requirement files. Standard library only.

It also makes the harness's own environment, before any dependency exists:
`python3 -m harness.environments .venv requirements/harness --editable .`

Folders are installed in the order in which they are named, the requirement files of a folder in
that of their names, each by one call of pip, because order matters: torch must be there before what
depends on it asks for another build of it. A file that ends in `.no-deps.txt` is installed without
dependencies. Where a folder has sub-folders `cpu` and `cuda`, the one that fits the machine is used.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MINIMUM_PYTHON = (3, 11)
_STAMP = "paramatrix-ready"


class SetupError(RuntimeError):
    """An environment cannot be made; one line that says what to mend."""


def requirement_files(folder: Path, *, cuda: bool) -> list[Path]:
    """The files to install, in order.

    Raises:
        SetupError: there are none.
    """
    if reason := not_for(folder, cuda=cuda):
        raise SetupError(reason)
    return _files(folder, cuda=cuda)


def not_for(folder: Path, *, cuda: bool) -> str | None:
    """Why nothing of a folder can be installed on such a machine, or None."""
    if _files(folder, cuda=cuda):
        return None
    if not _files(folder, cuda=not cuda):
        return f"{folder}: no requirement files (*.txt) found"
    if cuda:
        return f"{folder}: its requirement files are for a machine without an NVIDIA GPU, and this one has one"
    return f"{folder}: needs a machine with an NVIDIA GPU, and `nvidia-smi -L` lists none here"


def _files(folder: Path, *, cuda: bool) -> list[Path]:
    special = folder / ("cuda" if cuda else "cpu")
    return sorted((special if special.is_dir() else folder).glob("*.txt"))


def fingerprint(files: list[Path], editable: Path | None) -> str:
    """Changes when the environment has to be made again."""
    digest = hashlib.sha256(sys.version.encode())
    for path in files + ([editable / "pyproject.toml"] if editable else []):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def is_ready(target: Path, files: list[Path], editable: Path | None = None) -> bool:
    """True when `target` was completely made from just these files."""
    try:
        return (target / _STAMP).read_text() == fingerprint(files, editable)
    except OSError:
        return False


def make(target: Path, files: list[Path], *, editable: Path | None = None) -> bool:
    """Make or finish an environment; False when it was ready already.

    An interrupted installation is taken up where pip finds it; the stamp comes last.

    Raises:
        SetupError: python, venv or pip failed.
    """
    if sys.version_info < MINIMUM_PYTHON:
        wanted = ".".join(map(str, MINIMUM_PYTHON))
        raise SetupError(f"Python {wanted} or newer is needed, this is {sys.version.split()[0]}: set PYTHON=…")
    target.parent.mkdir(parents=True, exist_ok=True)
    with _lock(target):
        if is_ready(target, files, editable):
            return False
        (target / _STAMP).unlink(missing_ok=True)
        python = target / "bin" / "python"
        if not _works(python):
            shutil.rmtree(target, ignore_errors=True)
            _call([sys.executable, "-m", "venv", str(target)], "creating the virtual environment")
        for path in files:
            extra = ["--no-deps"] if path.name.endswith(".no-deps.txt") else []
            print(f"{target.name}: installing {path}", flush=True)
            _pip(python, [*extra, "-r", str(path)], str(path))
        if editable:
            _pip(python, ["--no-deps", "-e", str(editable)], str(editable))
        (target / _STAMP).write_text(fingerprint(files, editable))
    return True


def _works(python: Path) -> bool:
    if not python.exists():
        return False
    return subprocess.run([str(python), "-m", "pip", "--version"], capture_output=True, check=False).returncode == 0


def _pip(python: Path, arguments: list[str], what: str) -> None:
    command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *arguments]
    _call(command, f"installing {what}")


def _call(command: list[str], what: str) -> None:
    done = subprocess.run(command, check=False, stdout=sys.stderr)
    if done.returncode != 0:
        raise SetupError(f"{what} failed (exit code {done.returncode}); mend what is said above and run it again")


@contextmanager
def _lock(target: Path) -> Iterator[None]:
    """One installation at a time: `make matrix` and `make test` may run side by side."""
    with (target.parent / f".{target.name.lstrip('.')}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def has_nvidia_gpu() -> bool:
    """True when `nvidia-smi` lists a GPU."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return False
    done = subprocess.run([tool, "-L"], capture_output=True, text=True, check=False)
    return done.returncode == 0 and "GPU" in done.stdout


def main(arguments: list[str] | None = None) -> int:
    """Command line; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m harness.environments")
    parser.add_argument("target", type=Path)
    parser.add_argument("requirements", type=Path, nargs="+")
    parser.add_argument("--editable", type=Path)
    options = parser.parse_args(arguments)
    try:
        cuda = has_nvidia_gpu()
        files = [file for folder in options.requirements for file in requirement_files(folder, cuda=cuda)]
        make(options.target, files, editable=options.editable)
    except (SetupError, OSError) as error:
        print(f"paramatrix: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    os.environ.setdefault("PIP_DISABLE_PIP_VERSION_CHECK", "1")
    sys.exit(main())
