"""Judges cells for somebody on another machine: `python -m harness.cluster.supervisor`, a slot's own process.

JSON lines on stdin and stdout, so that anything that passes these through can start it. It is told a `Setup`
and answers {"event": "ready", "facts": …} with its node's `Facts`, or {"event": "failed", "reason": …}. Then it is
told {"cell": id, "run": id}, one at a time, and answers {"record": …}, a line of the results file. It ends when its
stdin is closed, also in the middle of a cell, and its engines with it.
"""

from __future__ import annotations

import os
import select
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import NoReturn

from pydantic import ValidationError

from harness import processes
from harness.cluster.node import Facts, Setup, digest, planned
from harness.failure import one_line
from harness.plan import Cell, PlanError
from harness.project import Project, ProjectError, find
from harness.provenance import backend_info, harness_info
from harness.session import Session, snapshots
from harness.slots.share import Share
from harness.wire import PeerGone, Wire


class Refused(RuntimeError):
    """This node cannot judge what it is asked for; one line that says what to mend."""


def main() -> int:
    """Judge until nobody asks any more; the exit code."""
    wire = Wire(os.dup(0), os.dup(1))
    # what else is printed must not stand between the lines, and what is started must not read them
    os.dup2(2, 1)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    # SIGIO: whoever asks has gone while a cell is judged. Both end the engines on the way out.
    for number in (signal.SIGTERM, signal.SIGIO):
        signal.signal(number, _leave)
    try:
        try:
            setup = Setup.model_validate(wire.receive())
            project, cells, facts = _prepare(setup)
        except (Refused, ValidationError) as error:
            wire.send({"event": "failed", "reason": one_line(str(error))})
            return 3
        wire.send({"event": "ready", "facts": facts.model_dump(mode="json")})
        session = Session(project)
        if setup.gpus is not None:
            session.use(Share(setup.gpus, tuple(sorted(os.sched_getaffinity(0)))))
        _judge(wire, session, cells)
    except PeerGone:
        return 0


def _prepare(setup: Setup) -> tuple[Project, dict[str, Cell], Facts]:
    try:
        project = find(Path(setup.project)).at(setup.versions)
        if str(project.root) != setup.project:
            raise Refused(f"no project in {setup.project}: it should be at the same path on every node")
        cells = planned(project, setup.models)
    except (ProjectError, PlanError, OSError) as error:
        raise Refused(str(error)) from None
    if digest(cells.values()) != setup.plan:
        raise Refused(f"the declarations in {setup.project} plan other cells than those of the run: use one checkout")
    told = snapshots(project, list(setup.models))
    backends = {name: backend_info(setup.models[name], facts, project.root) for name, facts in told.items()}
    return project, cells, Facts(backends=backends, harness=harness_info(project.root), installed=project.installed())


def _judge(wire: Wire, session: Session, cells: dict[str, Cell]) -> NoReturn:
    """Answer for ever.

    Raises:
        PeerGone: nobody asks any more.
    """
    try:
        while True:
            asked = wire.receive()
            with processes.ending_with(wire.read_fd):
                if select.select([wire.read_fd], [], [], 0)[0]:
                    raise PeerGone("closed while a cell was asked for")
                record = session.judge(cells[str(asked["cell"])], str(asked["run"]))
            wire.send({"record": record.model_dump(mode="json")})
    finally:
        for number in (signal.SIGTERM, signal.SIGIO):
            signal.signal(number, signal.SIG_IGN)
        session.close()


def _leave(number: int, frame: FrameType | None) -> NoReturn:
    del frame
    sys.exit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
