"""One ✅ under every saboteur, judged as any cell is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Literal, cast

from harness.audit.host import AuditHost, Watched
from harness.audit.record import Audited, Fate, Mutant, Saboteur
from harness.declare import Seen
from harness.failure import one_line, outside_cause
from harness.jsontypes import JSON
from harness.judge import forwarded_difference, judge
from harness.level import echo, level
from harness.plan import Cell, Run
from harness.records import CellRecord
from harness.rests import RESOLVED, at, rests_on
from harness.settled import changes
from harness.verdict import Cause

_WITHOUT = "dropped"
_LYING = "dropped, and recorded as handed over"
_IMPLIED = "companions say the same: upstream is handed what it is handed without a saboteur, and does the same"
_DEFAULT = "the default: nothing that happened differs, and what was handed over tells them apart"
_ALIKE = "upstream does the same with either: nothing that happened differs, nor what the verdict rests on"
_VARYING = {"arrivals", "seconds", "memory"}
"""Observations that are never twice the same."""


class Trial:
    """Audits cells of one backend."""

    def __init__(self, host: AuditHost, cells: Iterable[Cell]) -> None:
        """`cells`: those of the backend that are ✅; values of others arrive in place of a cell's own."""
        self.host = host
        self._of: dict[str, list[Cell]] = {}
        for cell in cells:
            self._of.setdefault(cell.parameter, []).append(cell)

    def audit(self, cell: Cell, recorded: CellRecord) -> Audited:
        """Every mutant of a cell, and its fate.

        Raises:
            HostUnavailable: the backend's interpreter cannot be started.
        """
        cause, saw, treated, control = self._honest(cell)
        found: list[Mutant] = []
        found_level: Literal["behaviour", "state"] | None = None
        if cause is Cause.CONFIRMED and treated and control:
            found_level = level(cell, treated, control).value
            found += self._withheld(cell, treated, control)
            found += self._flipped(cell, treated, control)
            text = "stored, and nothing else happens"
            found.append(_judged(Saboteur.ECHO, text, cell, echo(treated, control), control))
            if cell.deaf:
                watched = self.host.watch(cell.treated, cell.deaf)
                deafened = _ran(Saboteur.DEAF, cell.deaf.says, watched) or (
                    watched.seen and _judged(Saboteur.DEAF, cell.deaf.says, cell, watched.seen, control)
                )
                found += [deafened] if deafened else []
        return Audited(
            cell=cell.id,
            backend=cell.backend,
            row=cell.row,
            section=cell.section,
            scope=cell.scope.value,
            recorded=recorded.evidence.level,
            level=found_level,
            honest=cause,
            saw=one_line(saw),
            mutants=found,
        )

    def _honest(self, cell: Cell) -> tuple[Cause | None, str, Seen | None, Seen | None]:
        """The verdict of honest runs, with these; a second time in fresh engines where it is no ✅."""
        told: tuple[Cause | None, str, Seen | None, Seen | None] = (None, "", None, None)
        for again in (False, True):
            treated, control = self.host.watch(cell.treated, again=again), self.host.watch(cell.control, again=again)
            failure = treated.failure or control.failure
            if failure is None and treated.seen and control.seen:
                verdict = judge(cell, treated.seen, control.seen).verdict
                told = (verdict.cause, verdict.reason, treated.seen, control.seen)
                if verdict.cause is Cause.CONFIRMED:
                    break
            elif failure:
                told = (None, failure.line, None, None)
        return told

    def _withheld(self, cell: Cell, treated: Seen, control: Seen) -> Iterator[Mutant]:
        """As it is, where the guard of what was forwarded sees it; and with that guard lied to."""
        if cell.withheld.key == cell.treated.key:
            how = "dropped, which leaves the settings as they are"
            yield Mutant(saboteur=Saboteur.WITHHOLD, how=how, fate=Fate.SAME, cause=None, saw="")
            return
        watched = self.host.watch(cell.withheld)
        if told := _ran(Saboteur.WITHHOLD, _WITHOUT, watched):
            yield told
        elif watched.seen:
            plain = _judged(Saboteur.WITHHOLD, _WITHOUT, cell, watched.seen, control)
            lying = _judged(Saboteur.WITHHOLD, _LYING, cell, _claiming(watched.seen, treated), control)
            indistinct = nothing_differs(cell, watched.seen, treated, control)
            if lying.fate is Fate.SURVIVED and not indistinct:
                indistinct = self._alike_once(cell, control)
            yield plain if not (indistinct and _handed_alike(watched.seen, treated)) else _none(plain, _IMPLIED)
            yield lying if not indistinct else _none(lying, _DEFAULT)

    def _alike_once(self, cell: Cell, control: Seen) -> bool:
        """Whether nothing differs between fresh runs without the value and with it.

        What differed may be chance, as which tokens reach the reader of a stream together.
        """
        without, given = (self.host.watch(run, again=True).seen for run in (cell.withheld, cell.treated))
        return without is not None and given is not None and nothing_differs(cell, without, given, control)

    def _flipped(self, cell: Cell, treated: Seen, control: Seen) -> Iterator[Mutant]:
        for how, run in self._others(cell).items():
            watched = self.host.watch(run)
            if told := _ran(Saboteur.FLIP, how, watched):
                yield told
            elif watched.seen:
                told = _judged(Saboteur.FLIP, how, cell, _claiming(watched.seen, treated), control)
                alike = run is not cell.flipped and nothing_differs(cell, watched.seen, treated, control)
                yield _none(told, _ALIKE) if alike else told

    def _others(self, cell: Cell) -> dict[str, Run]:
        """What arrives instead: the control's value, and those of the other cells with the same companions."""
        others = (other for other in self._of.get(cell.parameter, ()) if other.id != cell.id)
        contrast = {f"{cell.contrast} arrives": cell.flipped} if cell.flipped else {}
        return contrast | {
            f"{other.row} arrives": replace(cell.treated, engine=other.treated.engine, request=other.treated.request)
            for other in others
            if other.withheld.settings == cell.withheld.settings
            and other.treated.variant is cell.treated.variant
            and other.treated.settings != cell.treated.settings
        }


