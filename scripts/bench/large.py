"""What the harness does besides measuring, for 10 000 cells: planning, collecting, merging, rendering, running."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from itertools import cycle
from pathlib import Path
from typing import Any, Final

from bench import commands, pretend
from bench.simulated import MANY
from harness import store
from harness.columns import plan_cells
from harness.project import Project, find
from harness.provenance import new_run_id
from harness.shards import planfile
from harness.shards.split import split

HEADINGS: Final = ("step", "cells", "wall s", "peak MiB")
SHARDS: Final = 8
PAGES: Final = """
import sys, time
from pathlib import Path
from harness import claims, pages, store
from harness.project import find
project = find()
results, known = store.read(Path("all.jsonl")), claims.read(project.reports / claims.FILE)
began = time.perf_counter()
pages.render(project.matrix(), results, known, project.templates)
print(time.perf_counter() - began)
"""


def measure(real: Project, folder: Path) -> Iterator[list[str]]:
    """One row for each step.

    Args:
        real: the project whose results the records are made from, so that they are as long as real ones.
        folder: for the project of 10 000 cells.

    Raises:
        RunFailedError: a step failed.
    """
    root = pretend.make(folder / "large", "LARGE", MANY, "bench.wordy")
    cli = ["-m", "harness.cli"]
    planned = commands.run([*cli, "plan"], root)
    (root / "plan.jsonl").write_text(planned.out)
    plan = planfile.read(root / "plan.jsonl")
    count = str(plan.header.cells)
    yield _row("plan", count, planned)
    collect = ["-m", "pytest", "--collect-only", "-q", "test_cells.py"]
    yield _row("collect (`pytest --collect-only`)", count, commands.run(collect, root))
    shards = [root / f"shard-{index}.jsonl" for index in range(1, SHARDS + 1)]
    _fill(plan, shards, find(root), store.read(real.results))
    size = sum(path.stat().st_size for path in shards) / 2**20
    names = [path.name for path in shards]
    merging = [*cli, "merge", *names, "--plan", "plan.jsonl", "--out", "all.jsonl"]
    yield _row(f"merge {SHARDS} shards, {size:.0f} MiB", count, commands.run(merging, root, codes=(0, 3)))
    told = commands.run(["-c", PAGES], root)
    yield ["render both pages, the results read", count, f"{float(told.out):.1f}", f"{told.peak_mib:.0f}"]
    report = [*cli, "report", "--results", "all.jsonl", "--out", "pages"]
    yield _row("`paramatrix report`, matrix.html too", count, commands.run(report, root))


def running(folder: Path) -> Iterator[list[str]]:
    """A run of them with engines that do nothing, and once more with two slots.

    Args:
        folder: for the project of 10 000 cells.

    Raises:
        RunFailedError: a run failed.
    """
    root = pretend.make(folder / "large", "LARGE", MANY, "bench.wordy")
    run = ["-m", "harness.cli", "run", "--backends", ",".join(MANY), "--out", "run.jsonl", "--pages", "run"]
    ran = commands.run(run, root, without=pretend.HOST.name)
    count = str(sum('"record":"cell"' in line for line in (root / "run.jsonl").read_text().splitlines()))
    yield _row("one slot, and the pages", count, ran)
    again = commands.run([*run, "--workers", "2"], root, without=pretend.HOST.name)
    yield _row("the same again with two slots: all re-used", count, again)


def _row(step: str, count: str, ran: commands.Ran) -> list[str]:
    return [step, count, f"{ran.wall_s:.1f}", f"{ran.peak_mib:.0f}"]


def _fill(plan: planfile.PlanFile, files: list[Path], project: Project, real: store.Results) -> None:
    """Each shard's results: records of real cells under the planned cells' names."""
    cells = {cell.id: cell for cell in plan_cells(project, None, None)}
    patterns = cycle([record.model_dump(mode="json") for record in real.measured])
    header = next(iter(real.runs.values())).model_dump(mode="json")
    described: Mapping[str, Any] = dict.fromkeys(MANY, next(iter(header["backends"].values())))
    for index, (file, own) in enumerate(zip(files, split(plan.cells, len(files)), strict=True), start=1):
        run = f"{new_run_id()}-{index}"
        mine = [cells[entry.cell] for entry in own]
        rows = [{"cell": c.id, "backend": c.backend, "row": c.row, "section": c.section} for c in mine]
        shard = {"plan": plan.header.id, "index": index, "of": len(files)}
        about = {"run": run, "narrowed": True, "backends": described, "planned": rows, "shard": shard}
        lines = [header | about | {"sections": ["Core", "Decoder"], "fingerprints": {}}]
        for cell in mine:
            named = {"cell": cell.id, "backend": cell.backend, "parameter": cell.parameter, "value": cell.value}
            lines.append(next(patterns) | named | {"run": run, "section": cell.section, "fingerprint": None})
        file.write_text(
            "".join(json.dumps(line, ensure_ascii=False, separators=(",", ":")) + "\n" for line in lines),
            encoding="utf-8",
        )
