"""From declarations to cells: what is run for each, and which engine it can share."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pydantic import ValidationError

from harness.config import config_from_settings
from harness.config import settings as config_settings
from harness.declare import (
    WITHHELD,
    Bound,
    Column,
    Matrix,
    NotApplicable,
    OutputRule,
    Parameter,
    Probe,
    Scope,
    Value,
    Variant,
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
    not_applicable: str | None
    rejected: str | None
    """What our own validation says against the treated config. It is run all the same:
    only the backend can tell whether the rule is right."""
    note: str

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
    scopes = _scopes(matrix)
    cells: list[Cell] = []
    for parameter in sorted(matrix.parameters, key=lambda p: _section_index(matrix, p)):
        for value in parameter.values:
            for backend in backends:
                column = parameter.columns.get(backend)
                if column is None or (value.backends and backend not in value.backends):
                    continue
                cells.append(_cell(matrix, parameter, value, column, backend, models[backend], scopes))
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


def _scopes(matrix: Matrix) -> dict[tuple[str, str], Scope]:
    return {
        (parameter.path, backend): column.scope
        for parameter in matrix.parameters
        for backend, column in parameter.columns.items()
        if isinstance(column, Column)
    }


def _cell(
    matrix: Matrix,
    parameter: Parameter,
    value: Value,
    column: Column | NotApplicable,
    backend: str,
    model: str,
    scopes: Mapping[tuple[str, str], Scope],
) -> Cell:
    reason = None
    if isinstance(column, NotApplicable):
        reason = column.reason
        column = Column(scope=Scope.REQUEST, probe=NOT_APPLICABLE_PROBE, output=OutputRule.FREE)
    probe = value.probe or column.probe
    output = value.output or column.output
    instruments = probe.instruments | ({"logits"} if isinstance(output, Bound) else frozenset())
    variant = value.variant or column.variant
    shared = {**matrix.base_for(backend), **column.companions, **value.companions}
    treated = {**shared, parameter.path: value.value}
    control = {**shared, **(value.control or {})}
    control.pop(parameter.path, None)
    contrast = "withheld"
    if value.contrast is not WITHHELD:
        control[parameter.path] = value.contrast  # type: ignore[assignment]  # narrowed by identity
        contrast = f"{parameter.path}={label(control[parameter.path])}"

    declared, rejected = _declared(treated, model, backend)

    def run(settings: Settings) -> Run:
        engine, request = _split(settings, backend, parameter.path, column.scope, scopes, matrix)
        return Run(
            backend=backend,
            model=str(matrix.shipped_model) if variant else model,
            variant=variant,
            engine=engine,
            request=request,
            workload=value.workload or column.workload or matrix.workload,
            instruments=instruments,
        )

    text = label(value.value) if value.label is None else value.label
    if not text.isascii() or not text.isprintable():
        raise PlanError(f"{parameter.path} on {backend}: label {text!r} should be printable ASCII, to stand in ids")
    return Cell(
        id=f"{backend}-{parameter.path}={text}",
        backend=backend,
        parameter=parameter.path,
        value=value.value,
        label=text,
        section=parameter.section,
        scope=column.scope,
        treated=run(declared),
        control=run(_declared(control, model, backend)[0]),
        contrast=contrast,
        probe=probe,
        output=output,
        needs=column.needs if value.needs is None else value.needs,
        by_harness=column.by_harness if value.by_harness is None else value.by_harness,
        not_applicable=reason,
        rejected=rejected,
        note=parameter.note,
    )


def _declared(settings: Settings, model: str, backend: str) -> tuple[Settings, str | None]:
    """The settings as the validated config states them, or as they are with the objection."""
    stated: Settings = {path: value for path, value in settings.items() if value is not None}
    try:
        return dict(config_settings(config_from_settings(stated, model=model, backend=backend))), None
    except ValidationError as error:
        return stated, "; ".join(str(problem["msg"]) for problem in error.errors())


def _split(
    settings: Settings,
    backend: str,
    path: str,
    scope: Scope,
    scopes: Mapping[tuple[str, str], Scope],
    matrix: Matrix,
) -> tuple[Settings, Settings]:
    """Engine-scoped and request-scoped settings."""
    excluded = {item.path for item in matrix.excluded}
    engine: Settings = {}
    request: Settings = {}
    for key, item in sorted(settings.items()):
        known = scope if key == path else scopes.get((key, backend))
        if known is None and key not in excluded:
            raise PlanError(
                f"{path} on {backend}: companion {key} has no {backend} column. "
                f"Declare the parameter for {backend} or take it out of the companions."
            )
        (engine if known is Scope.ENGINE else request)[key] = item
    return engine, request


def _never(*_: object) -> object:
    raise AssertionError("a cell that does not apply is never judged")


NOT_APPLICABLE_PROBE = Probe(says="does not apply", effect=_never)  # type: ignore[arg-type]


def _digest(value: JSON) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
