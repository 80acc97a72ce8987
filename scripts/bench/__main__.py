"""Command line of the benchmark: `PYTHONPATH=scripts .venv/bin/python -m bench --help`."""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

from bench import large, page, scaling, sides, simulated
from bench.commands import ROOT
from bench.page import Table
from bench.sample import COMPILING, sample
from bench.sampling import ROUNDS, WINDOW_S
from bench.sampling import compare as compare_sampling
from bench.whole import STARTS, measure, overhead, row
from harness.columns import parse_backends
from harness.energy.meters import Missing
from harness.project import Project, find


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure part by part; the exit code: 1 where a part failed, and the others are told all the same."""
    parser = argparse.ArgumentParser(prog="bench", description="What measuring costs. Reports stay as they are.")
    parser.add_argument("--backends", help="comma-separated (default: those installed)")
    parser.add_argument(
        "--part",
        action="append",
        choices=PARTS,
        help="; ".join(f"{name}: {(part.__doc__ or '').rstrip('.')}" for name, part in PARTS.items())
        + f" (default: {', '.join(USUAL)}; may be given several times)",
    )
    parser.add_argument("--cells", type=int, default=16, help="of each backend, for sample (default: 16)")
    parser.add_argument("--slots", default="1,2,4,8", help="for scaling (default: 1,2,4,8)")
    parser.add_argument("--simulated", type=int, metavar="N", help="only N simulated engines for scaling, to try it")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="Markdown page that keeps places for the parts")
    parser.add_argument("--list", action="store_true", help="only list the cells of the sample")
    options = parser.parse_args(arguments)
    project = find(ROOT)
    try:
        options.backends = parse_backends(options.backends) if options.backends else project.installed()
        options.slots = [int(text) for text in options.slots.split(",")]
    except ValueError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    if options.list:
        for backend in options.backends:
            for cell in sample(project, backend, options.cells):
                print(f"{cell.scope}\t{cell.id}")
        return 0
    failed = [name for name in options.part or USUAL if not _part(name, project, options)]
    return int(bool(failed))


def _part(name: str, project: Project, options: argparse.Namespace) -> bool:
    """Measure one part, print it and write it down; whether that went well."""
    print(f"## {name}\n", flush=True)
    try:
        about = () if name in {"scaling", "large", "running"} else options.backends
        text = f"{PARTS[name](project, options).markdown}\n\n{page.measured_on(project, about)}"
        print(f"{text}\n", flush=True)
        if options.write:
            page.write(options.write, name, text)
    except Exception as error:  # noqa: BLE001 - an hour of other parts is not lost for one
        traceback.print_exc()
        print(f"bench: {name}: {type(error).__name__}: {error}", file=sys.stderr)
        return False
    return True


def compare(project: Project, options: argparse.Namespace) -> Table:
    """The same cells in one process per case, and by `paramatrix run`: cold, on two slots, and warm."""
    rows: list[list[str]] = []
    notes: list[str] = []
    for backend in options.backends:
        cells, ways = sample(project, backend, options.cells), sides.Sides(project, backend)
        if not cells:
            continue
        ways.prepare(cells)
        with tempfile.TemporaryDirectory() as folder:
            apart = ways.one_process_per_case(cells)
            print(" | ".join(apart.row), flush=True)
            results = Path(folder) / "results.jsonl"
            cold = ways.ours("ours, cold", cells, results)
            print(" | ".join(cold.row), flush=True)
            slots = ways.ours("ours, cold, two slots", cells, results.with_stem("slots"), "2")
            print(" | ".join(slots.row), flush=True)
            warm = ways.ours("ours, warm", cells, results)
            print(" | ".join(warm.row), flush=True)
        rows += [apart.row, cold.row, slots.row, warm.row]
        times = ", ".join(f"{cost.per_minute / apart.per_minute:.1f} ({cost.name})" for cost in (cold, slots, warm))
        notes.append(f"Cells a minute, times those of one process per case: {times}.")
        notes += [
            f"Judged differently: {text}."
            for text in (*sides.differing(apart, cold), *sides.differing(cold, slots), *sides.differing(cold, warm))
        ]
    return Table(sides.HEADINGS, rows, notes)


def scaled(project: Project, options: argparse.Namespace) -> Table:
    """1, 2, 4 and 8 slots with simulated engines, which sleep and need no core."""
    del project
    with tempfile.TemporaryDirectory() as folder:
        rows = list(_told(scaling.measure(options.slots, Path(folder), options.simulated)))
    note = (
        f"Simulated: an engine is loaded by sleeping {min(simulated.LOADS_S):g} to {max(simulated.LOADS_S):g} s, and "
        f"generates by sleeping {simulated.GENERATE_S:g} s."
    )
    return Table(scaling.HEADINGS, rows, [note])


def many(project: Project, options: argparse.Namespace) -> Table:
    """Planning, collecting, merging and reporting 10 000 cells."""
    del options
    with tempfile.TemporaryDirectory() as folder:
        return Table(large.HEADINGS, list(_told(large.measure(project, Path(folder)))))


def running(project: Project, options: argparse.Namespace) -> Table:
    """Running 10 000 cells whose engines do nothing."""
    del project, options
    with tempfile.TemporaryDirectory() as folder:
        return Table(large.HEADINGS, list(_told(large.running(Path(folder)))))


def _told(rows: Iterable[list[str]]) -> Iterator[list[str]]:
    """Rows as they come: a later one may fail."""
    for one in rows:
        print(" | ".join(one), flush=True)
        yield one


def sampled(project: Project, options: argparse.Namespace) -> Table:
    """What meters cost the work beside them."""
    headings = ("backend", "tokens/s with", "tokens/s without", "difference", "95% interval", "sampler, % of a core")
    rows, notes = [], [f"{ROUNDS} rounds of two windows of {WINDOW_S:g} s."]
    for backend in options.backends:
        found = compare_sampling(project, backend)
        with_, without = (statistics.fmean(rates) for rates in zip(*found.rounds, strict=True))
        shown = found.difference
        difference, interval = "–", "–"
        if not isinstance(shown, Missing) and not isinstance(shown.interval, Missing):
            difference = f"{shown.value:+.2%}"
            interval = f"{shown.interval.low:+.2%} to {shown.interval.high:+.2%}"
        rows.append([backend, f"{with_:.1f}", f"{without:.1f}", difference, interval, f"{100 * found.cpu_share:.2f}"])
        notes.append(f"{backend}: sampled {found.meters}.")
    return Table(headings, rows, notes)


def whole(project: Project, options: argparse.Namespace) -> Table:
    """All cells, those apart that compile or start several processes."""
    headings = ("cells", "number", "engines", "import s", "load s", "generate s", "upstream s", "wall s", "share")
    rows, notes = [], []
    with tempfile.TemporaryDirectory() as folder:
        for backend in options.backends:
            slow = COMPILING.get(backend)
            parts = {"quick": f"not ({slow})", "compiling, multi-process": slow} if slow else {"all": "test_cell"}
            for name, expression in parts.items():
                wall, cells = measure(project, backend, expression, Path(folder) / backend / name)
                rows.append(row(f"{backend}, {name}", wall, cells))
                print(" | ".join(rows[-1]), flush=True)
    for backend in options.backends:
        extra = overhead(project, backend)
        notes.append(
            f"{backend}: an engine start costs {extra:.3f} s beyond upstream's own load calls (median of {STARTS})."
        )
    return Table(headings, rows, notes)


PARTS: Final[dict[str, Callable[[Project, argparse.Namespace], Table]]] = {
    "sample": compare,
    "scaling": scaled,
    "large": many,
    "running": running,
    "sampling": sampled,
    "matrix": whole,
}
USUAL: Final = ("sample", "scaling", "large")
"""The others take longer than a coffee."""

if __name__ == "__main__":
    sys.exit(main())
