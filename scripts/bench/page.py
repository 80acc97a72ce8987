"""Tables of a benchmark as Markdown: printed, and put in the place that a page keeps for them."""

from __future__ import annotations

import platform
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from harness.project import Project


@dataclass(frozen=True, slots=True)
class Table:
    """A part's result."""

    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()
    """Lines below it."""

    @property
    def markdown(self) -> str:
        """The first column to the left, figures to the right."""
        lines = [self.headings, ["---", *["--:"] * (len(self.headings) - 1)], *self.rows]
        table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        return "\n\n".join([table, *map(wrapped, self.notes)])


def wrapped(text: str) -> str:
    """A paragraph in lines of at most 120 characters, as the other pages have them."""
    return textwrap.fill(text, 120, break_long_words=False, break_on_hyphens=False)


def write(page: Path, part: str, text: str) -> None:
    """Replace what stands between `<!-- part -->` and `<!-- /part -->`.

    Raises:
        ValueError: the page keeps no place for the part.
    """
    begin, end = f"<!-- {part} -->\n", f"<!-- /{part} -->"
    before, first, rest = page.read_text(encoding="utf-8").partition(begin)
    _, last, after = rest.partition(end)
    if not first or not last:
        raise ValueError(f"{page}: expected {begin.strip()} and {end}, between which the part is written")
    page.write_text(f"{before}{begin}\n{text}\n\n{end}{after}", encoding="utf-8")


def measured_on(project: Project, backends: Iterable[str]) -> str:
    """Date, machine, versions: what figures mean nothing without."""
    versions = []
    cpu, cpus, memory = platform.machine(), "?", 0
    for backend in backends:
        facts = project.launcher(backend).describe(backend)
        cpu, cpus, memory = str(facts["cpu"]), str(facts["cpus"]), int(str(facts.get("memory_bytes") or 0))
        packages = facts["packages"]
        named = [f"{k} {v}" for k, v in packages.items() if v][:2] if isinstance(packages, dict) else []
        versions.append(f"{backend}: {', '.join(named)}")
    if not versions:
        cpus, memory = str(_cores()), _memory()
    load = Path("/proc/loadavg").read_text(encoding="ascii").split()[0]
    return wrapped(
        f"Measured on {datetime.now(UTC):%Y-%m-%d} on {cpus} cores of {cpu or platform.machine()} with "
        f"{memory / 2**30:.0f} GiB, load average {load} at the end; Python {platform.python_version()}"
        + "".join(f"; {text}" for text in versions)
        + "."
    )


def _cores() -> int:
    import os

    return len(os.sched_getaffinity(0))


def _memory() -> int:
    for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
        if line.startswith("MemTotal:"):
            return int(line.split()[1]) * 1024
    return 0
