"""Whether a committed audit is of the results beside it, and its page of the audit."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from harness import signs
from harness.audit import page
from harness.audit.record import Audit
from harness.store import Results
from harness.verdict import Outcome


def contradictions(audit: Audit, shown: str | None, results: Results, templates: Path) -> Iterator[str]:
    """One line each.

    Args:
        audit: what is committed.
        shown: its page, None where there is none.
        results: what lies beside it.
        templates: the folder of the page's template.

    Raises:
        ReportError: the template is missing or wrong.
    """
    for cell in audit.cells:
        record = results.cells.get(cell.cell)
        if record is None or record.verdict is not Outcome.PASS:
            now = "not there" if record is None else signs.shown(record.verdict, None)
            yield f"audit: {cell.cell} was audited as ✅, and is {now} in the results; `make audit` measures again"
        elif cell.recorded != record.evidence.level:
            yield f"audit: {cell.cell} was by {cell.recorded} when audited, and is by {record.evidence.level} now"
    known = {cell.cell for cell in audit.cells}
    passes = [r for r in results.judged if r.verdict is Outcome.PASS and r.backend in audit.backends]
    if older := sorted(record.cell for record in passes if record.run not in audit.runs):
        yield f"audit: older than {len(older)} ✅ of the results, the first is {older[0]}; `make audit` measures again"
    elif not audit.narrowed and (lacking := sorted(record.cell for record in passes if record.cell not in known)):
        yield f"audit: {len(lacking)} ✅ of the results were never audited, the first is {lacking[0]}"
    if shown != page.render(audit, templates):
        yield f"audit: {page.PAGE} is not what its audit gives; `make audit` writes both"
