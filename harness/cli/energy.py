"""The command `energy`: measures what cells cost, each against its control."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import pytest
import typer

from harness import claims, pages, store
from harness.columns import plan_cells
from harness.energy.measured import FILE
from harness.project import find, parse_versions


def energy(  # noqa: PLR0917 - typer makes options of them
    backends: Annotated[str | None, typer.Option(help="Columns, comma-separated (default: those installed).")] = None,
    version: Annotated[
        list[str] | None, typer.Option("--version", help="BACKEND=VERSION: that column in its other environment.")
    ] = None,
    k: Annotated[str | None, typer.Option("-k", help="pytest -k expression over cell ids.")] = None,
    cell: Annotated[list[str] | None, typer.Option(help="Exact cell id; may be given several times.")] = None,
    model: Annotated[str | None, typer.Option(help="Model folder or hub id.")] = None,
    results: Annotated[
        Path | None, typer.Option(help="Results file: its ✅ are measured, and energy.jsonl is written beside it.")
    ] = None,
    budget: Annotated[
        Path | None, typer.Option(help="YAML file of limits: what it names is measured, and must keep them.")
    ] = None,
    window: Annotated[float | None, typer.Option(help="Seconds of a window (default: 10, or 100 ticks).")] = None,
    repeats: Annotated[int | None, typer.Option(help="Windows of each cell and of its control.")] = None,
    idle: Annotated[float | None, typer.Option(help="Seconds of idling with the model loaded.")] = None,
    warm_up: Annotated[float | None, typer.Option(help="Seconds after which a warm-up is given up.")] = None,
) -> None:
    """Measure energy, throughput, latency and memory of cells that passed, or of the cells named."""
    project = find().at(parse_versions(version or ()))
    target = (results or project.results).absolute()
    names = backends or ",".join(project.versions or project.installed())
    if not names:
        raise ValueError("no backend is installed. `make setup` installs those that can run on this machine.")
    if model and Path(model).expanduser().exists():
        model = str(Path(model).expanduser().absolute())
    planned = {planned.id for planned in plan_cells(project, names, model)}
    if unknown := [name for name in cell or () if name not in planned]:
        raise ValueError(
            f"no cell is called {', '.join(unknown)}. `paramatrix cases` lists the {len(planned)} planned cells."
        )
    options = {"window": window, "repeats": repeats, "idle": idle, "warm-up": warm_up}
    limits = budget.absolute() if budget else None
    os.chdir(project.root)
    nodes = [f"{project.cases}::test_cell[{name}]" for name in cell or ()]
    code = pytest.main(
        [
            *(nodes or [project.cases]),
            *("-q", "--no-header", "-rf", "-p", "no:warnings", "-p", "no:hypothesispytest", "--matrix-progress"),
            f"--energy-budget={limits}" if limits else "--energy",
            f"--matrix-backends={names}",
            *(f"--matrix-version={text}" for text in version or ()),
            f"--matrix-results={target}",
            *([f"--matrix-model={model}"] if model else []),
            *(f"--energy-{name}={value}" for name, value in options.items() if value is not None),
            *(["-k", k] if k else []),
        ]
    )
    if code == pytest.ExitCode.NO_TESTS_COLLECTED:
        raise ValueError(
            f"nothing to measure: of the {len(planned)} planned cells none is ✅ in {target} and matches. "
            "Name cells with --cell to measure them whatever their verdict."
        )
    if code in {pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED}:
        typer.echo(f"measured: {target.with_name(FILE)}")
        judged = store.read(target) if target.exists() else store.Results()
        for page in pages.write(
            project.matrix(),
            judged,
            claims.read(project.reports / claims.FILE),
            project.templates,
            target.parent,
            costs=pages.measurements(target),
        ):
            typer.echo(f"page:     {page}")
    raise typer.Exit(int(code))