def _ran(saboteur: Saboteur, how: str, watched: Watched) -> Mutant | None:
    """The fate of a mutant that did not run: killed, unless nothing was learned of it."""
    failure = watched.failure
    if failure is None:
        return None
    outside = outside_cause(failure)
    # a complaint of the adapter's own is one that a lying adapter would have to silence first
    learned = outside is None or (outside is Cause.HARNESS_ERROR and saboteur is not Saboteur.DEAF)
    fate = Fate.KILLED if learned else Fate.ERROR
    return Mutant(saboteur=saboteur, how=how, fate=fate, cause=None, saw=failure.line)


def _judged(saboteur: Saboteur, how: str, cell: Cell, seen: Seen, control: Seen) -> Mutant:
    verdict = judge(cell, seen, control).verdict
    fate = Fate.SURVIVED if verdict.cause is Cause.CONFIRMED else Fate.KILLED
    return Mutant(saboteur=saboteur, how=how, fate=fate, cause=verdict.cause, saw=verdict.reason)


def _claiming(seen: Seen, honest: Seen) -> Seen:
    """What was seen, with the calls that an honest adapter would have recorded."""
    return Seen(seen.observation, seen.read_back, honest.calls)


def _none(survivor: Mutant, why: str) -> Mutant:
    """A survivor that is no mutant; one that was killed stays so."""
    return survivor.model_copy(update={"fate": Fate.SAME, "saw": why}) if survivor.fate is Fate.SURVIVED else survivor


def _handed_alike(one: Seen, other: Seen) -> bool:
    return not forwarded_difference(one, other) and not forwarded_difference(other, one)


def nothing_differs(cell: Cell, one: Seen, other: Seen, control: Seen) -> bool:
    """Whether nothing that happened tells two runs apart but what varies by nature: times, memory, processes.

    What was stored may differ where the verdict does not rest on it: upstream has other names for what it does anyway.
    Where the verdict rests on what varies, that is no excuse: upstream might do otherwise by itself. What the harness
    does by itself is its own to know.
    """
    paths = rests_on(cell, _claiming(one, other), control)
    told = cell.by_harness or not {path.partition(".")[0] for path in paths} & _VARYING
    stored = [path.removeprefix(f"{RESOLVED}.") for path in paths if path.startswith(RESOLVED)]
    return told and not changes(_comparable(one, stored), _comparable(other, stored))


def _comparable(seen: Seen, stored: Iterable[str]) -> dict[str, JSON]:
    """What happened, and of what was read back these paths."""
    kept = {**seen.read_back, **seen.observation.get("resolved", {})}
    happened = {key: value for key, value in seen.observation.items() if key not in {*_VARYING, RESOLVED}}
    return {"happened": cast("JSON", happened), "stored": {path: at(kept, path) for path in stored}}
