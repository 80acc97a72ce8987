"""A run as it goes, held against what was accepted: what changed, what is new, and what makes it fail."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from harness import expectations
from harness.acceptance import Change, change
from harness.expectations import Environment, Expectations
from harness.plan import Cell
from harness.records import CellRecord, RunRecord


class Watch:
    """Takes in the records of one run."""

    def __init__(
        self,
        known: Iterable[Expectations],
        header: RunRecord,
        planned: Collection[Cell],
        *,
        installed: Collection[str],
    ) -> None:
        """Find what was accepted of the run's columns.

        Args:
            known: all expectations of the project.
            header: the run.
            planned: every cell of its columns, those it leaves out too.
            installed: backends that have an interpreter: one that does not answer is no matter of course.

        Raises:
            ExpectationsError: several files hold for one environment.
        """
        listed = list(known)
        self.changes: list[Change] = []
        self.new: list[str] = []
        """Cells of which nothing is accepted yet, in an environment of which something is."""
        self.problems: list[str] = []
        """What fails the run though no cell of it did."""
        self.unknown: dict[str, Environment] = {}
        """Columns of whose environment nothing is accepted yet."""
        self._known = listed
        self._run = header.run
        self._expected: dict[tuple[str, str], Expectations | None] = {}
        """By run and backend."""
        chosen = {plan.cell for plan in header.planned}
        for backend, info in header.backends.items():
            environment = Environment.of(backend, info)
            found = self._expected[header.run, backend] = expectations.find(listed, environment)
            column = [cell for cell in planned if cell.backend == backend]
            if found and all(cell.id in chosen for cell in column):
                rows = found.unplanned({cell.row for cell in column})
                self.problems += [_unplanned(backend, row, found) for row in rows]
            elif environment and not found:
                self.unknown[backend] = environment
            elif not environment and backend in installed:
                names = ", ".join(one.path.name for one in listed if one.backend == backend)
                self.problems += [_untold(backend, names, info.unavailable)] if names else []

    def also(self, header: RunRecord) -> None:
        """Records of another environment follow, under a header of their own.

        Raises:
            ExpectationsError: several files hold for it.
        """
        for backend, info in header.backends.items():
            environment = Environment.of(backend, info)
            self._expected[header.run, backend] = found = expectations.find(self._known, environment)
            if environment and not found:
                self.unknown[backend] = environment

    def expected(self, record: CellRecord) -> Expectations | None:
        """What was accepted in the environment of a record; of one that an earlier run made, in this run's."""
        own = (record.run, record.backend)
        return self._expected.get(own, self._expected.get((self._run, record.backend)))

    def take(self, record: CellRecord) -> bool:
        """A cell ended; whether in a way that was not accepted."""
        expected = self.expected(record)
        if found := change(expected, record):
            self.changes.append(found)
        elif expected and record.row not in expected.rows:
            self.new.append(record.cell)
        return found is not None

    def lines(self, *, evidence: bool) -> list[str]:
        """What there is to say at the end; of each change in one line, or with the evidence of both sides."""
        told = [
            f"{backend}: nothing is accepted yet for {environment}: a first recording"
            for backend, environment in self.unknown.items()
        ]
        told += [f"{cell}: nothing is accepted yet of this cell" for cell in self.new]
        told += [f"{found.record.cell}: {found.evidence}" if evidence else str(found) for found in self.changes]
        return told + self.problems


def _untold(backend: str, names: str, why: str | None) -> str:
    return f"{backend}: not compared with {names}, because its environment cannot be told: {why or 'no package there'}"


def _unplanned(backend: str, row: str, found: Expectations) -> str:
    return f"{backend}-{row}: {found.path.name} accepts {found.rows[row]}, but no such cell is planned"
