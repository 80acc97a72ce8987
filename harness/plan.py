"""From declarations to cells: what is run for each, and which engine it can share."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pydantic import ValidationError

from harness.backends import MODULES, create
from harness.config import config_from_settings
from harness.config import settings as config_settings
from harness.declare import (
    Bound,
    Column,
    Deaf,
    Matrix,
    NotApplicable,
    OutputRule,
    Parameter,
    Probe,
    Scope,
    Value,
    Variant,
    Withheld,
    Workload,
    label,
)
from harness.jsontypes import JSON, Settings


class PlanError(ValueError):
    """The declarations contradict themselves; the message says where and how to mend it."""


@dataclass(frozen=True, slots=True)
class Run:
    """One engine and one job on it: all that decides what will be observed."""

    backend: str
    model: str
    variant: Variant | None
    engine: Settings
    """Engine-scoped settings."""
    request: Settings
    """Request-scoped settings."""
    workload: Workload
    instruments: frozenset[str]

    @property
    def engine_key(self) -> str:
        """Runs with equal keys can share a loaded engine."""
        variant = self.variant.name if self.variant else None
        return _digest([self.backend, self.model, variant, self.engine])

    @property
    def key(self) -> str:
        """Runs with equal keys are the same run."""
        work = self.workload
        job: JSON = [
            self.request,
            list(work.prompts),
            work.max_new_tokens,
            list(work.seeds),
            sorted(self.instruments),
        ]
        return _digest([self.engine_key, job])

    @property
    def settings(self) -> Settings:
        """Everything declared, engine and request together."""
        return {**self.engine, **self.request}


@dataclass(frozen=True, slots=True)
class Cell:
    """One row × column of the matrix: a value of a parameter on a backend, and its control."""

    id: str
    backend: str
    parameter: str
    value: JSON
    label: str
    section: str
    scope: Scope
    treated: Run
    control: Run
    contrast: str
    """What the control has instead of the value: "withheld" or "decoder.top_k=5"."""
    probe: Probe
    output: OutputRule | Bound
    needs: tuple[str, ...]
    by_harness: bool
    arguments: frozenset[tuple[str, str]]
    """Upstream calls and their arguments that the parameter arrives as, from the adapter's tables; empty where they
    name none."""
    not_applicable: str | None
    rejected: str | None
    """What our own validation says against the treated config. It is run all the same:
    only the backend can tell whether the rule is right."""
    note: str
    withheld: Run
    """The treated run of an adapter that drops the value, and with it all that the config makes of it."""
    flipped: Run | None
    """The treated run with the control's value of the parameter; None where the control has none."""
    deaf: Deaf | None

    @property
    def row(self) -> str:
        """The page's row: `decoder.top_k=1`."""
        return f"{self.parameter}={self.label}"


def build(matrix: Matrix, *, models: Mapping[str, str], backends: Iterable[str]) -> tuple[Cell, ...]:
    """Every cell of `backends`, in page order.

    Args:
        matrix: the declarations.
        models: backend to the model (folder or hub id) its cells load.
        backends: the columns to plan.

    Raises:
        PlanError: duplicate rows, unknown sections, or companions nobody declares.
    """
    planners = {backend: _Planner(matrix, backend, models[backend]) for backend in backends}
    cells = [
        planner.cell(parameter, value, column)
        for parameter in sorted(matrix.parameters, key=lambda p: _section_index(matrix, p))
        for value in parameter.values
        for backend, planner in planners.items()
        if (column := parameter.columns.get(backend)) and (not value.backends or backend in value.backends)
    ]
    counts = Counter(cell.id for cell in cells)
    if doubled := [cell for cell, count in counts.items() if count > 1]:
        raise PlanError(f"cells declared twice: {', '.join(doubled)}. Give one of them another label.")
    return tuple(cells)


def _section_index(matrix: Matrix, parameter: Parameter) -> int:
    try:
        return matrix.sections.index(parameter.section)
    except ValueError:
        raise PlanError(
            f"{parameter.path}: section {parameter.section!r} is not one of {', '.join(matrix.sections)}"
        ) from None


