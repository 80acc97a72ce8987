"""The pages, rendered from results alone: equal results give byte-equal pages."""

from __future__ import annotations

import functools
import html
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, TemplateError, select_autoescape

from harness import store
from harness.ordering import natural
from harness.records import BackendInfo, RunRecord
from harness.signs import COLUMNS, NOT_PLANNED, STALE, symbol
from harness.store import Judged, Results, Table
from harness.verdict import Outcome

if TYPE_CHECKING:
    from harness.advice import Advice

PAGE = "parameter-support-matrix.md"
_NOTE_LIMIT = 220


class ReportError(RuntimeError):
    """A page cannot be rendered or written; one line with the mend."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a section: a parameter value over all columns."""

    name: str
    symbols: list[str]
    notes: str


@dataclass(frozen=True, slots=True)
class Section:
    """A heading and its rows."""

    title: str
    rows: list[Row]


@dataclass(frozen=True, slots=True)
class Summary:
    """A backend's counts. The denominator is the planned cells."""

    backend: str
    planned: int
    counts: dict[str, int]
    behaviour: int
    """Passes confirmed by behaviour, not by state alone."""
    unmeasured: int
    """Planned cells without a record: their run was interrupted."""
    causes: dict[str, int]
    """Why cells were not run, most frequent first."""
    stale: int = 0
    """Cells whose inputs changed after they were measured."""

    @property
    def not_run(self) -> int:
        """Planned cells about which nothing was learned."""
        return self.counts["not_run"] + self.unmeasured

    @property
    def judged(self) -> int:
        """Planned cells that ran to a verdict."""
        return self.planned - self.not_run

    @property
    def share(self) -> str:
        """Passes of planned cells, in percent."""
        return f"{100 * self.counts['pass'] / self.planned:.1f}%" if self.planned else "–"


@dataclass(frozen=True, slots=True)
class Measured:
    """Where some of the cells on a page come from."""

    mark: str
    run: str
    started: str
    backend: str
    cells: int
    info: BackendInfo
    harness: str


def sections(results: Results, sources: list[Measured]) -> list[Section]:
    """Rows by section, in page order; rows sort naturally (8 before 16)."""
    order = list(dict.fromkeys(title for run in _newest_first(results) for title in run.sections))
    judged = {cell.cell: cell for cell in results.judged}
    rows: dict[str, dict[str, dict[str, Judged | None]]] = {}
    for plan in results.planned.values():
        rows.setdefault(plan.section, {}).setdefault(plan.row, {})[plan.backend] = judged.get(plan.cell)
    known = [title for title in order if title in rows]
    known += sorted(set(rows) - set(known))
    footnotes = marks(sources)
    absent = {(source.run, source.backend) for source in sources if source.info.unavailable}
    stale = results.stale
    return [
        Section(
            title,
            [
                _row(name, cells, footnotes, absent, stale)
                for name, cells in sorted(rows[title].items(), key=lambda item: natural(item[0]))
            ],
        )
        for title in known
    ]


def _row(
    name: str,
    cells: dict[str, Judged | None],
    footnotes: dict[tuple[str, str], str],
    absent: set[tuple[str, str]],
    stale: set[str],
) -> Row:
    symbols, notes = [], []
    for backend in COLUMNS:
        if backend not in cells:
            symbols.append(NOT_PLANNED)
            continue
        cell = cells[backend]
        if cell is None:
            symbols.append(Outcome.NOT_RUN.symbol)
            notes.append(f"{backend}: planned, not measured: the run was interrupted")
            continue
        mark = STALE if cell.cell in stale else ""
        symbols.append(symbol(cell) + mark + footnotes.get((cell.run, backend), ""))
        if (cell.run, backend) in absent:
            notes.append(f"{backend}: {cell.cause.value}")  # the reason stands once, where the runs are listed
        elif cell.verdict is not Outcome.PASS:
            notes.append(_cut(f"{backend}: {cell.cause.value}: {cell.reason}"))
        elif cell.note or cell.rejected_by_validation:
            refused = ["works, though our own validation refuses it"] if cell.rejected_by_validation else []
            notes.append(_cut(f"{backend}: {'; '.join([*filter(None, [cell.note]), *refused])}"))
    return Row(name, symbols, "; ".join(notes))


def summaries(results: Results) -> list[Summary]:
    """Counts for each backend that has planned cells, in page order."""
    planned = Counter(plan.backend for plan in results.planned.values())
    unmeasured = Counter(plan.backend for plan in results.unmeasured)
    old = results.stale
    stale = Counter(cell.backend for cell in results.origins if cell.cell in old)
    found = []
    for backend in COLUMNS:
        if planned[backend]:
            counts = {outcome.value: count for outcome, count in results.counts(backend).items()}
            behaviour = sum(c.backend == backend and c.level == "behaviour" for c in results.judged)
            causes = _not_run(results, backend, unmeasured[backend])
            found.append(
                Summary(backend, planned[backend], counts, behaviour, unmeasured[backend], causes, stale[backend])
            )
    return found


