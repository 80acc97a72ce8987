"""The page of probes that decide by chance: `PYTHONPATH=. .venv/bin/python scripts/chance_page.py > docs/chance.md`."""

from __future__ import annotations

import sys

from harness.declare import Column, Parameter, Probe
from matrix import MATRIX

HEAD = """# What is decided by chance

Most effects are told without any chance: seeds are fixed, and what a token was drawn from is read from the scores
themselves where the library shows them. The probes below decide by chance. Each states its test, its sample, and how
often it errs: a false confirmation is to have a chance of 1e-4 at most, a false refusal of 1e-3.
`tests/test_probe_statistics.py` and `tests/test_drawn_statistics.py` hold them to it, exactly or by simulation.

The machine that is meant for arrivals is a busy one, on which one request in a hundred comes at least half a gap late.
What a library is like with another model is not known: there a rate that names the shipped model is none.

| parameter | columns | effect | test, sample and rates |
|---|---|---|---|
"""


def page() -> str:
    """The page, from the declarations."""
    rows: dict[tuple[str, Probe], list[str]] = {}
    for parameter in MATRIX.parameters:
        for backend, column in parameter.columns.items():
            for probe in _probes(parameter, backend, column) if isinstance(column, Column) else ():
                rows.setdefault((parameter.path, probe), []).append(backend)
    return HEAD + "".join(
        f"| `{path}` | {', '.join(columns)} | {probe.says} | {probe.statistics} |\n"
        for (path, probe), columns in rows.items()
    )


def _probes(parameter: Parameter, backend: str, column: Column) -> list[Probe]:
    """The column's probes that state statistics."""
    values = [value for value in parameter.values if value.backends is None or backend in value.backends]
    return list(dict.fromkeys(p for value in values if (p := value.probe or column.probe).statistics))


if __name__ == "__main__":
    sys.stdout.write(page())
