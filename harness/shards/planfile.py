"""The plan file: a header, then a line for each cell. Equal inputs make equal bytes, wherever the checkout lies."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from harness import groups
from harness.jsontypes import JSON
from harness.plan import Cell, Run
from harness.provenance import commit, shown_model
from harness.session import column_models
from harness.variants import model_hash


class PlanFileError(RuntimeError):
    """A plan that cannot be read, or does not fit the checkout; one line with the mend."""


class _Line(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Asked(_Line):
    """What `paramatrix plan` was asked for; a shard plans its cells by it again."""

    backends: list[str]
    model: str | None
    """None: the default model of each backend, which differs between machines with and without a GPU."""
    versions: dict[str, str]
    """Backends in a version other than the default one."""
    k: str | None


class LoadedModel(_Line):
    """The model that a backend's cells load."""

    model: str
    model_hash: str | None
    """SHA-256 prefix of a local folder; None for a hub id."""


class PlanHeader(_Line):
    """The plan as a whole."""

    record: Literal["plan"] = "plan"
    format: Literal[1] = 1
    id: str
    """SHA-256 prefix of all that the file holds besides."""
    asked: Asked
    models: dict[str, LoadedModel]
    commit: str | None
    """Git commit of the project, as in results."""
    cells: int
    """How many lines follow."""


class PlannedCell(_Line):
    """A cell that some shard will measure."""

    record: Literal["cell"] = "cell"
    cell: str
    backend: str
    key: str
    """`backend:engine key`: cells with equal keys stay together."""
    expected_s: float
    declared: str
    """SHA-256 prefix of what is declared of the cell: its runs, its probe's words, what it needs."""


_LINE: TypeAdapter[PlanHeader | PlannedCell] = TypeAdapter(
    Annotated[PlanHeader | PlannedCell, Field(discriminator="record")]
)


class PlanFile(_Line):
    """A plan, as written to or read from a file."""

    header: PlanHeader
    cells: list[PlannedCell]

    @property
    def data(self) -> bytes:
        """The file."""
        return b"".join(_dump(line) for line in (self.header, *self.cells))


def make(cells: Iterable[Cell], expected_s: Mapping[str, float], asked: Asked, root: Path) -> PlanFile:
    """The plan of `cells`.

    Args:
        cells: in page order.
        expected_s: seconds by cell id, as `groups.expected` tells them.
        asked: what was asked for.
        root: the project: models below it are named from there, so that checkouts in two places agree.
    """
    listed = list(cells)
    lines = [_line(cell, expected_s[cell.id], root) for cell in listed]
    models = {
        name: LoadedModel(model=shown_model(model, root), model_hash=model_hash(Path(model)))
        for name, model in column_models(listed).items()
    }
    header = PlanHeader(id="", asked=asked, models=models, commit=commit(root), cells=len(lines))
    return PlanFile(header=header.model_copy(update={"id": _id(header, lines)}), cells=lines)


def read(path: Path) -> PlanFile:
    """Read and check a plan.

    Raises:
        PlanFileError: missing, unreadable, no plan, or not as it was written.
    """
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise PlanFileError(f"{path}: cannot be read: {error.strerror}. `paramatrix plan > {path}` makes it.") from None
    found = []
    for number, line in enumerate(lines, start=1):
        try:
            found.append(_LINE.validate_json(line))
        except ValidationError as error:
            first = error.errors()[0]
            raise PlanFileError(
                f"{path}:{number}: not a line of a plan ({first['msg']}). `paramatrix plan > {path}` makes one."
            ) from None
    headers = [line for line in found if isinstance(line, PlanHeader)]
    cells = [line for line in found if isinstance(line, PlannedCell)]
    if len(headers) != 1 or found[0] is not headers[0] or len(cells) != headers[0].cells:
        stated = headers[0].cells if headers else "no"
        raise PlanFileError(
            f"{path}: not a whole plan: {len(headers)} headers with {stated} cells stated, {len(cells)} cells found. "
            f"Copy it again."
        )
    if (actual := _id(headers[0], cells)) != headers[0].id:
        raise PlanFileError(f"{path}: says that it is plan {headers[0].id}, its content is {actual}: it was edited")
    return PlanFile(header=headers[0], cells=cells)


def found_model(model: str, root: Path) -> str:
    """A model as a plan names it, as this checkout loads it: the way back from `shown_model`."""
    return str(root / model) if (root / model).is_dir() else model


def _line(cell: Cell, expected_s: float, root: Path) -> PlannedCell:
    """A cell as any checkout of equal declarations would tell it."""

    def anywhere(run: Run) -> Run:
        return replace(run, model=shown_model(run.model, root))

    there = replace(cell, treated=anywhere(cell.treated), control=anywhere(cell.control))
    declared: JSON = [
        there.treated.key,
        there.control.key,
        cell.contrast,
        cell.probe.says,
        repr(cell.output),
        list(cell.needs),
        cell.by_harness,
        cell.not_applicable,
        cell.section,
    ]
    return PlannedCell(
        cell=cell.id,
        backend=cell.backend,
        key=groups.key(there),
        expected_s=round(expected_s, 3),
        declared=_digest(declared),
    )


def _id(header: PlanHeader, cells: Iterable[PlannedCell]) -> str:
    return _digest([line.model_dump(mode="json", exclude={"id"}) for line in (header, *cells)])


def _dump(line: _Line) -> bytes:
    return json.dumps(line.model_dump(mode="json"), ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def _digest(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