def _not_run(results: Results, backend: str, unmeasured: int) -> dict[str, int]:
    found = Counter(
        cell.cause.value for cell in results.judged if cell.backend == backend and cell.verdict is Outcome.NOT_RUN
    )
    found += Counter({"interrupted": unmeasured})
    return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))


def measured(results: Table[Any]) -> list[Measured]:
    """The runs that the cells come from, newest first, one entry a backend and run."""
    counts = Counter((cell.run, cell.backend) for cell in results.origins if cell.cell in results.planned)
    found: list[Measured] = []
    for run in _newest_first(results):
        for backend in COLUMNS:
            if counts[run.run, backend]:
                info, made_by = run.backends[backend], f"paramatrix {run.harness.version}"
                if run.harness.commit:
                    made_by += (
                        f" ({run.harness.commit[:12]}{'+dirty' if run.harness.commit.endswith('+dirty') else ''})"
                    )
                found.append(
                    Measured(
                        _letters(len(found)), run.run, run.started, backend, counts[run.run, backend], info, made_by
                    )
                )
    return found


def _letters(index: int) -> str:
    """Turn 0, 1, … into a, b, …, z, aa, ab, …."""
    before, last = divmod(index, 26)
    return (_letters(before - 1) if before else "") + chr(ord("a") + last)


def marks(sources: list[Measured]) -> dict[tuple[str, str], str]:
    """Footnote marks for cells measured under other circumstances than most of their column."""
    found: dict[tuple[str, str], str] = {}
    for backend in COLUMNS:
        own = [source for source in sources if source.backend == backend]
        if own:
            main = max(own, key=lambda source: source.cells)
            found |= {(s.run, backend): f" ({s.mark})" for s in own if s.info != main.info}
    return found


def _newest_first(results: Table[Any]) -> list[RunRecord]:
    return sorted(results.runs.values(), key=lambda run: (run.started, run.run), reverse=True)


def _cut(text: str) -> str:
    return text if len(text) <= _NOTE_LIMIT else text[: _NOTE_LIMIT - 1] + "…"


_MARKUP = re.compile(r"([\\`*{}\[\]<>|~$&#!]|(?<![^\W_])_|_(?![^\W_]))")
"""What Markdown might read as more than text. An underscore inside a word is always plain."""
_PLAIN_CODE = re.compile(r"[\w .,:;=+*/@^()\[\]{}\"'<>~!?%&#$-]*")


_UNSEEN = re.compile("[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""Control characters, and those that change the direction of what follows."""


def visible(line: str) -> str:
    """A line, with what cannot be seen made visible."""
    return _UNSEEN.sub("\ufffd", line)


def flat(value: object) -> str:
    """On one line, with what cannot be seen made visible."""
    return visible(" ".join(str(value).split()))


def text(value: object) -> str:
    """Any text as Markdown that shows just that text, on one line and inside a table."""
    return _MARKUP.sub(r"\\\1", flat(value))


def code(value: object) -> str:
    """Any text as inline code, safe inside a table."""
    line = flat(value)
    if line and _PLAIN_CODE.fullmatch(line):
        return f"`{line}`"
    escaped = html.escape(line, quote=False)
    for character in "\\`*_|[]~$":
        escaped = escaped.replace(character, f"&#{ord(character)};")
    return f"<code>{escaped}</code>"


def render(results: Results, templates: Path, advice: Sequence[Advice] = ()) -> str:
    """The page of the matrix.

    Args:
        results: what it shows.
        templates: the folder of its template.
        advice: which backend is recommended for what.

    Raises:
        ReportError: the template is missing or wrong.
    """
    sources = measured(results)
    return fill(
        templates,
        PAGE,
        columns=COLUMNS,
        summaries=summaries(results),
        sections=sections(results, sources),
        measured=sources,
        marked=set(marks(sources).values()),
        latest=results.latest,
        advice=advice,
    )


def fill(templates: Path, page: str, **names: object) -> str:
    """A page's template, filled with `names`.

    Raises:
        ReportError: the template is missing or wrong.
    """
    try:
        return _environment(templates).get_template(f"{page}.j2").render(**names)
    except TemplateError as error:
        raise ReportError(f"{templates / page}.j2: {type(error).__name__}: {error}") from error


@functools.cache
def _environment(templates: Path) -> Environment:
    """Of the templates in a folder: each is read once, and again when it changes."""
    environment = Environment(
        loader=FileSystemLoader(templates),
        undefined=StrictUndefined,
        # Markdown has its own escaping: `text` and `code`
        autoescape=select_autoescape(enabled_extensions=("svg.j2",), default=False),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"text": text, "code": code, "flat": flat}
    return environment


def save(content: str, target: Path) -> Path:
    """Write a page; its path.

    Raises:
        ReportError: the folder cannot be written.
    """
    return save_parts([content], target)


def save_parts(parts: Iterable[str], target: Path) -> Path:
    """Write a page that is told part by part; its path.

    Raises:
        ReportError: the folder cannot be written.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        store.replace_by(target, (part.encode() for part in parts))
    except store.StoreError as error:
        raise ReportError(f"{error} Choose another folder with --out.") from None
    except OSError as error:
        raise ReportError(f"{target}: cannot be written: {error.strerror}. Choose another folder with --out.") from None
    return target
