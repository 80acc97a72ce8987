"""The command `validate`: config files by the rules, files of results by their schema."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated, Any

import typer

from harness import store
from harness.config.files import validate_files
from harness.energy.measured import Measurements


def validate(
    files: Annotated[list[str], typer.Argument(help="Config files (- is standard input); results, as *.jsonl.")],
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable output.")] = False,
    strict: Annotated[bool, typer.Option(help="Warnings are errors.")] = False,
) -> None:
    """Validate config files, or files of results: exit 0 valid, 1 invalid, 2 unreadable."""
    codes: list[int] = []
    rows: list[dict[str, Any]] = []
    for file in files:
        if _is_results(file):
            row, text = _judged(Path(file))
            code = int(row["status"] != "valid")
            rows.append(row)
        else:
            code, text = validate_files([file], strict=strict, json=as_json)
            rows += json.loads(text) if as_json else []
        codes.append(code)
        if not as_json:
            typer.echo(text, nl=False)
    if as_json:
        typer.echo(json.dumps(rows, indent=2, ensure_ascii=False))
    raise typer.Exit(max(codes))


def _is_results(file: str) -> bool:
    """Whether to read a file as results; one that cannot be read at all is told like a config."""
    return file.endswith(".jsonl") and Path(file).is_file() and os.access(file, os.R_OK)


def _judged(file: Path) -> tuple[dict[str, Any], str]:
    """What there is to say of a file of results: for machines, and for people a line a problem."""
    table: store.Table[Any] = Measurements() if _measurements(file) else store.Results()
    problems: list[str] = []
    try:
        problems += table.take_in(file)
    except store.StoreError as error:
        problems.append(str(error))
    if not problems and not table.runs:
        problems.append(f"{file}: no run is recorded in it")
    status, count = "invalid" if problems else "valid", len(problems)
    shown = (
        f"{count} problem{'s' * (count != 1)}" if problems else f"{len(table.cells)} cells of {len(table.runs)} runs"
    )
    row = {"file": str(file), "status": status, "problems": [{"what": problem} for problem in problems], "warnings": []}
    return row, "".join(f"{line}\n" for line in (*problems, f"{file}: {status} ({shown})"))


def _measurements(file: Path) -> bool:
    """Whether its cells are measurements of what they cost, not verdicts."""
    with file.open("rb") as lines:
        return any(line.startswith(b'{"record":"energy"') for line in lines)
