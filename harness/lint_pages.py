"""Contradictions of pages: with the results they are made of, within themselves, and with each other."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import zip_longest
from pathlib import Path

from harness import combinations, pages, report, signs
from harness.claims import Claims
from harness.declare import Matrix
from harness.energy.measured import Measurements
from harness.pagereader import Page, Table
from harness.store import Results
from harness.verdict import Outcome

SYMBOLS = ("✅ˢ", *(outcome.symbol for outcome in Outcome))
_SYMBOL = re.compile("|".join(SYMBOLS))
_NAMED = re.compile(rf"({_SYMBOL.pattern}) $")
"""The symbol right before the name of a cell."""
_RESOLVED = re.compile(r"^## Resolved differently\n.*?(?=^## |\Z)", re.MULTILINE | re.DOTALL)
_COUNTED = re.compile(r"- (?:Differ only in what was resolved|Unchanged): ")
"""What a comparison shows less of, where it was told what varies by nature."""
_SUMMARY = re.compile(
    r"<strong_open>(?P<backend>\w+)<strong_close>: (?P<passed>\d+)/(?P<planned>\d+) \((?P<share>[\d.]+)%\) "
    r"\[judged: (?P<judged>\d+), failed: (?P<failed>\d+), uncertain: (?P<uncertain>\d+), not run: (?P<not_run>\d+)\]"
)
_FEATURES, _BEHIND = "Backend Capability Matrix", "Cells behind the symbols"
_LIMITS, _UNFORESEEN = "Runtime Limitations", "Accepted by validation, fails at runtime"


def check(
    matrix: Matrix,
    results: Results,
    claims: Claims,
    committed: Mapping[str, str],
    templates: Path,
    *,
    costs: Measurements | None = None,
) -> Iterator[str]:
    """Yield every contradiction, one line each.

    Raises:
        ReportError: a template is missing or wrong.
    """
    for name, fresh in pages.render(matrix, results, claims, templates, costs).items():
        yield from stale(name, committed.get(name), fresh)
    if {report.PAGE, combinations.PAGE} <= set(committed):
        support, invalid = Page(committed[report.PAGE]), Page(committed[combinations.PAGE])
        yield from _support(support)
        yield from _invalid(invalid)
        yield from _between(matrix, _symbols(support), invalid)


def stale(name: str, committed: str | None, fresh: str) -> Iterator[str]:
    """Yield how a committed page differs from what its results render to now."""
    mend = "`paramatrix report` renders it again."
    if committed is None:
        yield f"{name}: there is no such page. {mend}"
    elif committed != fresh:
        lines = enumerate(zip_longest(committed.splitlines(), fresh.splitlines(), fillvalue=""), 1)
        differs = "is not what its results render to"
        for number, (was, now) in lines:
            if was != now:
                yield f"{name}:{number}: {differs}: has {_cut(was)!r}, expected {_cut(now)!r}. {mend}"
                return
        yield f"{name}: {differs}: its line ends differ. {mend}"


def stale_comparison(name: str, committed: str, fresh: str) -> Iterator[str]:
    """The same for a page of `paramatrix diff`: given `--repeat`, it leaves out what varies by nature."""
    varies = _RESOLVED.search(fresh)
    known, optional = fresh.splitlines(), varies.group().splitlines() if varies else []
    old, mend = committed.splitlines(), "`paramatrix diff` renders it again."
    for number, line in enumerate(old, 1):
        if line not in known and not _COUNTED.match(line):
            yield f"{name}:{number}: has {_cut(line)!r}, which is not what its results render to. {mend}"
            return
    for line in known:
        if line not in old and line not in optional and not _COUNTED.match(line):
            yield f"{name}: lacks {_cut(line)!r}, which its results render to. {mend}"
            return


def _cut(line: str) -> str:
    return line if len(line) <= 120 else f"{line[:119]}…"


def _rows(page: Page) -> Iterator[tuple[str, list[str]]]:
    """Section and row of the tables that have a column for each backend."""
    columns = list(signs.COLUMNS.values())
    for heading, table in page.tables.items():
        if table and table[0] == ["Parameter", *columns, "Notes"]:
            for row in table[1:]:
                yield heading, row


def _symbols(page: Page) -> dict[str, str]:
    """Cell id to the symbol that the page of the matrix shows for it."""
    found = {}
    for _, row in _rows(page):
        for backend, shown in zip(signs.COLUMNS, row[1:], strict=False):
            if symbol := _symbol(shown):
                found[f"{backend}-{row[0]}"] = symbol
    return found


def _symbol(text: str) -> str:
    """The symbol that a text begins with, or nothing."""
    found = _SYMBOL.match(text)
    return found.group() if found else ""


def _support(page: Page) -> Iterator[str]:
    """Check the page of the matrix: each row once, and counts that are those of its symbols."""
    rows = list(_rows(page))
    for name, count in Counter(row[0] for _, row in rows).items():
        if count > 1:
            yield f"{report.PAGE}: row {name} stands there {count} times"
    summaries = {found["backend"].lower(): found for item in page.items if (found := _SUMMARY.match(item))}
    for column, backend in enumerate(signs.COLUMNS, 1):
        shown = Counter(_symbol(row[column]) for _, row in rows if row[column] != signs.NOT_PLANNED)
        for text in {row[column] for _, row in rows if row[column] != signs.NOT_PLANNED and not _symbol(row[column])}:
            yield f"{report.PAGE}: {text!r} in the column of {backend} is no symbol of the legend"
        if (backend in summaries) != bool(shown):
            there = "has a summary and no cells" if backend in summaries else "has cells and no summary"
            yield f"{report.PAGE}: {backend} {there}"
        elif shown:
            yield from _counts(backend, summaries[backend], shown)


def _counts(backend: str, summary: re.Match[str], shown: Counter[str]) -> Iterator[str]:
    says = {name: int(summary[name]) for name in ("planned", "passed", "judged", "failed", "uncertain", "not_run")}
    passed, failed = shown["✅"] + shown["✅ˢ"], shown[Outcome.FAIL.symbol]
    uncertain, not_run = shown[Outcome.UNCERTAIN.symbol], shown[Outcome.NOT_RUN.symbol]
    counted = {
        "planned": sum(shown.values()),
        "passed": passed,
        "judged": passed + failed + uncertain,
        "failed": failed,
        "uncertain": uncertain,
        "not_run": not_run,
    }
    for name, count in says.items():
        if count != counted[name]:
            yield f"{report.PAGE}: the summary of {backend} says {name} {count}, its table shows {counted[name]}"
    if says["planned"] and f"{100 * says['passed'] / says['planned']:.1f}" != summary["share"]:
        yield f"{report.PAGE}: the summary of {backend} says {summary['share']}% of {says['passed']}/{says['planned']}"


def _invalid(page: Page) -> Iterator[str]:
    """Check the page of invalid combinations: nothing twice, and symbols that are those of their cells."""
    errors, warnings = page.tables.get("Config Validation Errors", []), page.tables.get("Warnings", [])
    for what, rows in (
        ("rule", [tuple(row[:2]) for row in [*errors[1:], *warnings[1:]]]),
        ("limitation", [tuple(row[:2]) for row in page.tables.get(_LIMITS, [])[1:]]),
        ("feature", [(row[0],) for row in page.tables.get(_FEATURES, [])[1:]]),
    ):
        for name, count in Counter(rows).items():
            if count > 1:
                yield f"{combinations.PAGE}: the {what} {': '.join(name)} stands there {count} times"
    behind: dict[tuple[str, str], str] = {(row[0], row[1]): row[2] for row in page.tables.get(_BEHIND, [])[1:]}
    for feature, *shown in page.tables.get(_FEATURES, [])[1:]:
        for heading, text in zip(signs.COLUMNS.values(), shown, strict=False):
            cells = Counter(_SYMBOL.findall(behind.get((feature, heading), "")))
            if problem := _ability(text, cells):
                yield f"{combinations.PAGE}: {feature} on {heading} is {_symbol(text) or 'declared'}, {problem}"


def _ability(text: str, cells: Counter[str]) -> str:
    """What is wrong with an ability's symbol, seen beside its cells."""
    symbol, judged = _symbol(text), {shown[0] for shown in cells} - {Outcome.NOT_RUN.symbol}
    if not symbol:
        return f"and cells of it were judged: {' '.join(cells)}" if judged else ""
    if not judged:
        return "and no cell of it was judged"
    if symbol == Outcome.UNCERTAIN.symbol:
        alone = judged & {Outcome.PASS.symbol, Outcome.FAIL.symbol}
        return f"and all its cells are {' '.join(judged)}" if len(judged) == 1 and alone else ""
    return "" if judged == {symbol[0]} else f"and its cells are {' '.join(cells)}"