class _Planner:
    """Plans the cells of one column of the page."""

    def __init__(self, matrix: Matrix, backend: str, model: str) -> None:
        self.matrix = matrix
        self.backend = backend
        self.model = model
        self.scopes = scopes(matrix, backend)
        self.tables = create(backend).upstream if backend in MODULES else {}
        self._known: dict[str, tuple[Settings, str | None]] = {}
        self._runs: dict[tuple[object, ...], Run] = {}

    def cell(self, parameter: Parameter, value: Value, column: Column | NotApplicable) -> Cell:
        """The cell of one value."""
        reason = None
        if isinstance(column, NotApplicable):
            reason = column.reason
            column = Column(scope=Scope.REQUEST, probe=NOT_APPLICABLE_PROBE, output=OutputRule.FREE)
        probe, output = value.probe or column.probe, value.output or column.output
        shared = {**self.matrix.base_for(self.backend), **column.companions, **value.companions}
        bare = {path: companion for path, companion in shared.items() if path != parameter.path}
        control = {**bare, **(value.control or {})}
        control.pop(parameter.path, None)
        contrast, flipped = "withheld", None
        if not isinstance(value.contrast, Withheld):
            control[parameter.path] = value.contrast
            flipped = {**bare, parameter.path: value.contrast}
            contrast = f"{parameter.path}={label(value.contrast)}"
        declared, rejected = self._declared({**shared, parameter.path: value.value})
        if value.value is None:
            # an explicit null is a value like any other, where companions use it to withdraw one
            declared[parameter.path] = None
        known = {**self.scopes, parameter.path: column.scope}
        variant = value.variant or column.variant
        workload = value.workload or column.workload or self.matrix.workload
        instruments = probe.instruments | ({"logits"} if isinstance(output, Bound) else frozenset())

        def run(settings: Settings) -> Run:
            engine, request = self._split(settings, known, parameter.path)
            key = json.dumps([engine, request]), variant, workload, instruments
            # one object for all cells that have a control in common: every worker of a run plans all of them
            return self._runs.setdefault(
                key,
                Run(
                    backend=self.backend,
                    model=str(self.matrix.shipped_model) if variant else self.model,
                    variant=variant,
                    engine=engine,
                    request=request,
                    workload=workload,
                    instruments=instruments,
                ),
            )

        text = label(value.value) if value.label is None else value.label
        if not text.isascii() or not text.isprintable():
            raise PlanError(
                f"{parameter.path} on {self.backend}: label {text!r} should be printable ASCII, to stand in ids"
            )
        return Cell(
            id=f"{self.backend}-{parameter.path}={text}",
            backend=self.backend,
            parameter=parameter.path,
            value=value.value,
            label=text,
            section=parameter.section,
            scope=column.scope,
            treated=run(declared),
            control=run(self._declared(control)[0]),
            contrast=contrast,
            probe=probe,
            output=output,
            needs=column.needs if value.needs is None else value.needs,
            by_harness=column.by_harness if value.by_harness is None else value.by_harness,
            arguments=frozenset(
                (call, table[parameter.path]) for call, table in self.tables.items() if parameter.path in table
            ),
            not_applicable=reason,
            rejected=rejected,
            note=parameter.note,
            withheld=run(self._declared(bare)[0]),
            flipped=run(self._declared(flipped)[0]) if flipped else None,
            deaf=value.deaf or (column.deaf if isinstance(column.deaf, Deaf) else (column.deaf or {}).get(text)),
        )

    def _declared(self, settings: Settings) -> tuple[Settings, str | None]:
        """The settings as the validated config states them, or as they are with the objection.

        Controls of a parameter are mostly the same settings: they are validated once.
        """
        stated: Settings = {path: value for path, value in settings.items() if value is not None}
        text = json.dumps(stated)
        if text not in self._known:
            self._known[text] = self._validated(stated)
        found, objection = self._known[text]
        return dict(found), objection

    def _validated(self, stated: Settings) -> tuple[Settings, str | None]:
        try:
            return config_settings(config_from_settings(stated, model=self.model, backend=self.backend)), None
        except ValidationError as error:
            return stated, "; ".join(str(problem["msg"]) for problem in error.errors())

    def _split(self, settings: Settings, known: Mapping[str, Scope], path: str) -> tuple[Settings, Settings]:
        """Engine-scoped and request-scoped settings."""
        if strangers := sorted(set(settings) - set(known)):
            raise PlanError(
                f"{path} on {self.backend}: companion {strangers[0]} has no {self.backend} column. "
                f"Declare the parameter for {self.backend} or take it out of the companions."
            )
        return split(settings, known)


def config_cell(matrix: Matrix, name: str, settings: Settings, *, backend: str, model: str) -> Cell:
    """A whole config in the place of a cell: run as it is, and compared with nothing.

    Raises:
        PlanError: it has a setting that is not declared for the backend.
    """
    known = scopes(matrix, backend)
    if strangers := sorted(set(settings) - set(known)):
        raise PlanError(f"{strangers[0]} is not declared for {backend}, so nobody knows when it takes effect")
    engine, request = split(settings, known)
    text = label(name)
    alone = Run(backend, model, None, engine, request, matrix.workload, frozenset())
    return Cell(
        id=f"{backend}-config={text}",
        backend=backend,
        parameter="config",
        value=name,
        label=text,
        section="Configs",
        scope=Scope.ENGINE,
        treated=alone,
        control=alone,
        contrast="nothing",
        probe=NOT_JUDGED_PROBE,
        output=OutputRule.FREE,
        needs=(),
        by_harness=False,
        arguments=frozenset(),
        not_applicable=None,
        rejected=None,
        note="",
        withheld=alone,
        flipped=None,
        deaf=None,
    )


def scopes(matrix: Matrix, backend: str) -> dict[str, Scope]:
    """Path to scope, for all that a backend can be given. What has no cells of its own goes with the request."""
    known = {item.path: Scope.REQUEST for item in matrix.excluded}
    for parameter in matrix.parameters:
        if isinstance(column := parameter.columns.get(backend), Column):
            known[parameter.path] = column.scope
    return known


def split(settings: Settings, known: Mapping[str, Scope]) -> tuple[Settings, Settings]:
    """Engine-scoped and request-scoped settings, sorted by path."""
    engine = {path: settings[path] for path in sorted(settings) if known[path] is Scope.ENGINE}
    request = {path: settings[path] for path in sorted(settings) if known[path] is Scope.REQUEST}
    return engine, request


def _never(*_: object) -> object:
    raise AssertionError("a cell that does not apply, or is a whole config, is never judged")


NOT_APPLICABLE_PROBE = Probe(says="does not apply", effect=_never)  # type: ignore[arg-type]
NOT_JUDGED_PROBE = Probe(says="is measured, not judged", effect=_never)  # type: ignore[arg-type]


def _digest(value: JSON) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
