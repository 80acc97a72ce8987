"""The page of what values cost, from measurements alone: equal measurements give byte-equal pages."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from harness import report, signs
from harness.energy import chart, tracechart
from harness.energy.effects import CLAIMED, OF_ENERGY, Effect, Effects, Row, Standing, effects
from harness.energy.measured import MeasuredRecord, Measurements
from harness.energy.quality import Flag, Quality
from harness.energy.record import FIGURES, Figure, Versus
from harness.energy.wording import amount, percent
from harness.ordering import natural
from harness.records import BackendInfo
from harness.report import Measured
from harness.store import Results

PAGE: Final = "energy.md"
PAGES: Final = (PAGE, chart.PICTURE, tracechart.PICTURE)
HEADINGS: Final = {
    "j_per_output_token": "J per output token",
    "tokens_per_s": "Output tokens/s",
    "ttft_p50_s": "Time to first token",
    "peak_device_bytes": "Peak GPU memory",
    "peak_host_bytes": "Peak host memory",
}
"""Figure to the heading of its column."""
PARTS: Final = {
    Standing.DIFFERS: "Differ from their control",
    Standing.MAY_DIFFER: "May differ from their control",
    Standing.ALIKE: "Not told apart from their control",
    Standing.UNCLAIMED: "Nothing is claimed of these",
}
"""Standing to the heading of its table, in page order."""


@dataclass(frozen=True, slots=True)
class Line:
    """One row of a table."""

    name: str
    mark: str
    contrast: str
    figures: list[str]
    notes: str


@dataclass(frozen=True, slots=True)
class Part:
    """The rows of which equally much is claimed."""

    title: str
    standing: Standing
    lines: list[Line]


@dataclass(frozen=True, slots=True)
class Circumstance:
    """How the cells of one run were measured, in words."""

    source: Measured
    facts: list[str]


@dataclass(frozen=True, slots=True)
class Backend:
    """A backend's part of the page."""

    title: str
    headings: list[str]
    comparisons: int
    parts: list[Part]
    circumstances: list[Circumstance]
    missing: list[tuple[str, str, int]]
    """Figure, why it is missing, and of how many values."""
    unmeasured: list[str]
    """Rows that were asked for and have no record."""


def render(measurements: Measurements, results: Results, templates: Path) -> dict[str, str]:
    """The page and its pictures: file name to content. Without a trace there is no picture of one.

    Args:
        measurements: what they show.
        results: how the cells were judged: a value that does not work saves nothing.
        templates: the folder of their templates.

    Raises:
        ReportError: a template is missing or wrong.
    """
    sources = report.measured(measurements)
    names = [name for name in signs.COLUMNS if any(p.backend == name for p in measurements.planned.values())]
    found = {
        name: effects([record for record in measurements.measured if record.backend == name], results.cells)
        for name in names
    }
    drawn = chart.chart([(signs.COLUMNS[name], _where(name, sources), shown) for name, shown in found.items()])
    traced = tracechart.traces([pair for name, shown in found.items() for pair in _example(name, shown)])
    backends = [_backend(name, shown, measurements, sources, results) for name, shown in found.items()]
    pages = {
        PAGE: report.fill(templates, PAGE, latest=measurements.latest, backends=backends, traced=bool(traced.plots)),
        chart.PICTURE: report.fill(templates, chart.PICTURE, chart=drawn),
    }
    if traced.plots:
        pages[tracechart.PICTURE] = report.fill(templates, tracechart.PICTURE, traces=traced)
    return pages


def _where(backend: str, sources: Sequence[Measured]) -> str:
    """Models and devices of a backend's measurements, in words."""
    own = [source.info for source in sources if source.backend == backend]
    return "; ".join(dict.fromkeys(f"{info.model} on {info.device}" for info in own))


