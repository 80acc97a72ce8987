"""All pages of a results file: what is written, and what the committed ones are held against."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from harness import combinations, report
from harness.advice import advise
from harness.claims import Claims
from harness.declare import Matrix
from harness.energy import page as energy
from harness.energy.measured import Measurements
from harness.energy.measured import read as read_measurements
from harness.store import Results

MEASUREMENTS: Final = "energy.jsonl"
"""What values cost, beside the results of the same machine."""


def measurements(results: Path) -> Measurements | None:
    """What was measured of the values that a results file judges; None if nothing was.

    Raises:
        StoreError: it cannot be read.
    """
    source = results.with_name(MEASUREMENTS)
    return read_measurements(source) if source.exists() else None


def render(
    matrix: Matrix, results: Results, claims: Claims, templates: Path, costs: Measurements | None = None
) -> dict[str, str]:
    """File name to content.

    Args:
        matrix: the declarations.
        results: the verdicts.
        claims: what was seen of the rules.
        templates: the folder of the templates.
        costs: what the values cost, where that was measured.

    Raises:
        ReportError: a template is missing or wrong.
    """
    found = {
        report.PAGE: report.render(results, templates, advise(matrix, results, costs)),
        combinations.PAGE: combinations.render(matrix, results, claims, templates),
    }
    if costs is not None:
        found |= energy.render(costs, results, templates)
    return found


def read(folder: Path) -> dict[str, str]:
    """The pages that lie in a folder: file name to content.

    Raises:
        ReportError: one of them cannot be read.
    """
    found = {}
    for name in (report.PAGE, combinations.PAGE, *energy.PAGES):
        path = folder / name
        try:
            found[name] = path.read_text(encoding="utf-8")
        except FileNotFoundError:
            continue
        except (OSError, ValueError) as error:
            raise report.ReportError(f"{path}: cannot be read: {error}. `paramatrix report` writes it anew.") from None
    return found


def write(
    matrix: Matrix, results: Results, claims: Claims, templates: Path, out: Path, *, costs: Measurements | None = None
) -> list[Path]:
    """Render the pages into a folder; the files written.

    Raises:
        ReportError: a template is wrong, or the folder cannot be written.
    """
    found = render(matrix, results, claims, templates, costs)
    return [report.save(content, out / name) for name, content in found.items()]
