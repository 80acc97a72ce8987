"""The page of the audit, from its JSON alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from harness import report, signs
from harness.audit.record import Audit, Audited, Fate, Mutant, Saboteur

PAGE: Final = "audit.md"


@dataclass(frozen=True, slots=True)
class Row:
    """Kill rates of some cells, by saboteur."""

    name: str
    cells: int
    rates: list[str]


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of one kind."""

    title: str
    rows: list[Row]


def rate(mutants: Iterable[Mutant]) -> str:
    """Killed of those that could be: `96.4% (27/28)`; a dash where there were none."""
    fates = [mutant.fate for mutant in mutants if mutant.fate is not Fate.SAME]
    killed = fates.count(Fate.KILLED)
    return f"{100 * killed / len(fates):.1f}% ({killed}/{len(fates)})" if fates else "–"


def rates(audit: Audit) -> Iterator[str]:
    """A line for each backend: `PyTorch: 143 cells, withhold 100.0% (230/230), flip …`."""
    for row in _rows(audit.cells, lambda cell: _heading(cell.backend)):
        told = ", ".join(f"{saboteur.value} {killed}" for saboteur, killed in zip(Saboteur, row.rates, strict=True))
        yield f"{row.name}: {row.cells} cells, {told}"


def render(audit: Audit, templates: Path) -> str:
    """The page.

    Raises:
        ReportError: its template is missing or wrong.
    """
    kinds: dict[str, Callable[[Audited], str]] = {
        "Section": lambda cell: f"{_heading(cell.backend)}: {cell.section}",
        "Evidence level": lambda cell: f"{_heading(cell.backend)}: {cell.level or 'not confirmed'}",
    }
    everything: dict[str, Callable[[Audited], str]] = {"Backend": lambda cell: _heading(cell.backend), **kinds}
    pairs = [(cell, mutant) for cell in audit.cells for mutant in cell.mutants]
    return report.fill(
        templates,
        PAGE,
        audit=audit,
        columns=signs.COLUMNS,
        saboteurs=list(Saboteur),
        tables=[Table(title, _rows(audit.cells, of)) for title, of in everything.items()],
        missed=[(cell, text) for cell in audit.cells for text in cell.missed],
        survivors=[(cell, mutant) for cell, mutant in pairs if mutant.fate is Fate.SURVIVED],
        same=[(cell, mutant) for cell, mutant in pairs if mutant.fate is Fate.SAME],
        made_by=_made_by(audit),
    )


def _heading(backend: str) -> str:
    return signs.COLUMNS.get(backend, backend)


def _rows(cells: Iterable[Audited], of: Callable[[Audited], str]) -> list[Row]:
    together: dict[str, list[Audited]] = {}
    for cell in cells:
        together.setdefault(of(cell), []).append(cell)
    return [
        Row(
            name,
            len(listed),
            [rate(m for cell in listed for m in cell.mutants if m.saboteur is saboteur) for saboteur in Saboteur],
        )
        for name, listed in sorted(together.items())
    ]


def _made_by(audit: Audit) -> str:
    commit = audit.harness.commit
    dirty = "+dirty" if commit and commit.endswith("+dirty") else ""
    return f"paramatrix {audit.harness.version}" + (f" ({commit[:12]}{dirty})" if commit else "")
