"""A whole audit: backend after backend, cells that share engines together; an interrupt keeps what was audited."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime

from harness.audit import choose
from harness.audit.host import AuditHost
from harness.audit.record import Audit, Audited, AuditError, Sample
from harness.audit.trial import Trial
from harness.experiment import unmet_need
from harness.jsontypes import JSON
from harness.plan import Cell
from harness.project import Project
from harness.provenance import run_record
from harness.redact import Redactor
from harness.session import column_models
from harness.store import Results
from harness.variants import Variants
from harness.verdict import Outcome

Told = Callable[[Audited, float], None]
"""Hears of each cell that was audited, with the seconds it took."""


def audit(
    project: Project,
    planned: Sequence[Cell],
    chosen: Sequence[Cell],
    results: Results,
    *,
    snapshots: Mapping[str, Mapping[str, JSON]],
    tell: Told,
    narrowed: bool,
    sample: Sample | None,
) -> Audit:
    """Audit the chosen cells on the real backends.

    Args:
        project: where interpreters are and variants are kept.
        planned: all cells of these backends.
        chosen: ✅ cells of the results.
        results: where they are ✅.
        snapshots: what each backend's interpreter says of itself.
        tell: hears of each cell.
        narrowed: not all ✅ are chosen.
        sample: how they were drawn.

    Raises:
        HostUnavailable: a backend's interpreter cannot be started.
    """
    began = time.monotonic()
    started = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    found: list[Audited] = []
    try:
        for backend, snapshot in snapshots.items():
            passed = [cell for cell in choose.passed(planned, results) if cell.backend == backend]
            cells = [cell for cell in passed if _runs_here(cell, snapshot)]
            wanted = [cell for cell in chosen if cell.backend == backend]
            _column(project, backend, cells, wanted, results, tell=tell, found=found)
    except KeyboardInterrupt:
        pass  # what was audited is kept, and the rest missed
    header = run_record(
        chosen,
        run="",
        backends=snapshots,
        models=column_models(planned),
        sections=[],
        narrowed=narrowed,
        root=project.root,
    )
    places = {cell.id: place for place, cell in enumerate(planned)}
    made = Audit(
        started=started,
        wall_s=round(time.monotonic() - began, 1),
        harness=header.harness,
        backends=header.backends,
        runs=sorted({results.cells[cell.id].run for cell in chosen}),
        asked=len(chosen),
        passes=_passes(results, snapshots),
        narrowed=narrowed,
        sample=sample,
        cells=sorted(found, key=lambda cell: places[cell.cell]),
    )
    return Audit.model_validate(Redactor(project.root).value(made.model_dump(mode="json")))


def _column(
    project: Project,
    backend: str,
    cells: Sequence[Cell],
    wanted: Sequence[Cell],
    results: Results,
    *,
    tell: Told,
    found: list[Audited],
) -> None:
    if lacking := {cell.id for cell in wanted} - {cell.id for cell in cells}:
        raise AuditError(
            f"{len(lacking)} ✅ of the results cannot be run on this machine, the first is {min(lacking)}: "
            "audit them where they were measured, or name others with --cell"
        )
    host = AuditHost(backend, project.launcher(backend), project.limits, Variants(project.cache / "variants"))
    trial = Trial(host, cells)
    try:
        for cell in choose.in_order(wanted):
            began = time.monotonic()
            found.append(trial.audit(cell, results.cells[cell.id]))
            tell(found[-1], time.monotonic() - began)
    finally:
        host.close()


def _runs_here(cell: Cell, snapshot: Mapping[str, JSON]) -> bool:
    return not cell.not_applicable and unmet_need(cell.needs, snapshot) is None


def _passes(results: Results, backends: Iterable[str]) -> dict[str, int]:
    counts = Counter(cell.backend for cell in results.judged if cell.verdict is Outcome.PASS)
    return {backend: counts[backend] for backend in backends}
