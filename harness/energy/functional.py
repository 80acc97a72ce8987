"""What a cell's own short run cost: an indicative reading, and no claim per token."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from harness import processes
from harness.energy import readings
from harness.energy.meters import Missing
from harness.energy.quantities import Repeat
from harness.energy.summary import nothing, summarise

if TYPE_CHECKING:
    from harness.energy.metering import Metering
    from harness.energy.record import EnergyRecord
    from harness.experiment import Result

_NO_IDLE: Final = readings.unavailable("a functional cell has no idle baseline")
_NO_CONTROL: Final = Missing("one short run is not compared")


def of_result(result: Result, metering: Metering, host_pid: int | None) -> EnergyRecord:
    """The record of a cell that was judged: figures of its last treated run, or why there are none.

    `host_pid` is the process below which the engine ran: what else is on its devices is foreign.
    """
    treated = result.treated
    if treated is None or treated.seen is None:
        return nothing(f"no run came to its end: {result.verdict.cause}", mode="functional")
    meter = metering.of([treated])
    own = processes.tree(host_pid) if host_pid is not None else set()
    repeat = Repeat(meter.read(treated.window, own=own), treated.tally.work(), _NO_IDLE)
    return summarise([repeat], _NO_CONTROL, meter.sources, mode="functional")
