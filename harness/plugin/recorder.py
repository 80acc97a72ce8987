"""The side of a run that writes: headers and records into the results file, lines and letters on the terminal."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pytest

from harness import expectation_files, store
from harness.expectations import ExpectationsError
from harness.fingerprint.reusable import says_more
from harness.plugin.asked import ELSEWHERE, SHARD, cell_of, cells_of, judged_in, project_of, run_id
from harness.plugin.told import RUN
from harness.progress import Progress
from harness.provenance import run_record
from harness.records import CellRecord
from harness.session import column_models
from harness.verdict import Outcome
from harness.watch import Watch

if TYPE_CHECKING:
    from harness.cluster.node import Facts
    from harness.expectations import Expectations
    from harness.plugin.reuse import Reuse
    from harness.records import RunRecord


class Recorder:
    """The side that writes: one per run, in the controller."""

    def __init__(self, config: pytest.Config, reuse: Reuse) -> None:
        self.config = config
        self.reuse = reuse
        self.header: RunRecord | None = None
        self.headers: dict[str, RunRecord] = {}
        """By run id: the header, and those of nodes that differ from it."""
        self.writer: store.Writer | None = None
        self.watch: Watch | None = None
        self.progress: Progress | None = None
        self.changed = 0
        """Outcomes that were re-used, and are not those that were accepted."""
        self.findings = 0
        self.failures = 0

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> None:
        """Without xdist the items are here. Not earlier: a bad -k, or a test file that fails to load, runs nothing."""
        if not session.testsfailed or self.config.getoption("continue_on_collection_errors"):
            self._begin([cell.id for item in session.items if (cell := cell_of(item))])

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """xdist: fix the run's id before the workers start."""
        node.workerinput[RUN] = run_id(self.config)

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, node: Any, ids: Sequence[str]) -> None:
        """xdist: the workers collect; the first to finish tells what is planned."""
        del node
        self._begin([cell for nodeid in ids if (cell := judged_in(self.config, nodeid))])

    def run_of(self, run: str) -> RunRecord | None:
        """The run's own record, once it has begun."""
        return self.headers.get(run)

    def also(self, run: str, facts: Facts) -> None:
        """Records of the part `run` of this run follow: they are of nodes that differ from the header's.

        It plans nothing of its own, so that what was planned stays what the run's header says.
        """
        assert self.header is not None
        assert self.watch is not None
        assert self.writer is not None
        part = {"run": run, "narrowed": True, "planned": [], "fingerprints": {}}
        told = facts.into(self.header.model_copy(update=part))
        self.headers[run] = told
        self.watch.also(told)
        self.writer.append(told)

    def expected(self, record: CellRecord) -> Expectations | None:
        """What was accepted for where a record was made."""
        return self.watch.expected(record) if self.watch else None

    def _begin(self, ids: list[str]) -> None:
        if self.header is not None or not ids or self.config.getoption("collectonly"):
            return
        wanted = set(ids)
        everything = cells_of(self.config)
        cells = [cell for cell in everything if cell.id in wanted]
        if not cells:
            return
        project = project_of(self.config)
        backends = list(dict.fromkeys(cell.backend for cell in cells))
        known = self.reuse.known(backends)
        shard = self.config.stash.get(SHARD, None)
        # a shard speaks of its own cells alone: the others are measured on other machines
        told = wanted if shard else {cell.id for cell in everything if cell.backend in backends}
        header = run_record(
            cells,
            run=run_id(self.config),
            backends={name: known.snapshots[name] for name in backends},
            models=column_models(cells),
            sections=project.matrix().sections,
            narrowed=any(cell.backend in backends and cell.id not in wanted for cell in everything),
            root=project.root,
            shard=shard,
            fingerprints={cell: mark for cell, mark in known.fingerprints.items() if cell in told},
        )
        reused = [cell.id for cell in cells if cell.id in known.reused]
        installed = project.installed()
        elsewhere = self.config.stash.get(ELSEWHERE, None)
        if elsewhere and (left := [cell for cell in cells if cell.id not in known.reused]):
            facts = elsewhere.describe(left)
            header, installed = facts.into(header), facts.installed
        self.header = self.headers[header.run] = header
        try:
            accepted = expectation_files.read_all(project.expectations)
            self.watch = Watch(accepted, header, everything, installed=installed)
            self.writer = store.Writer(self.reuse.results)
            found = self.writer.found
            # an outcome that is not accepted fails a run that re-uses it as well
            self.changed = [self.watch.take(found.cells[cell]) for cell in reused].count(True)
            if len(reused) < len(cells) or says_more(found, header):
                self.writer.append(header)
        except (store.StoreError, ExpectationsError) as error:
            raise pytest.UsageError(str(error)) from None
        self.reuse.tell(cell.id for cell in cells)
        if self.config.getoption("--matrix-progress") and len(reused) < len(cells):
            self.progress = Progress(len(cells) - len(reused))

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """With xdist a run goes on after a file that cannot be collected; that must not end green."""
        self.failures += report.failed

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """A cell begins."""
        if self.progress and (cell := judged_in(self.config, nodeid)):
            self.progress.begin(cell)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """A cell ended: write it down at once."""
        self.failures += report.failed
        text = getattr(report, "paramatrix", None)
        if text is None:
            return
        record = CellRecord.model_validate(json.loads(text))
        if header := self.headers.get(record.run):
            record = record.model_copy(update={"fingerprint": header.fingerprints.get(record.cell)})
        changed = self.watch is not None and self.watch.take(record)
        self.findings += report.failed and record.verdict is Outcome.FAIL and not changed
        if self.writer:
            try:
                self.writer.append(record)
            except store.StoreError as error:
                # what follows could not be kept either
                pytest.exit(str(error), returncode=pytest.ExitCode.INTERNAL_ERROR)
        if self.progress:
            self.progress.end(record)

    @pytest.hookimpl(tryfirst=True)
    def pytest_report_teststatus(
        self, report: pytest.TestReport
    ) -> tuple[str, str, str | tuple[str, dict[str, bool]]] | None:
        """`uncertain` has a letter and colour of its own; with progress lines no letters at all."""
        text = getattr(report, "paramatrix", None)
        if text is None:
            return None
        record = CellRecord.model_validate(json.loads(text))
        quiet = self.progress is not None
        if record.verdict is Outcome.UNCERTAIN and not report.failed:
            return "uncertain", "" if quiet else "u", "" if quiet else ("UNCERTAIN", {"yellow": True})
        return (report.outcome, "", "") if quiet else None

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Findings are what a matrix run is for: they alone do not make it red. What was not accepted does."""
        if self.progress:
            self.progress.close()
        if self.writer:
            try:
                self.writer.close()
            except store.StoreError as error:
                pytest.exit(str(error), returncode=pytest.ExitCode.INTERNAL_ERROR)
        problems = self._tell_expectations() or self.changed > 0
        if session.exitstatus == pytest.ExitCode.TESTS_FAILED and self.findings == self.failures:
            session.exitstatus = pytest.ExitCode.OK
        if session.exitstatus == pytest.ExitCode.OK and problems:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def _tell_expectations(self) -> bool:
        """Say what was not as accepted; whether that fails a run in which every test is well."""
        if self.watch is None:
            return False
        # with progress lines pytest shows no failures of its own, nor are those of tests that were not run
        lines = self.watch.lines(evidence=self.progress is not None or self.changed > 0)
        terminal = self.config.pluginmanager.get_plugin("terminalreporter")
        if lines and terminal:
            terminal.ensure_newline()
            terminal.section("expectations")
            for line in lines:
                terminal.write_line(line)
        return bool(self.watch.problems)
