"""Who measured, with what: the header of a run."""

from __future__ import annotations

import platform
import secrets
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

from harness.jsontypes import JSON
from harness.plan import Cell
from harness.records import BackendInfo, HarnessInfo, Planned, RunRecord, Shard
from harness.variants import model_hash

_FACTS = ("python", "packages", "cpu", "cpus", "memory_bytes", "gpus", "platform")


def new_run_id() -> str:
    """A run id that sorts by time and is unique enough to merge runs of many machines."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"


def run_record(
    cells: Sequence[Cell],
    *,
    run: str,
    backends: Mapping[str, Mapping[str, JSON] | str],
    models: Mapping[str, str],
    sections: Iterable[str],
    narrowed: bool,
    root: Path,
    shard: Shard | None = None,
    fingerprints: Mapping[str, str] | None = None,
) -> RunRecord:
    """The header of a run that starts now.

    Args:
        cells: the planned cells, in page order.
        run: its id.
        backends: backend to its snapshot, or to the reason why there is none.
        models: backend to the model it loads.
        sections: page sections in order.
        narrowed: only a part of the matrix was asked for.
        root: the project, for the commit.
        shard: the part of a plan that it is.
        fingerprints: cell to the digest of all that decides it, of every planned cell of these backends.
    """
    return RunRecord(
        run=run,
        started=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        narrowed=narrowed,
        harness=harness_info(root),
        backends={name: backend_info(models[name], facts, root) for name, facts in backends.items()},
        sections=list(sections),
        planned=[Planned(cell=c.id, backend=c.backend, row=c.row, section=c.section) for c in cells],
        shard=shard,
        fingerprints=dict(fingerprints or {}),
    )


def harness_info(root: Path) -> HarnessInfo:
    """This process's part of the header; `root`: the project, for the commit."""
    return HarnessInfo(version=_version(), commit=commit(root), python=platform.python_version())


def backend_info(model: str, facts: Mapping[str, JSON] | str, root: Path) -> BackendInfo:
    """A backend's part of the header: the model it loads, and its snapshot or the reason why there is none."""
    folder = Path(model)
    shown = shown_model(model, root)
    if isinstance(facts, str):
        return BackendInfo(model=shown, model_hash=model_hash(folder), unavailable=facts)
    known = {key: facts[key] for key in _FACTS if key in facts}
    if isinstance(gpus := known.get("gpus"), list):
        # how much memory happened to be free is no property of the machine: equal machines compare equal
        known["gpus"] = [{k: v for k, v in gpu.items() if k != "free_bytes"} for gpu in gpus if isinstance(gpu, dict)]
    return BackendInfo.model_validate({"model": shown, "model_hash": model_hash(folder), **known})


def shown_model(model: str, root: Path) -> str:
    """How records name a model: a folder of the project as seen from its root."""
    folder = Path(model)
    return folder.relative_to(root).as_posix() if folder.is_relative_to(root) else model


def _version() -> str:
    try:
        return metadata.version("paramatrix")
    except metadata.PackageNotFoundError:
        return "unknown"


def commit(root: Path) -> str | None:
    """Git commit of `root`, "+dirty" when tracked files outside reports differ; None without git."""
    try:
        head = _git(root, "rev-parse", "HEAD")
        dirty = _git(root, "status", "--porcelain", "--untracked-files=no", "--", ".", ":(exclude)reports")
    except (OSError, subprocess.SubprocessError):
        return None
    return head.strip() + ("+dirty" if dirty.strip() else "")


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, timeout=10, check=True)
    return done.stdout