def _example(backend: str, shown: Effects) -> list[tuple[str, MeasuredRecord]]:
    """The first row of a backend that has a trace."""
    traced = [row.record for row in shown.rows if row.record.trace]
    return [(f"{signs.COLUMNS[backend]}: {r.row}, against {r.contrast}", r) for r in traced[:1]]


def _backend(
    name: str, shown: Effects, measurements: Measurements, sources: Sequence[Measured], results: Results
) -> Backend:
    marks = report.marks(list(sources))
    parts = [
        Part(title, standing, [_line(row, shown.names, marks) for row in rows])
        for standing, title in PARTS.items()
        if (rows := shown.standing(standing))
    ]
    return Backend(
        signs.COLUMNS[name],
        [HEADINGS[figure] for figure in shown.names],
        shown.comparisons,
        parts,
        [
            Circumstance(source, [*facts(own), *_judged_elsewhere(own, source.info, results)])
            for source in sources
            if source.backend == name
            for own in [[record for record in measurements.measured if _of(record, source)]]
        ],
        _missing([row.record for row in shown.rows]),
        sorted((plan.row for plan in measurements.unmeasured if plan.backend == name), key=natural),
    )


def _of(record: MeasuredRecord, source: Measured) -> bool:
    return (record.run, record.backend) == (source.run, source.backend)


def _line(row: Row, names: Sequence[str], marks: Mapping[tuple[str, str], str]) -> Line:
    record = row.record
    notes = [row.against] if row.against else []
    energy = record.energy
    if energy.quality not in {Quality.MEASURED, Quality.UNAVAILABLE, Quality.CONTAMINATED}:
        notes.append(f"joules are {energy.quality.value}")
    # a contaminated row has said so already
    if energy.quality is not Quality.CONTAMINATED or row.verdict is None:
        # what is not there is told once for all rows
        notes += [f"{note.flag.value}: {note.text}" for note in energy.notes if note.flag is not Flag.UNAVAILABLE]
    return Line(
        record.row,
        marks.get((record.run, record.backend), ""),
        record.contrast,
        [_shown(row.effect(name), claimed=not row.against, quality=energy.quality) for name in names],
        "; ".join(notes),
    )


def _shown(effect: Effect | None, *, claimed: bool, quality: Quality) -> str:
    """A figure and its difference as Markdown: bold where it is claimed, in italics where it must not be."""
    if effect is None:
        return "–"
    value = amount(effect.figure.value, effect.figure.unit)
    versus = effect.versus
    if versus is None:
        return value
    if effect.name not in CLAIMED:
        return f"{value} ({percent(versus.value)})"
    believed = effect.name not in OF_ENERGY or quality is Quality.MEASURED
    around = "" if claimed and believed else "*"
    if effect.standing is Standing.DIFFERS and claimed:
        around = "**"
    doubt = "" if believed else f"; *{quality.value}*"
    return f"{value} ({around}{percent(versus.value)}{around}, {_span_of(versus)}{doubt})"


def _span_of(versus: Versus) -> str:
    """The interval of a difference in words."""
    if versus.ci95 is None:
        return "one round"
    if len(set(versus.rounds)) == 1:
        return "in every round"
    return f"{percent(versus.ci95[0])} to {percent(versus.ci95[1])}"


