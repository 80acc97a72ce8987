"""The fingerprints of planned cells."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from harness.fingerprint.upstream import Upstream
from harness.fingerprint.values import FingerprintError, Teller
from harness.jsontypes import JSON
from harness.plan import Cell
from harness.project import Project


def fingerprints(
    project: Project, cells: Iterable[Cell], snapshots: Mapping[str, Mapping[str, JSON] | str]
) -> tuple[dict[str, str], dict[str, str]]:
    """Cell to its fingerprint; and backend to the reason why some of its cells have none.

    Args:
        project: the project.
        cells: planned cells.
        snapshots: backend to what its interpreter says of itself, or why it says nothing.

    Raises:
        FingerprintError: a declared value cannot be told from another one.
    """
    teller = Teller(project.root)
    known: dict[tuple[str, str], Upstream] = {}
    found: dict[str, str] = {}
    untold: dict[str, str] = {}
    for cell in cells:
        key = (cell.backend, cell.treated.model)
        if key not in known:
            known[key] = Upstream.of(project, *key, snapshots[cell.backend])
        upstream = known[key]
        if upstream.untold:
            untold[cell.backend] = upstream.untold
            continue
        runs = [
            (run.variant, run.engine, run.request, run.workload, run.instruments)
            for run in (cell.treated, cell.control)
        ]
        try:
            found[cell.id] = teller.tell(
                (
                    *(upstream.digest, cell.id, cell.parameter, cell.value, cell.label, cell.section, cell.scope),
                    *(runs, cell.contrast, cell.probe, cell.output, cell.needs, cell.by_harness),
                    *(cell.not_applicable, cell.rejected, cell.note),
                )
            )[:16]
        except FingerprintError as error:
            raise FingerprintError(f"{cell.id}: {error}") from None
    return found, untold
