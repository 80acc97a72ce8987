"""Adapters that lie: runs in which a value does not arrive, or another does, and what is then judged."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from harness.config.presets import PRESETS
from harness.declare import Seen
from harness.host import BackendHost
from harness.jsontypes import JSON
from harness.judge import judge
from harness.plan import Cell, Run
from harness.verdict import Cause


class Bench:
    """Runs on one host, each made once."""

    def __init__(self, host: BackendHost) -> None:
        self.host = host
        self.seen: dict[str, Seen | None] = {}

    def observe(self, run: Run) -> Seen | None:
        """What a run shows, or None when it fails."""
        if run.key not in self.seen:
            self.seen[run.key] = self.host.observe(run, model=run.model, cache_dir=None, fresh=False).seen
        return self.seen[run.key]

    def verdict(self, cell: Cell, sabotaged: Run) -> Cause | None:
        """The cause the cell would get if `sabotaged` ran in place of its treated run; None if it fails to run."""
        treated, control = self.observe(sabotaged), self.observe(cell.control)
        return None if treated is None or control is None else judge(cell, treated, control).verdict.cause

    def deaf(self, cell: Cell) -> Cause | None:
        """The cause if upstream is handed the value and goes on as if it were not; None if a run fails."""
        idle, control = self.observe(without(cell)), self.observe(cell.control)
        return None if idle is None or control is None else judge(cell, handed(idle, cell), control).verdict.cause


def handed(seen: Seen, cell: Cell) -> Seen:
    """What was seen, of a run that handed over the value as well."""
    call: dict[str, JSON] = {"call": "upstream", "kwargs": {cell.parameter: cell.value}}
    return replace(seen, calls=[*seen.calls, call])


def without(cell: Cell) -> Run:
    """The treated run of an adapter that drops the value, with all that it stands for."""

    def left(settings: dict[str, object]) -> dict[str, object]:
        kept = {path: value for path, value in settings.items() if path != cell.parameter}
        if cell.parameter == "decoder.preset":
            for name in PRESETS[str(cell.value)]:
                kept.pop(f"decoder.{name}", None)
        return kept

    treated = cell.treated
    return replace(treated, engine=left(treated.engine), request=left(treated.request))  # type: ignore[arg-type]


def others(cell: Cell, cells: Iterable[Cell]) -> list[Cell]:
    """Cells of the same parameter with another value, under the same companions."""

    def companions(one: Cell) -> dict[str, object]:
        return {path: value for path, value in one.treated.settings.items() if path != one.parameter}

    return [
        other
        for other in cells
        if other.parameter == cell.parameter and other.value != cell.value and companions(other) == companions(cell)
    ]
