"""The command `diff`: what changed between two results files."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from harness import report, store
from harness.diff import Difference, DiffError, State, difference, render
from harness.project import find


def diff(
    before: Annotated[Path, typer.Argument(help="The older results: a file, or the folder of a results.jsonl.")],
    after: Annotated[Path, typer.Argument(help="The newer results.")],
    repeat: Annotated[
        Path | None,
        typer.Option(help="Another run of one side's version: what it read back differently varies by nature."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Everything, uncut, as JSON.")] = False,
    out: Annotated[Path | None, typer.Option(help="Write the page to this Markdown file.")] = None,
) -> None:
    """Cells whose verdict, cause, evidence level or resolved value changed, and cells that came or went."""
    again = _read(repeat) if repeat else None
    if again is not None and not again.runs:
        raise DiffError(f"{repeat}: no run is recorded in it")
    found = difference(_read(before), _read(after), repeat=again)
    if out:
        page = report.save(render(found, find().templates), out)
        typer.echo(f"page: {page}", err=as_json)
    if as_json:
        typer.echo(json.dumps(found.to_json(), indent=1, ensure_ascii=False))
    elif not out:
        typer.echo("\n".join(_lines(found)))


def _read(source: Path) -> store.Results:
    return store.read(source / "results.jsonl" if source.is_dir() else source)


def _lines(found: Difference) -> Iterator[str]:
    for fact in [*found.packages, *found.circumstances]:
        yield f"{fact.name}: {fact.before} → {fact.after}"
    for change in found.judged:
        yield f"{change.cell}: {_text(change.before)} → {_text(change.after)}"
    for value in found.everywhere():
        yield f"resolved {value.path}: {value.before} → {value.after} ({value.cells})"
    for title, cells in (("appeared", found.appeared), ("vanished", found.vanished)):
        for cell in cells:
            yield f"{title}: {cell.cell}: {_text(cell.state)}"
    yield (
        f"{found.both} cells in both: {len(found.judged)} judged differently, "
        f"{len(found.changed) - len(found.judged)} differ only in what was resolved, {found.unchanged} unchanged; "
        f"{len(found.appeared)} appeared, {len(found.vanished)} vanished"
        + (f"; stale (†): {found.stale[0]} before, {found.stale[1]} after" if any(found.stale) else "")
        + (f"; not compared: {', '.join(found.left_out)}" if found.left_out else "")
    )


def _text(state: State) -> str:
    return f"{state.symbol} {state.cause or state.reason}"