def _between(matrix: Matrix, symbols: Mapping[str, str], invalid: Page) -> Iterator[str]:
    """Check that a cell is one and the same on both pages."""
    for heading, before, cell in invalid.codes:
        named = _NAMED.search(before)
        if named and symbols.get(cell) != named[1]:
            there = symbols.get(cell, "not there")
            yield f"{combinations.PAGE}: {cell} is {named[1]} below {heading!r}; on {report.PAGE} it is {there}"
    for backend, row, *_ in _table(invalid, _UNFORESEEN):
        if symbols.get(f"{backend}-{row}") != Outcome.FAIL.symbol:
            there = symbols.get(f"{backend}-{row}", "not there")
            yield f"{combinations.PAGE}: {backend}-{row} fails at runtime; on {report.PAGE} it is {there}"
    limits = {(limit.backend, limit.parameter): limit.cells for limit in matrix.limitations}
    for backend, parameter, _, _, source in _table(invalid, _LIMITS):
        for cell in limits.get((backend, parameter), ()) if source == combinations.DECLARED else ():
            if symbols.get(cell, "")[:1] in {Outcome.PASS.symbol, Outcome.FAIL.symbol}:
                yield (
                    f"{combinations.PAGE}: {parameter} of {backend} is a limitation {combinations.DECLARED}; "
                    f"on {report.PAGE} {cell} is {symbols[cell]}"
                )


def _table(page: Page, heading: str) -> Table:
    return page.tables.get(heading, [])[1:]
