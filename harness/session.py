"""One process's share of a matrix run: its hosts, its experiments, and records made of results."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from os.path import expanduser, realpath
from pathlib import Path
from typing import TypeVar

from harness import expectation_files, expectations
from harness.energy import functional
from harness.energy.metering import Metering
from harness.energy.record import EnergyRecord
from harness.evidence import evidence
from harness.expectations import Environment, Expectations
from harness.experiment import REUSED, Experiment, Result, unmet_need
from harness.host import BackendHost
from harness.jsontypes import JSON
from harness.launcher import HostUnavailable
from harness.plan import Cell
from harness.project import Project
from harness.provenance import backend_info
from harness.records import AttemptRecord, CellRecord, OfCell, Timing
from harness.redact import Redactor
from harness.slots.share import Share
from harness.variants import Variants
from harness.verdict import Cause, Verdict

R = TypeVar("R", bound=OfCell)

_IDENTITY = {"run", "cell", "backend", "parameter", "value", "section", "model"}
"""What ties a record to its plan and its run's header: declared by the project, so not to be made over."""


class Session:
    """Judges cells one after the other, keeping one backend host a backend."""

    def __init__(
        self, project: Project, keep: int = 3, *, snapshots: Mapping[str, Mapping[str, JSON] | str] | None = None
    ) -> None:
        """Begin without hosts: each starts with the first cell of its backend.

        Args:
            project: where the backends' interpreters are.
            keep: how many engines of a backend stay loaded.
            snapshots: what is known already of what `snapshots` tells.
        """
        self.project = project
        self.keep = keep
        self.variants = Variants(project.cache / "variants")
        self.redactor = Redactor(project.root)
        self.metering = Metering()
        self._snapshots = dict(snapshots or {})
        self._expected: dict[str, Expectations | None] = {}
        self._experiments: dict[str, Experiment | str] = {}
        self._hosts: dict[str, BackendHost] = {}
        self._share: Share | None = None

    def use(self, share: Share | None) -> None:
        """Let hosts run on `share` from now on; those that run elsewhere end. None: all end.

        What is known of controls stays: what they showed does not depend on it.
        """
        if share is None or share != self._share:
            for host in self._hosts.values():
                host.close()
        self._share = share
        for host in self._hosts.values():
            host.share = share

    def judge(self, cell: Cell, run: str) -> CellRecord:
        """Run and judge one cell, as a record of `run`."""
        began = time.perf_counter()
        experiment = self._experiment(cell.backend)
        queue_s = 0.0
        pid = None
        if isinstance(experiment, str):
            result = Result(Verdict(Cause.MISSING_PACKAGE, experiment))
        else:
            host = self._hosts[cell.backend]
            before = host.start_s
            result = experiment.run(cell)
            queue_s = host.start_s if host.start_s != before else 0.0
            pid = host.pid
        wall_s = time.perf_counter() - began
        energy = functional.of_result(result, self.metering, pid)
        made = record(cell, result, energy, run=run, queue_s=queue_s, wall_s=wall_s)
        return self.redacted(made)

    def redacted(self, record: R) -> R:
        """A record as it may leave the machine."""
        facts = record.model_dump(mode="json")
        redacted = {key: item if key in _IDENTITY else self.redactor.value(item) for key, item in facts.items()}
        return type(record).model_validate(redacted)

    def ready(self, cell: Cell) -> BackendHost | Verdict:
        """The host for a cell; or the verdict of a cell that cannot be run here."""
        if cell.not_applicable:
            return Verdict(Cause.NOT_APPLICABLE, cell.not_applicable)
        experiment = self._experiment(cell.backend)
        if isinstance(experiment, str):
            return Verdict(Cause.MISSING_PACKAGE, experiment)
        return unmet_need(cell.needs, experiment.snapshot) or self._hosts[cell.backend]

    def _experiment(self, backend: str) -> Experiment | str:
        if backend not in self._experiments:
            snapshot = self._snapshot(backend)
            if isinstance(snapshot, str):
                self._experiments[backend] = (
                    f"no {backend} environment: {snapshot}. `make setup` installs it where it can run."
                )
            else:
                self.metering.expect(snapshot)
                host = BackendHost(backend, self.project.launcher(backend), self.project.limits, self.keep)
                host.share = self._share
                self._hosts[backend] = host
                self._experiments[backend] = Experiment(host, snapshot, self.variants)
        return self._experiments[backend]

    def _snapshot(self, backend: str) -> Mapping[str, JSON] | str:
        if backend not in self._snapshots:
            self._snapshots |= snapshots(self.project, [backend])
        return self._snapshots[backend]

    def expected(self, backend: str, model: str) -> Expectations | None:
        """What was accepted of a column that loads `model`, in this environment.

        Raises:
            ExpectationsError: it cannot be told.
        """
        if backend not in self._expected:
            info = backend_info(model, self._snapshot(backend), self.project.root)
            known = expectation_files.read_all(self.project.expectations)
            self._expected[backend] = expectations.find(known, Environment.of(backend, info))
        return self._expected[backend]

    def close(self) -> None:
        """End every host and every sampler."""
        for host in self._hosts.values():
            host.close()
        self.metering.close()


