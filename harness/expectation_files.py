"""Expectations as files that people read and edit: one YAML file for each environment."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from harness import store
from harness.config import yaml_text
from harness.expectations import Accepted, Expectations, ExpectationsError
from harness.jsontypes import JSON
from harness.ordering import natural
from harness.verdict import Cause, Outcome

_HEADER: Final = """\
# The verdicts last accepted in one environment; `paramatrix accept` writes this file from a run.
# `reason` and `upstream` (a link) are for you to write: they stay for as long as the verdict does.
# A cell that ends in one of several ways stands under `varies`, with a list of `causes`. Comments are lost.
"""


def _range(text: str) -> str:
    try:
        SpecifierSet(text)
    except InvalidSpecifier:
        raise ValueError(f"{text!r} is no range of versions like ==2.13.* or >=0.31,<0.33") from None
    return text


def _flat(text: str) -> str:
    return " ".join(text.split())


_Line = Annotated[str, AfterValidator(_flat)]
_Link = Annotated[str, Field(pattern=r"^(https?://\S+)?$")]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Deviation(_Strict):
    """A row that does not pass."""

    cause: Cause
    saw: _Line
    reason: _Line = ""
    upstream: _Link = ""


class _Varying(_Strict):
    """A row that ends in several ways."""

    causes: Annotated[list[Cause], Field(min_length=2)]
    saw: _Line
    reason: _Line = ""
    upstream: _Link = ""


class _File(_Strict):
    backend: str
    versions: Annotated[dict[str, Annotated[str, Field(min_length=1), AfterValidator(_range)]], Field(min_length=1)]
    device: str
    model: str
    fail: dict[str, _Deviation] = {}
    uncertain: dict[str, _Deviation] = {}
    not_run: dict[str, _Deviation] = {}
    varies: dict[str, _Varying] = {}
    confirmed: Annotated[dict[str, _Line], Field(alias="pass")] = {}
    """Row to what was seen of it."""

    @property
    def deviations(self) -> list[tuple[Outcome, str, _Deviation]]:
        """Every row that ends in one way, and that no pass."""
        groups = ((Outcome.FAIL, self.fail), (Outcome.UNCERTAIN, self.uncertain), (Outcome.NOT_RUN, self.not_run))
        return [(outcome, row, entry) for outcome, group in groups for row, entry in group.items()]

    @model_validator(mode="after")
    def _consistent(self) -> _File:
        for outcome, row, entry in self.deviations:
            if entry.cause.outcome is not outcome:
                raise ValueError(f"{row}: {entry.cause} is {entry.cause.outcome}, not {outcome}")
        rows = [*self.confirmed, *self.varies, *(row for _, row, _ in self.deviations)]
        if doubled := sorted({row for row in rows if rows.count(row) > 1}):
            raise ValueError(f"{', '.join(doubled)}: expected in one place, found in several")
        return self


def read(path: Path) -> Expectations:
    """One file.

    Raises:
        ExpectationsError: it cannot be read, or does not say what is expected of it.
    """
    try:
        return _parse(path, path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ExpectationsError(f"{path}: cannot be read: {error}") from None


def _parse(path: Path, text: str) -> Expectations:
    try:
        parsed = yaml_text.parse(text)
    except yaml_text.NotYaml as error:
        what = error.problem
        raise ExpectationsError(f"{path}:{what.line or 1}: {what.what}: {what.actual}; {what.fix}") from None
    try:
        found = _File.model_validate(parsed.data)
    except ValidationError as error:
        raise ExpectationsError(f"{path}:{_told(error, parsed)}. Correct it there") from None
    rows = {row: Accepted((Cause.CONFIRMED,), saw) for row, saw in found.confirmed.items()}
    rows |= {row: Accepted((e.cause,), e.saw, e.reason, e.upstream) for _, row, e in found.deviations}
    rows |= {row: Accepted(tuple(e.causes), e.saw, e.reason, e.upstream) for row, e in found.varies.items()}
    return Expectations(path, found.backend, found.versions, found.device, found.model, rows)


def _told(error: ValidationError, parsed: yaml_text.Parsed) -> str:
    """The first problem and its line."""
    first = error.errors()[0]
    where = tuple(str(part) for part in first["loc"])
    ends = (where[:end] for end in range(len(where), 0, -1))
    line = next((parsed.lines[end] for end in ends if end in parsed.lines), 1)
    return f"{line}: {': '.join([*where, first['msg'].removeprefix('Value error, ')])}"


def read_all(folder: Path) -> list[Expectations]:
    """Every file of a folder; none where there is no folder.

    Raises:
        ExpectationsError: one cannot be read.
    """
    return [read(path) for path in sorted(folder.glob("*.yaml"))]


def write(expectations: Expectations) -> None:
    """Write a file, rows in the order of the pages.

    Raises:
        ExpectationsError: it could not be read again.
        StoreError: it cannot be written.
    """
    groups: dict[str, dict[str, JSON]] = {name: {} for name in ("fail", "uncertain", "not_run", "varies", "pass")}
    for row, accepted in sorted(expectations.rows.items(), key=lambda item: natural(item[0])):
        name, entry = _entry(accepted)
        groups[name][row] = entry
    head: dict[str, JSON] = {
        "backend": expectations.backend,
        "versions": dict(expectations.versions),
        "device": expectations.device,
        "model": expectations.model,
    }
    parts: list[JSON] = [head, *({name: group} for name, group in groups.items() if group)]
    text = _HEADER + "\n".join(yaml_text.dump(part, wrapped=False) for part in parts)
    _parse(expectations.path, text)
    store.replace(expectations.path, text.encode())


def _entry(accepted: Accepted) -> tuple[str, JSON]:
    """Where an accepted row stands in its file, and what stands there."""
    words: dict[str, JSON] = {"saw": accepted.saw}
    words |= {key: said for key, said in (("reason", accepted.reason), ("upstream", accepted.upstream)) if said}
    if len(accepted.causes) > 1:
        return "varies", {"causes": [cause.value for cause in accepted.causes], **words}
    (cause,) = accepted.causes
    if cause.outcome is Outcome.PASS:
        return cause.outcome.value, accepted.saw
    return cause.outcome.value, {"cause": cause.value, **words}
