"""Which backend for what: by measured figures where there are comparable ones, else as declared."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from harness import report
from harness.abilities import ability
from harness.declare import Matrix
from harness.declare_limits import UseCase
from harness.records import CellRecord
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


Figures = Callable[[CellRecord, str], Figure | None]
"""`figures(record, name)`: what was measured for a cell under that name, or None."""


def recorded(record: CellRecord, name: str) -> Figure | None:
    """None: a record's `timing` is of one short run on a machine that may be busy, so no figure is made of it."""
    del record, name
    return None


@dataclass(frozen=True, slots=True)
class Advice:
    """One row of the recommendations."""

    use_case: str
    backend: str
    """Column heading, or headings that the figures do not tell apart; a dash where nothing is recommended."""
    reason: str
    basis: str
    """What decided: the cells and figures that were measured, or that it is declared."""


def advise(matrix: Matrix, results: Results, figures: Figures = recorded) -> list[Advice]:
    """The recommendations, in the order of the declarations."""
    return [_measured(case, results, figures) or _declared(case, matrix, results) for case in matrix.use_cases]


def _measured(case: UseCase, results: Results, figures: Figures) -> Advice | None:
    """By figures, where at least two backends have one that was measured in the same circumstances."""
    found: dict[str, Figure] = {}
    circumstances = set()
    records = {record.cell: record for record in results.measured}
    for backend, cell in case.cells.items():
        record = records.get(cell)
        figure = figures(record, case.figure) if record and case.figure else None
        if record is None or figure is None or record.verdict is not Outcome.PASS:
            continue
        info = results.info(record)
        circumstances.add((info.device, info.model, info.model_hash))
        found[backend] = figure
    if len(found) < 2 or len(circumstances) > 1:
        return None
    sign = -1 if case.better == "higher" else 1
    order = sorted(found, key=lambda backend: sign * found[backend].mean)
    best = found[order[0]]
    # an interval that reaches into the best one's is not told apart from it
    first = [name for name in order if found[name].low <= best.high and best.low <= found[name].high]
    device, model, _ = circumstances.pop()
    return Advice(
        case.name,
        " or ".join(report.COLUMNS[name] for name in first),
        "; ".join(f"{report.COLUMNS[name]} {found[name]}" for name in order),
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
    return Advice(case.name, report.COLUMNS[case.backend], case.reason, "; ".join(basis))
