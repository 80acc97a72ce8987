"""Measurements of a machine whose figures are made up: what pages of cost are tested with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from harness.energy.measured import MeasuredRecord, Measurements, ScheduleRecord, WindowRecord
from harness.energy.meters import Known, Missing, Source
from harness.energy.quality import Note
from harness.energy.quantities import Repeat, Work
from harness.energy.readings import Reading, unavailable
from harness.energy.record import EnergyRecord
from harness.energy.summary import summarise
from harness.energy.windows import Window
from harness.records import Planned
from harness.store import Results
from tests.toys import cell_record, planned, run_record

GPU = Source("nvml", "GPU-1", "Simulated GPU", "GPU board", driver="580.00", mig_mode="disabled")
NO_METER = "no RAPL counters: there is no /sys/class/powercap"
NO_GPU = Missing("the engine uses no GPU, or does not tell its memory")
SCHEDULE = ScheduleRecord(window_s=None, repeats=3, idle_s=10.0, warm_up_s=30.0, retries=2)


def energy(
    joules: Known = 3000.0,
    speed: float = 1.0,
    *,
    wobble: float = 0.004,
    notes: Sequence[Note] = (),
    control: bool = True,
    rounds: int = 3,
    memory: Known = NO_GPU,
) -> EnergyRecord:
    """A value that draws so many joules (its control 3000) and is `speed` times as fast.

    Args:
        joules: of a window of 10 s, or why there are none.
        speed: of the value; the control makes 50 tokens a second.
        wobble: how far the rounds' differences are apart.
        notes: what speaks against its windows.
        control: whether there is one.
        rounds: of value and control.
        memory: peak device memory of the value.
    """
    sways = [1.0, 1.0 + wobble, 1.0 - wobble, 1.0 + wobble / 2, 1.0 - wobble / 2][:rounds]
    treated = [
        _repeat(_times(joules, speed * other), round(500 * speed * sway), notes, memory)
        for sway, other in zip(sways, reversed(sways), strict=True)
    ]
    against = [_repeat(_times(joules, 3000 / joules) if isinstance(joules, float) else joules, 500) for _ in sways]
    found = against if control else Missing("this is the control")
    return summarise(treated, found, [] if isinstance(joules, Missing) else [GPU])


def _times(joules: Known, factor: float) -> Known:
    return joules if isinstance(joules, Missing) else joules * factor


def _repeat(joules: Known, tokens: int, notes: Sequence[Note] = (), memory: Known = NO_GPU) -> Repeat:
    window = Window(100.0, 110.0)
    gone = unavailable(joules.reason, window) if isinstance(joules, Missing) else None
    work = Work(
        output_tokens=tokens,
        total_tokens=tokens + 200,
        ttft_s=Missing("output came in one piece"),
        inter_token_s=Missing("output came in one piece"),
        peak_device_bytes=memory,
        peak_host_bytes=1 << 30,
    )
    return Repeat(gone or _reading(joules, window, notes), work, gone or _reading(800.0, window))


def _reading(joules: Known, window: Window, notes: Sequence[Note] = ()) -> Reading:
    return Reading(
        window=window,
        energy_j=joules,
        uncertainty_j=2.0,
        method="counter",
        discrepancy=-0.01,
        check="instant power",
        period_s=0.1,
        samples=200,
        bad_samples=0,
        temperature_c=60.0,
        sm_mhz=1980.0,
        memory_mhz=3201.0,
        power_limit_w=700.0,
        throttle=4.0,
        notes=tuple(notes),
    )


def measured(row: str, cost: EnergyRecord, *, run: str = "e", backend: str = "pytorch", **more: Any) -> MeasuredRecord:
    """A measured cell."""
    name, _, value = row.partition("=")
    return MeasuredRecord(
        **{
            "run": run,
            "cell": f"{backend}-{row}",
            "backend": backend,
            "parameter": name,
            "value": value,
            "section": "Decoder",
            "scope": "request",
            "model": "models/tiny",
            "contrast": "withheld",
            "schedule": SCHEDULE,
            "energy": cost,
            "control": energy(control=False),
            "windows": WINDOWS,
            **more,
        }
    )


WINDOWS = [
    WindowRecord(
        role="idle", round=None, start_s=0.0, end_s=10.0, passes=0, output_tokens=0, energy_j=800.0, kept=True
    ),
    WindowRecord(
        role="treated", round=1, start_s=12.0, end_s=22.1, passes=5, output_tokens=500, energy_j=3e3, kept=True
    ),
    WindowRecord(
        role="control", round=1, start_s=24.0, end_s=34.1, passes=5, output_tokens=500, energy_j=3e3, kept=True
    ),
]


def file(*records: MeasuredRecord, also: Sequence[Planned] = ()) -> Measurements:
    """A file of measurements that holds these; `also` was asked for and not measured."""
    found = Measurements()
    backends = dict.fromkeys(record.backend for record in records)
    for run in sorted({record.run for record in records} or {"e"}):
        rows = [planned(record.row, record.backend) for record in records if record.run == run]
        found.add(run_record(run, *rows, *also, narrowed=len(backends) > 1))
    for record in records:
        found.add(record)
    return found


def passed(*records: MeasuredRecord) -> Results:
    """A results file in which all of them work."""
    found = Results()
    found.add(run_record("r", *(planned(record.row, record.backend) for record in records)))
    for record in records:
        found.add(cell_record("r", record.row, backend=record.backend))
    return found
