"""Outcomes that are not made again: found before the run, told at its beginning."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from harness import store
from harness.fingerprint.cells import fingerprints
from harness.fingerprint.reusable import reusable
from harness.fingerprint.values import FingerprintError
from harness.jsontypes import JSON
from harness.plugin.asked import cells_of, may_judge, project_of
from harness.plugin.told import REUSED, SNAPSHOTS
from harness.session import snapshots


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
    """Finds the cells whose recorded outcome is of the same inputs."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self._known: Known | None = None

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
        """xdist: every worker passes over the same cells, and need not ask again what there is."""
        if not may_judge(self.config):
            return
        known = self.known()
        node.workerinput[REUSED] = sorted(known.reused)
        node.workerinput[SNAPSHOTS] = json.dumps(known.snapshots)

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