def facts(records: Sequence[MeasuredRecord]) -> list[str]:
    """How these cells were measured, one fact an item."""
    energies = [record.energy for record in records]
    devices = dict.fromkeys((d.name, d.scope, d.driver, d.mig_mode) for energy in energies for d in energy.devices)
    found = [
        f"Metered: {name} ({scope}" + (f", driver {driver}" if driver else "") + (f", MIG {mig}" if mig else "") + ")"
        for name, scope, driver, mig in devices
    ]
    methods = dict.fromkeys(energy.gross_j.method for energy in energies if energy.gross_j)
    if methods:
        found.append(f"Joules by {_listed(methods)}")
    found += [
        f"{title}: {shown}"
        for name, title in _FACTS.items()
        if (shown := _range(getattr(energy, name) for energy in energies))
    ]
    qualities = Counter(energy.quality.value for energy in energies)
    found.append("Quality of the joules: " + ", ".join(f"{n} {name}" for name, n in sorted(qualities.items())))
    schedules = dict.fromkeys(record.schedule for record in records)
    for plan in schedules:
        window = "as long as a claim takes (10 s, and 100 ticks of the counter)"
        if plan.window_s is not None:
            window = f"at least {plan.window_s:g} s"
        rounds = f"{plan.repeats} round{'s' * (plan.repeats != 1)}, the value and its control each once in each round"
        idle = f"idle baseline {plan.idle_s:g} s" if plan.idle_s else "no idle baseline"
        found.append(f"Windows {window}; {rounds}; warm-up at most {plan.warm_up_s:g} s; {idle}")
    lengths = [
        window.end_s - window.start_s for record in records for window in record.windows if window.role != "idle"
    ]
    if lengths:
        again = sum(not window.kept for record in records for window in record.windows)
        redone = f", {again} measured again because they were contaminated" if again else ""
        found.append(f"{len(lengths)} windows of {_span(min(lengths), max(lengths), 's')}{redone}")
    return found


def _judged_elsewhere(records: Sequence[MeasuredRecord], info: BackendInfo, results: Results) -> list[str]:
    """In which other circumstances values were seen to work, where these are not the ones they were measured in."""
    found: Counter[tuple[str, str, str]] = Counter()
    for record in records:
        verdict = results.cells.get(record.cell)
        if verdict is not None and (where := _circumstances(results.info(verdict))) != _circumstances(info):
            found[where] += 1
    return [
        f"Whether {count} value{'s' * (count != 1)} work{'s' * (count == 1)} was seen elsewhere: "
        f"with the model {model} on {device}, {libraries}"
        for (model, device, libraries), count in sorted(found.items())
    ]


def _circumstances(info: BackendInfo) -> tuple[str, str, str]:
    """What a verdict may depend on, in words."""
    model = f"{info.model} ({info.model_hash})" if info.model_hash else info.model
    return model, info.device, info.libraries


_FACTS: Final = {
    "counter_period_s": "Period of the energy counter, measured",
    "sensor_discrepancy": "Energy by power over energy by counter, less 1",
    "idle_w": "Idle power with the model loaded",
    "temperature_c": "Temperature",
    "sm_mhz": "SM clock",
    "memory_mhz": "Memory clock",
    "power_limit_w": "Power limit",
}
"""Figure to how the page calls it, where it tells how cells were measured."""


def _range(figures: Iterable[Figure | None]) -> str:
    known = [figure for figure in figures if figure is not None]
    if not known:
        return ""
    values = [figure.value for figure in known]
    unit = known[0].unit
    if unit == "1":
        return _listed(dict.fromkeys([percent(min(values)), percent(max(values))]), " to ")
    return _span(min(values), max(values), unit)


def _span(low: float, high: float, unit: str) -> str:
    ends = [amount(low, unit), amount(high, unit)]
    return ends[0] if ends[0] == ends[1] else f"{ends[0]} to {ends[1]}"


def _listed(items: Iterable[str], between: str = ", ") -> str:
    return between.join(items)


def _missing(records: Sequence[MeasuredRecord]) -> list[tuple[str, str, int]]:
    """Figures of the table that rows lack, with the reason, once each."""
    counts: Counter[tuple[str, str]] = Counter()
    for record in records:
        for reason, names in record.energy.missing.items():
            for name in names:
                figure, _, part = name.partition(".")
                if figure in HEADINGS and figure in FIGURES:
                    title = HEADINGS[figure] + (", against the control" if part else "")
                    counts[title, reason] += 1
    order = list(HEADINGS.values())
    place = lambda item: (order.index(item[0][0].partition(",")[0]), -item[1], item[0])  # noqa: E731
    return [(title, reason, count) for (title, reason), count in sorted(counts.items(), key=place)]
