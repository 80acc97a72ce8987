"""Command line of the benchmark: `PYTHONPATH=scripts .venv/bin/python -m bench --help`."""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.sample import UnknownCellError, sample
from bench.sampling import ROUNDS, WINDOW_S, SamplingError
from bench.sampling import compare as compare_sampling
from bench.sides import Cost, Sides, differing
from bench.whole import COMPILING, STARTS, RunFailedError, measure, overhead, row
from harness.columns import parse_backends
from harness.energy.meters import Missing
from harness.host import HostUnavailable
from harness.project import Project, find

ROOT = Path(__file__).resolve().parent.parent.parent
PARTS = ("sample", "sampling", "matrix")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; the exit code."""
    parser = argparse.ArgumentParser(prog="bench", description="What measuring costs. Reports stay as they are.")
    parser.add_argument("--backends", help="comma-separated (default: those installed)")
    parser.add_argument(
        "--part",
        choices=PARTS,
        help="sample: two ways of running it; sampling: what meters cost; matrix: all cells (default: all of them)",
    )
    parser.add_argument("--list", action="store_true", help="only list the cells of the sample")
    options = parser.parse_args(arguments)
    project = find(ROOT)
    try:
        backends = parse_backends(options.backends) if options.backends else project.installed()
        if options.list:
            for backend in backends:
                for cell in sample(project, backend):
                    print(f"{cell.scope}\t{cell.id}")
            return 0
        console = Console(width=120)
        if options.part in {None, "sample"}:
            compare(project, backends, console)
        if options.part in {None, "sampling"}:
            sampled(project, backends, console)
        if options.part in {None, "matrix"}:
            whole(project, backends, console)
        for backend in backends:
            console.print(json.dumps(machine(project, backend)), soft_wrap=True)
    except (HostUnavailable, RunFailedError, SamplingError, UnknownCellError, ValueError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    return 0


def compare(project: Project, backends: Sequence[str], console: Console) -> None:
    """One process per case against one host for all, on the sample of each backend."""
    table = _table(
        "the same cells, run in two ways (seconds)",
        ("cells", "hosts", "engines", "import", "in upstream calls", "wall", "cells/min", "upstream share"),
    )
    apart: list[str] = []
    for backend in backends:
        cells, sides = sample(project, backend), Sides(project, backend)
        if not cells:
            continue
        sides.prepare(cells)
        costs = sides.one_process_per_case(cells), sides.one_host(cells)
        for cost in costs:
            table.add_row(*_line(cost))
        apart += differing(*costs)
    console.print(table)
    console.print("import: starting the interpreter and importing the library. upstream share: it and upstream calls.")
    for text in apart:
        console.print(f"judged differently: {text}", soft_wrap=True)


def _line(cost: Cost) -> list[str]:
    counts = [str(count) for count in (cost.cells, cost.hosts, cost.engines)]
    seconds = [f"{value:.1f}" for value in (cost.import_s, cost.upstream_s, cost.wall_s, cost.per_minute)]
    return [cost.name, *counts, *seconds, f"{100 * cost.share:.0f}%"]


def sampled(project: Project, backends: Sequence[str], console: Console) -> None:
    """Throughput with and without a sampler beside the work."""
    headings = ("tokens/s with", "tokens/s without", "difference", "95% interval", "sampler, % of a core")
    table = _table(f"sampling, {ROUNDS} rounds of two windows of {WINDOW_S:g} s", headings)
    for backend in backends:
        found = compare_sampling(project, backend)
        with_, without = (statistics.fmean(rates) for rates in zip(*found.rounds, strict=True))
        shown = found.difference
        difference, interval = "–", "–"
        if not isinstance(shown, Missing) and not isinstance(shown.interval, Missing):
            difference = f"{shown.value:+.2%}"
            interval = f"{shown.interval.low:+.2%} to {shown.interval.high:+.2%}"
        table.add_row(backend, f"{with_:.1f}", f"{without:.1f}", difference, interval, f"{100 * found.cpu_share:.2f}")
        console.print(f"{backend}: sampled {found.meters}", soft_wrap=True)
    console.print(table)


def whole(project: Project, backends: Sequence[str], console: Console) -> None:
    """All cells, those apart that compile or start several processes."""
    table = _table(
        "all cells (seconds)",
        ("cells", "engines", "import", "load", "generate", "in upstream calls", "wall", "upstream share"),
    )
    with tempfile.TemporaryDirectory() as folder:
        for backend in backends:
            slow = COMPILING.get(backend)
            parts = {"quick": f"not ({slow})", "compiling, multi-process": slow} if slow else {"all": "test_cell"}
            for name, expression in parts.items():
                wall, cells = measure(project, backend, expression, Path(folder) / backend / name)
                table.add_row(*row(f"{backend}: {name}", wall, cells))
    console.print(table)
    for backend in backends:
        extra = overhead(project, backend)
        console.print(
            f"{backend}: an engine start costs {extra:.3f} s beyond upstream's own load calls (median of {STARTS})",
            soft_wrap=True,
        )


def _table(title: str, headings: Sequence[str]) -> Table:
    table = Table("run", title=title)
    for heading in headings:
        table.add_column(heading, justify="right")
    return table


def machine(project: Project, backend: str) -> dict[str, object]:
    """Where this was measured."""
    snapshot = project.launcher(backend).describe(backend)
    return {key: snapshot[key] for key in ("cpu", "cpus", "python", "packages")}


if __name__ == "__main__":
    sys.exit(main())
