"""Which backend for what: by measured figures where there are comparable ones, else as declared."""

from __future__ import annotations

from dataclasses import dataclass

from harness import signs
from harness.abilities import ability
from harness.declare import Matrix
from harness.declare_limits import UseCase
from harness.energy.effects import OF_ENERGY
from harness.energy.measured import MeasuredRecord, Measurements
from harness.energy.quality import Quality
from harness.store import Results
from harness.verdict import Outcome


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure measured for one cell, with the bounds of its 95 % confidence interval."""

    mean: float
    low: float
    high: float
    unit: str

    def __str__(self) -> str:
        return f"{self.mean:.4g} {self.unit} ({self.low:.4g} to {self.high:.4g})"


def claimed(record: MeasuredRecord, name: str) -> Figure | None:
    """A figure of the measuring mode that nothing speaks against; None if there is none.

    Joules need a reading that is believed, and none of a contaminated one's figures is taken.
    """
    energy = record.energy
    figure = getattr(energy, name)
    if energy.mode != "measuring" or figure is None or figure.ci95 is None or energy.quality is Quality.CONTAMINATED:
        return None
    if name in OF_ENERGY and energy.quality is not Quality.MEASURED:
        return None
    # what is left open at the edges of windows errs the same way in each repeat
    open_ = figure.uncertainty or 0.0
    return Figure(figure.value, figure.ci95[0] - open_, figure.ci95[1] + open_, figure.unit)


@dataclass(frozen=True, slots=True)
class Advice:
    """One row of the recommendations."""

    use_case: str
    backend: str
    """Column heading, or headings that the figures do not tell apart; a dash where nothing is recommended."""
    reason: str
    basis: str
    """What decided: the cells and figures that were measured, or that it is declared."""


def advise(matrix: Matrix, results: Results, costs: Measurements | None = None) -> list[Advice]:
    """The recommendations, in the order of the declarations."""
    measurements = costs or Measurements()
    return [_measured(case, results, measurements) or _declared(case, matrix, results) for case in matrix.use_cases]


def _measured(case: UseCase, results: Results, costs: Measurements) -> Advice | None:
    """By figures, where at least two backends have one that was measured in the same circumstances."""
    found: dict[str, Figure] = {}
    circumstances = set()
    verdicts = {record.cell: record.verdict for record in results.judged}
    records = {record.cell: record for record in costs.measured}
    for backend, cell in case.cells.items():
        record = records.get(cell)
        figure = claimed(record, case.figure) if record and case.figure else None
        if record is None or figure is None or verdicts.get(cell) is not Outcome.PASS:
            continue
        info = costs.info(record)
        metered = [(device.name, device.scope) for device in record.energy.devices]
        circumstances.add((info.device, info.model, info.model_hash, *(metered if case.figure in OF_ENERGY else ())))
        found[backend] = figure
    if len(found) < 2 or len(circumstances) > 1:
        return None
    sign = -1 if case.better == "higher" else 1
    order = sorted(found, key=lambda backend: sign * found[backend].mean)
    best = found[order[0]]
    # an interval that reaches into the best one's is not told apart from it
    first = [name for name in order if found[name].low <= best.high and best.low <= found[name].high]
    device, model, *_ = circumstances.pop()
    return Advice(
        case.name,
        " or ".join(signs.COLUMNS[name] for name in first),
        "; ".join(f"{signs.COLUMNS[name]} {found[name]}" for name in order),
        f"measured: {', '.join(case.cells[name] for name in order)} (model {model}, {device})",
    )


def _declared(case: UseCase, matrix: Matrix, results: Results) -> Advice:
    if case.backend is None:
        return Advice(case.name, "–", case.reason, "nothing is declared, and no comparable figures were measured here")
    known = {capability.name: capability for capability in matrix.capabilities}
    shown: dict[str, list[str]] = {}
    for name in case.rests_on:
        if name in known:
            found = ability(known[name], case.backend, results)
            # a feature seen on one device says nothing of another, so the place is named
            shown.setdefault(f" ({found.where})" if found.symbol else "", []).append(f"{name} {found.text}")
    basis = ["declared: no comparable figures were measured here"]
    basis += [", ".join(features) + where for where, features in shown.items()]
    return Advice(case.name, signs.COLUMNS[case.backend], case.reason, "; ".join(basis))
