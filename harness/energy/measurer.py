"""Cells measured on a session's hosts and by its meters, and the records made of that."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from random import SystemRandom
from typing import Final

from harness import processes
from harness.energy.measure import Around, Engine, Measured, Role, Taken, measure
from harness.energy.measured import MeasuredRecord, ScheduleRecord, WindowRecord
from harness.energy.meters import Missing
from harness.energy.schedule import Schedule
from harness.failure import one_line
from harness.host import Attempt, BackendHost
from harness.launcher import HostUnavailable
from harness.plan import Cell, Run
from harness.provenance import shown_model
from harness.session import Session
from harness.variants import VariantError
from harness.verdict import Verdict

ENGINES: Final = 2
"""A cell's and its control's: no other engine may be loaded beside them."""


class NotMeasured(RuntimeError):
    """A cell that cannot be measured here; the message says why."""


@dataclass(frozen=True, slots=True)
class HostEngine:
    """One run on a backend host, in an engine that stays loaded."""

    host: BackendHost
    run: Run
    model: Mapping[str, str]

    def fill(self, seconds: float) -> Attempt:
        """Passes of the run for so long."""
        return self.host.fill(
            self.run, model=self.model["model"], cache_dir=self.model.get("cache_dir"), seconds=seconds
        )

    def warm_up(self, slice_s: float, limit_s: float) -> Attempt:
        """Passes of the run until throughput has settled."""
        return self.host.warm_up(
            self.run,
            model=self.model["model"],
            cache_dir=self.model.get("cache_dir"),
            slice_s=slice_s,
            limit_s=limit_s,
        )


def measure_cell(session: Session, cell: Cell, run: str, schedule: Schedule) -> MeasuredRecord:
    """Measure a cell against its control, as a record of `run`.

    Raises:
        NotMeasured: the cell cannot be run here.
    """
    host = session.ready(cell)
    if isinstance(host, Verdict):
        raise NotMeasured(f"{host.cause.value}: {host.reason}")
    around = Around(
        metered=session.metering.of,
        own=lambda: processes.tree(host.pid) if host.pid is not None else set(),
        wait=time.sleep,
        now=time.monotonic,
        random=SystemRandom(),
    )
    try:
        measured = measure(_engines(session, cell, host), schedule, around)
    except (HostUnavailable, VariantError) as error:
        raise NotMeasured(one_line(str(error))) from None
    model = shown_model(cell.treated.model, session.project.root)
    return session.redacted(_record(cell, run, model, schedule, measured))


def _engines(session: Session, cell: Cell, host: BackendHost) -> dict[Role, Engine]:
    """The control's engine first: cells often share it, and what is loaded last is kept longest.

    Instruments slow generation down and see nothing that is wanted here.
    """
    runs: dict[Role, Run] = {"control": cell.control, "treated": cell.treated}
    if cell.control.key == cell.treated.key:
        del runs["control"]
    return {
        role: HostEngine(host, replace(run, instruments=frozenset()), session.variants.resolve(run))
        for role, run in runs.items()
    }


def _record(cell: Cell, run: str, model: str, schedule: Schedule, measured: Measured) -> MeasuredRecord:
    began = measured.windows[0].reading.window.start if measured.windows else 0.0
    return MeasuredRecord(
        run=run,
        cell=cell.id,
        backend=cell.backend,
        parameter=cell.parameter,
        value=cell.value,
        section=cell.section,
        scope=cell.scope.value,
        model=model,
        contrast=cell.contrast,
        schedule=ScheduleRecord(**asdict(schedule)),
        energy=measured.energy,
        control=measured.control,
        windows=_windows(measured.windows, began),
        trace=None
        if measured.power is None
        else [(round(t - began, 2), round(watts, 1)) for t, watts in measured.power],
    )


def _windows(taken: Sequence[Taken], began: float) -> list[WindowRecord]:
    return [
        WindowRecord(
            role=one.role,
            round=one.round,
            start_s=round(one.reading.window.start - began, 4),
            end_s=round(one.reading.window.end - began, 4),
            passes=one.passes,
            output_tokens=one.output_tokens,
            energy_j=None if isinstance(one.reading.energy_j, Missing) else one.reading.energy_j,
            flags=list(dict.fromkeys(note.flag for note in one.reading.notes)),
            kept=one.kept,
        )
        for one in taken
    ]
