"""All pages of a results file: what is written, and what the committed ones are held against."""

from __future__ import annotations

from pathlib import Path

from harness import combinations, report
from harness.advice import advise
from harness.claims import Claims
from harness.declare import Matrix
from harness.store import Results


def render(matrix: Matrix, results: Results, claims: Claims, templates: Path) -> dict[str, str]:
    """File name to content.

    Raises:
        ReportError: a template is missing or wrong.
    """
    return {
        report.PAGE: report.render(results, templates, advise(matrix, results)),
        combinations.PAGE: combinations.render(matrix, results, claims, templates),
    }


def read(folder: Path) -> dict[str, str]:
    """The pages that lie in a folder: file name to content.

    Raises:
        ReportError: one of them cannot be read.
    """
    found = {}
    for name in (report.PAGE, combinations.PAGE):
        path = folder / name
        try:
            found[name] = path.read_text(encoding="utf-8")
        except FileNotFoundError:
            continue
        except (OSError, ValueError) as error:
            raise report.ReportError(f"{path}: cannot be read: {error}. `paramatrix report` writes it anew.") from None
    return found


def write(matrix: Matrix, results: Results, claims: Claims, templates: Path, out: Path) -> list[Path]:
    """Render the pages into a folder; the files written.

    Raises:
        ReportError: a template is wrong, or the folder cannot be written.
    """
    return [report.save(content, out / page) for page, content in render(matrix, results, claims, templates).items()]
