"""Outcomes that are not made again: found before the run, passed over in it, told at its beginning."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from harness import store
from harness.fingerprint.cells import fingerprints
from harness.fingerprint.reusable import reusable
from harness.fingerprint.values import FingerprintError
from harness.jsontypes import JSON
from harness.plugin.asked import cell_of, cells_of, project_of
from harness.session import snapshots

_SENT: Final = "paramatrix_reused"


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of the planned cells before any of them is run."""

    snapshots: Mapping[str, Mapping[str, JSON] | str]
    """Backend to what its interpreter says of itself, or why it says nothing."""
    fingerprints: Mapping[str, str]
    reused: frozenset[str]
    """Cells of which a recorded outcome stands."""
    untold: Mapping[str, str]
    """Backend to the reason why no outcome of it can be re-used."""


class Reuse:
    """Passes over the cells whose recorded outcome is of the same inputs.

    They stay collected: so a run states all it was asked for, and where nothing is left to run it still ends well.
    """

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self._known: Known | None = None
        self._passed: frozenset[str] | None = None

    @property
    def results(self) -> Path:
        """The results file of this run."""
        chosen = self.config.getoption("--matrix-results")
        return Path(chosen) if chosen else project_of(self.config).results

    def known(self, backends: Iterable[str] | None = None) -> Known:
        """What is known of all planned cells of `backends` (None: of every column). Found once.

        Raises:
            pytest.UsageError: the results cannot be read, or a declared value cannot be told from another one.
        """
        if self._known is None:
            try:
                self._known = self._find(backends)
            except (store.StoreError, FingerprintError) as error:
                raise pytest.UsageError(str(error)) from None
            self._passed = self._known.reused
        return self._known

    def _find(self, backends: Iterable[str] | None) -> Known:
        project = project_of(self.config)
        names = None if backends is None else set(backends)
        cells = [cell for cell in cells_of(self.config) if names is None or cell.backend in names]
        described = snapshots(project, list(dict.fromkeys(cell.backend for cell in cells)))
        told, untold = fingerprints(project, cells, described)
        reused: frozenset[str] = frozenset()
        if self.results.exists() and (aside := store.mend(self.results)):
            self.say(f"{self.results}: its last line was torn, by a run that was killed: it is now in {aside}")
        if self.results.exists() and not self.config.getoption("--matrix-fresh"):
            reused = reusable(store.read(self.results), told)
        return Known(described, told, reused, untold)

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """xdist: every worker passes over the same cells."""
        node.workerinput[_SENT] = sorted(self.known().reused)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> bool | None:
        """A cell that is passed over leaves no trace among the tests."""
        cell = cell_of(item)
        return True if cell is not None and cell.id in self._reused() else None

    def _reused(self) -> frozenset[str]:
        if self._passed is None:
            self._passed = frozenset(getattr(self.config, "workerinput", {}).get(_SENT, ()))
        return self._passed

    def tell(self, chosen: Iterable[str]) -> None:
        """Say how many of the cells asked for are not run, and what hinders that."""
        known = self.known()
        for backend, reason in known.untold.items():
            self.say(f"{backend}: no outcome can be re-used: {reason}")
        wanted = list(chosen)
        if reused := sum(cell in known.reused for cell in wanted):
            self.say(
                f"{reused} outcomes re-used, {len(wanted) - reused} to run "
                "(nothing that decides them has changed; FRESH=1 or --fresh runs them all)"
            )

    def say(self, line: str) -> None:
        """One line on the terminal."""
        if terminal := self.config.pluginmanager.get_plugin("terminalreporter"):
            terminal.ensure_newline()
            terminal.write_line(line)
