"""What a run brought, for those who only look when something changed: one page, as CI shows it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from harness import acceptance, report, signs
from harness.diff import Difference, difference
from harness.expectations import Expectations
from harness.records import CellRecord
from harness.store import Results

PAGE: Final = "run-summary.md"


@dataclass(frozen=True, slots=True)
class NewFailure:
    """A new ❌ with its evidence."""

    cell: str
    cause: str
    reason: str
    handed_over: str
    """The upstream arguments that the control did not get."""
    effect: str
    """What should have been seen."""


def render(results: Results, known: Iterable[Expectations], templates: Path, before: Results | None = None) -> str:
    """The page.

    Args:
        results: the run, or several merged.
        known: what was accepted before.
        templates: their folder.
        before: earlier results to compare with as well.

    Raises:
        ExpectationsError: several files hold for one environment.
        DiffError: the earlier results have no column in common with these.
        ReportError: the template is missing or wrong.
    """
    held = acceptance.hold(results, known)
    return report.fill(
        templates,
        PAGE,
        columns=signs.COLUMNS,
        summaries=report.summaries(results),
        held=held,
        failures=[_failure(cell) for one in held for cell in one.new_failures],
        since=_since(results, before),
        latest=results.latest,
    )


def _since(results: Results, before: Results | None) -> Difference | None:
    return difference(before, results) if before else None


def _failure(cell: CellRecord) -> NewFailure:
    seen = cell.evidence.observed or {}
    handed = seen.get("forwarded") or []
    return NewFailure(
        cell.cell,
        cell.cause.value,
        cell.reason,
        ", ".join(str(argument) for argument in handed),
        str(seen.get("effect", "")),
    )
