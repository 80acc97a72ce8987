"""Which recorded verdicts are of other inputs than today's, as far as this machine can tell."""

from __future__ import annotations

from harness.columns import plan_cells
from harness.fingerprint.cells import fingerprints
from harness.fingerprint.values import FingerprintError
from harness.project import Project
from harness.provenance import backend_info
from harness.records import BackendInfo
from harness.session import column_models, snapshots
from harness.store import Results


class Today:
    """A checkout and the environments beside it: what its cells' fingerprints are now."""

    def __init__(self, project: Project) -> None:
        """Nothing is asked yet."""
        self.project = project
        self._here: dict[str, BackendInfo | None] = {}
        self._told: dict[str, str] = {}

    def stale(self, results: Results) -> set[str]:
        """Cells whose inputs have changed since: what the file says itself, and what is seen here.

        Here it is seen of columns that were measured in the environment that is here, with the model that is the
        default here. Of others it is not known, nor of a record without a fingerprint.
        """
        measured = [(cell, results.info(cell)) for cell in results.judged if cell.fingerprint]
        self._ask({cell.backend for cell, info in measured if info.unavailable is None})
        return results.stale | {
            cell.cell
            for cell, info in measured
            if info == self._here.get(cell.backend) and cell.fingerprint != self._told.get(cell.cell, cell.fingerprint)
        }

    def _ask(self, wanted: set[str]) -> None:
        """Find the fingerprints of columns that have an interpreter here."""
        new = sorted(name for name in wanted - self._here.keys() if self.project.launcher(name).missing() is None)
        self._here |= dict.fromkeys(wanted - self._here.keys())
        if not new:
            return
        cells = plan_cells(self.project, ",".join(new), None)
        described = snapshots(self.project, new)
        models = column_models(cells)
        try:
            told, _ = fingerprints(self.project, cells, described)
        except FingerprintError:
            return  # a run refuses these declarations, and says why
        self._told |= told
        self._here |= {
            name: backend_info(models[name], facts, self.project.root)
            for name, facts in described.items()
            if name in models and not isinstance(facts, str)
        }