def column_models(cells: Iterable[Cell]) -> dict[str, str]:
    """Backend to the model that its cells load."""
    # variants are derived from the shipped model: they name the column's only where nothing else does
    ordered = sorted(cells, key=lambda cell: cell.treated.variant is None)
    return {cell.backend: cell.treated.model for cell in ordered}


def snapshots(project: Project, backends: list[str]) -> dict[str, Mapping[str, JSON] | str]:
    """What each backend's interpreter says of itself, or why it says nothing."""
    if not backends:
        return {}

    def ask(backend: str) -> Mapping[str, JSON] | str:
        try:
            return project.launcher(backend).describe(backend)
        except HostUnavailable as error:
            return Redactor(project.root).text(str(error))

    with ThreadPoolExecutor(len(backends)) as pool:  # each waits for a process of its own
        return dict(zip(backends, pool.map(ask, backends), strict=True))


def record(cell: Cell, result: Result, energy: EnergyRecord, *, run: str, queue_s: float, wall_s: float) -> CellRecord:
    """A result as the line of the results file."""
    made = [made.attempt for made in result.attempts if made.outcome != REUSED]
    return CellRecord(
        run=run,
        cell=cell.id,
        backend=cell.backend,
        parameter=cell.parameter,
        value=cell.value,
        section=cell.section,
        scope=cell.scope.value,
        verdict=result.verdict.outcome,
        cause=result.verdict.cause,
        reason=result.verdict.reason,
        evidence=evidence(cell, result),
        timing=Timing(
            queue_s=round(queue_s, 4),
            load_s=round(sum(a.load_s for a in made), 4),
            generate_s=round(sum(a.generate_s for a in made), 4),
            upstream_s=round(sum(a.upstream_s for a in made), 4),
            wall_s=round(wall_s, 4),
        ),
        attempts=[
            AttemptRecord(role=made.role, outcome=made.outcome, new_engine=made.attempt.new_engine)
            for made in result.attempts
        ],
        rejected_by_validation=cell.rejected,
        by_harness=cell.by_harness,
        note=cell.note,
        energy=energy,
    )


def models(project: Project, model: str | None, gpus: Mapping[str, bool]) -> dict[str, str]:
    """Backend to the model its cells load.

    `model` wins; else the shipped model, or the accelerator's where the backend sees a GPU.

    Raises:
        FileNotFoundError: `model` looks like a path and is no model folder.
    """
    matrix = project.matrix()
    if model is not None:
        folder = Path(model)
        if folder.exists() or model.startswith((".", "/", "~")) or model.count("/") > 1:
            # unlike Path's own, these leave a loop of links and the home of nobody as they are
            folder = Path(realpath(expanduser(model)))  # noqa: PTH111 - see above
            if not (folder / "config.json").is_file():
                raise FileNotFoundError(
                    f"MODEL={model}: expected a model folder with a config.json or a hub id like org/name, found "
                    + ("a folder without one" if folder.is_dir() else "no such folder")
                )
            model = str(folder)
        return dict.fromkeys(gpus, model)
    return {name: matrix.accelerator_model if gpu else str(matrix.shipped_model) for name, gpu in gpus.items()}
