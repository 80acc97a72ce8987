"""What each backend can do: told by the cells that show it, else by what upstream says of it."""

from __future__ import annotations

from dataclasses import dataclass

from harness import signs
from harness.declare import Matrix
from harness.declare_limits import Capability
from harness.store import Judged, Results
from harness.verdict import Outcome

_RAISED = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True, slots=True)
class Measured:
    """A cell behind a statement, and where it was measured."""

    cell: str
    symbol: str
    cause: str
    where: str

    @classmethod
    def of(cls, record: Judged, results: Results) -> Measured:
        """A record with the versions and the device of its run."""
        info = results.info(record)
        where = "not measured" if info.unavailable else f"{info.libraries}, {info.device}".removeprefix(", ")
        return cls(record.cell, signs.symbol(record), record.cause.value, where)


def places(measured: tuple[Measured, ...]) -> str:
    """Where cells were measured, each place once."""
    return "; ".join(dict.fromkeys(item.where for item in measured))


@dataclass(frozen=True, slots=True)
class Ability:
    """One cell of the capability matrix."""

    symbol: str
    """What its cells showed here; empty where none was judged."""
    declared: str
    """What upstream says: "yes", "no", or "unknown" where nothing is declared."""
    detail: str
    """How many of its cells passed or were judged, where not all."""
    footnote: str
    measured: tuple[Measured, ...]

    @property
    def text(self) -> str:
        """A symbol where it was measured, words where it is declared: never both."""
        return " ".join(filter(None, [self.symbol or f"declared: {self.declared}", self.detail]))

    @property
    def where(self) -> str:
        """Where its cells were measured."""
        return places(self.measured)


def ability(capability: Capability, backend: str, results: Results) -> Ability:
    """Whether a backend has a feature: what its cells showed, else what is declared."""
    wanted = capability.cells(backend)
    records = [record for record in results.judged if record.cell in wanted]
    judged = [record for record in records if record.verdict is not Outcome.NOT_RUN]
    stated = capability.stated.get(backend)
    remarks = [stated.note] if stated and stated.note else []
    if stated and not judged:
        remarks.append(stated.source)
    return Ability(
        symbol=_symbol(judged) if judged else "",
        declared="unknown" if stated is None else "yes" if stated.able else "no",
        detail=_detail(judged, len(wanted)) if judged else "",
        footnote="; ".join(remarks),
        measured=tuple(Measured.of(record, results) for record in records),
    )


def _symbol(judged: list[Judged]) -> str:
    verdicts = {record.verdict for record in judged}
    if len(verdicts) > 1:
        return Outcome.UNCERTAIN.symbol
    shown = {signs.symbol(record) for record in judged}
    # a pass whose effect was seen weighs more than those told by state alone
    return verdicts.pop().symbol if len(shown) > 1 else shown.pop()


def _detail(judged: list[Judged], wanted: int) -> str:
    passed = sum(record.verdict is Outcome.PASS for record in judged)
    mixed = f"{passed} of {len(judged)} cells pass" if 0 < passed < len(judged) else ""
    partly = f"{len(judged)} of {wanted} cells measured" if len(judged) < wanted else ""
    return f"({', '.join(filter(None, [mixed, partly]))})" if mixed or partly else ""


@dataclass(frozen=True, slots=True)
class Feature:
    """One row of the capability matrix: backend, ability, and the mark of its footnote."""

    name: str
    abilities: tuple[tuple[str, Ability, str], ...]


def features(matrix: Matrix, results: Results) -> tuple[list[Feature], dict[str, str]]:
    """The rows of the capability matrix, and its footnotes by their marks."""
    marks: dict[str, str] = {}
    rows = []
    for capability in matrix.capabilities:
        found = []
        for backend, heading in signs.COLUMNS.items():
            shown = ability(capability, backend, results)
            mark = ""
            if shown.footnote:
                mark = marks.setdefault(f"{heading}: {shown.footnote}", str(len(marks) + 1).translate(_RAISED))
            found.append((backend, shown, mark))
        rows.append(Feature(capability.name, tuple(found)))
    return rows, {mark: note for note, mark in marks.items()}
