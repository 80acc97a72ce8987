"""Small stand-ins that several test files share: declarations, observations, records, a toy backend."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from harness.backends.base import Observation
from harness.declare import (
    Bound,
    Column,
    Excluded,
    Matrix,
    NotApplicable,
    OutputRule,
    Parameter,
    Probe,
    Scope,
    Seen,
    Shown,
    Value,
    Workload,
)
from harness.host import BackendHost, Limits
from harness.jsontypes import JSON, Settings
from harness.launcher import Launcher
from harness.plan import Cell, Run, build
from harness.records import BackendInfo, CellRecord, Evidence, HarnessInfo, Planned, RunRecord, Timing
from harness.verdict import Cause, Outcome

WORKLOAD = Workload("toy", ("one", "two"))


def _applied(run: Seen, control: Seen, value: JSON) -> Shown:
    """Holds where the observation says so: tests script it."""
    del control, value
    holds = bool(run.read_back.get("applied"))
    return Shown(holds, "applied" if holds else "not applied")


APPLIED = Probe(says="the value is applied", effect=_applied)


def column(**changes: Any) -> Column:
    return Column(**{"scope": Scope.REQUEST, "probe": APPLIED, "output": OutputRule.FREE, **changes})


def parameter(
    path: str, *values: Value, section: str = "Decoder", on: Column | NotApplicable | None = None, **more: Any
) -> Parameter:
    return Parameter(path, section=section, values=values, columns={"pytorch": on or column()}, **more)


def matrix(*parameters: Parameter, base: Mapping[str, JSON] | None = None, excluded: Sequence[str] = ()) -> Matrix:
    return Matrix(
        parameters=parameters,
        excluded=tuple(Excluded(path, "a test") for path in excluded),
        sections=("Core", "Decoder"),
        base={"pytorch": base or {}},
        workload=WORKLOAD,
        shipped_model=Path("models/tiny"),
        accelerator_model="org/model",
    )


def plan(*parameters: Parameter, **more: Any) -> tuple[Cell, ...]:
    return build(matrix(*parameters, **more), models={"pytorch": "model"}, backends=["pytorch"])


def cell(path: str = "decoder.top_k", value: JSON = 1, **more: Any) -> Cell:
    """One planned cell; keywords are the column's."""
    (planned,) = plan(parameter(path, Value(value), on=column(**more)))
    return planned


def seen(
    *, applied: bool = True, ids: Sequence[int] | None = (1, 2), logits: Sequence[Sequence[float]] | None = None
) -> Seen:
    """An observation whose effect is there or not, with these tokens and logits."""
    observation: dict[str, Any] = {"outputs": []}
    if ids is not None:
        observation["outputs"] = [{"prompt": 0, "seed": 0, "token_ids": list(ids), "text": "", "ended": True}]
    if logits is not None:
        observation["logits"] = [list(row) for row in logits]
    calls: list[Mapping[str, JSON]] = [{"call": "generate", "kwargs": {"max_new_tokens": 16}}]
    return Seen(cast("Observation", observation), {"applied": applied}, calls)


def handed_over(run: Seen, **arguments: JSON) -> Seen:
    """The same, after these arguments were handed to the library as well."""
    return replace(run, calls=[{"call": "generate", "kwargs": {"max_new_tokens": 16, **arguments}}])


def bound(error: float) -> Bound:
    return Bound(relative_error=error)


# Records ---------------------------------------------------------------------------------------------------------


def run_record(
    run: str, *planned: Planned, started: str = "2026-01-01T00:00:00Z", narrowed: bool = False, **more: Any
) -> RunRecord:
    names = dict.fromkeys([plan.backend for plan in planned] or ["pytorch"])
    info = BackendInfo(model="models/tiny", model_hash="0123456789abcdef", python="3.11.9", cpu="toy", cpus=2)
    return RunRecord(
        run=run,
        started=started,
        narrowed=narrowed,
        harness=HarnessInfo(version="0.1.0", commit=None, python="3.11.9"),
        backends=more.pop("backends", dict.fromkeys(names, info)),
        sections=more.pop("sections", ["Core", "Decoder"]),
        planned=list(planned),
        **more,
    )


def planned(row: str, backend: str = "pytorch", section: str = "Decoder") -> Planned:
    return Planned(cell=f"{backend}-{row}", backend=backend, row=row, section=section)


def cell_record(
    run: str, row: str, cause: Cause = Cause.CONFIRMED, *, backend: str = "pytorch", **more: Any
) -> CellRecord:
    passed = cause.outcome is Outcome.PASS
    evidence = Evidence(
        level="behaviour" if passed else None,
        declared={"decoder.top_k": 1},
        forwarded=[{"call": "generate", "kwargs": {"top_k": 1}}],
        resolved={"top_k": 1},
        observed={"effect": "the value is applied", "holds": passed, "saw": "applied"},
        control={"contrast": "withheld", "holds": False, "saw": "not applied"},
    )
    path, _, value = row.partition("=")
    return CellRecord(
        **{
            "run": run,
            "cell": f"{backend}-{row}",
            "backend": backend,
            "parameter": path,
            "value": value,
            "section": "Decoder",
            "scope": "request",
            "verdict": cause.outcome,
            "cause": cause,
            "reason": "because",
            "evidence": evidence,
            "timing": Timing(queue_s=0, load_s=0.1, generate_s=0.1, upstream_s=0.2, wall_s=0.3),
            "attempts": [],
            **more,
        }
    )


# The toy backend -------------------------------------------------------------------------------------------------

TOY_HOST = Path(__file__).with_name("toy_host.py")


def run(engine: Settings | None = None, request: Settings | None = None, model: str = "toy") -> Run:
    return Run("toy", model, None, engine or {}, request or {}, WORKLOAD, frozenset())


@contextmanager
def toy_host(limits: Limits | None = None, keep: int = 2) -> Iterator[BackendHost]:
    """A real host process, and real engine processes, of a backend that does as it is told."""
    launcher = Launcher((sys.executable, str(TOY_HOST)))
    host = BackendHost("toy", launcher, limits or Limits(30, 30, 30), keep)
    try:
        yield host
    finally:
        host.close()


# Processes -------------------------------------------------------------------------------------------------------


def environ(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return b""


def alive(pid: int) -> bool:
    """True while a process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in {"Z", "X"}
    except OSError:
        return False


def marked(text: str) -> list[int]:
    """Running processes, other than this one, whose environment holds `text`."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and int(folder.name) != os.getpid() and text.encode() in environ(int(folder.name)):
            found += [int(folder.name)] if alive(int(folder.name)) else []
    return found


def descendants(pid: int) -> set[int]:
    """Running children of a process, and theirs."""
    found: set[int] = set()
    for folder in Path("/proc").iterdir():
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError, IndexError):
            continue
        if parent == pid and alive(int(folder.name)):
            found |= {int(folder.name)} | descendants(int(folder.name))
    return found
