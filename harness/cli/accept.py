"""The command `accept`: what a run showed is what is expected from now on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Final

import typer

from harness import acceptance, expectation_files, expectations, store
from harness.acceptance import Held
from harness.backends import create
from harness.expectations import Expectations, ExpectationsError
from harness.project import Project, find, parse_versions
from harness.records import CellRecord

_SHOWN: Final = 3


def accept(  # noqa: PLR0917 - typer makes options of them
    results: Annotated[Path | None, typer.Option(help="Results file (default: reports/results.jsonl).")] = None,
    version: Annotated[
        list[str] | None, typer.Option(help="BACKEND=VERSION: the results of that column's other environment.")
    ] = None,
    cell: Annotated[list[str] | None, typer.Option(help="Only this cell; may be given several times.")] = None,
    reason: Annotated[str | None, typer.Option(help="Why it is accepted (needs --cell).")] = None,
    upstream: Annotated[str | None, typer.Option(help="Link to an upstream issue (needs --cell).")] = None,
    stale: Annotated[bool, typer.Option("--stale", help="Also verdicts whose inputs have changed since (†).")] = False,
) -> None:
    """Write the verdicts of a run into matrix/expectations/, and print what changed."""
    project = find().at(parse_versions(version or ()))
    source = results or project.results
    found = store.read(source)
    if not found.runs:
        raise ExpectationsError(f"{source}: no run is recorded in it; `make matrix` records one")
    wanted = set(cell or ())
    if (reason or upstream) and not wanted:
        raise ExpectationsError("--reason and --upstream are about a cell: name it with --cell")
    if upstream and not upstream.startswith(("http://", "https://")):
        raise ExpectationsError(f"--upstream {upstream}: expected a link like https://github.com/…/issues/1")
    if unknown := wanted - {record.cell for record in found.judged}:
        raise ExpectationsError(f"{source} has no result of {', '.join(sorted(unknown))}")
    held = acceptance.hold(found, _known(project, found))
    cells = [record for one in held for record in one.cells if not wanted or record.cell in wanted]
    if faults := acceptance.faults(cells):
        names = ", ".join(record.cell for record in faults[:3])
        raise ExpectationsError(
            f"{len(faults)} cells ended in harness_error ({names}): that says nothing about a backend, so it cannot "
            "be accepted. Mend the harness and measure them again, or name other cells with --cell"
        )
    _demand_fresh([] if stale else acceptance.unsettled(held, found.stale), cells)
    for one in held:
        if taken := [record for record in one.cells if not wanted or record.cell in wanted]:
            for line in _accept(one, taken, whole=not wanted, reason=reason or "", upstream=upstream or ""):
                typer.echo(line)


def _demand_fresh(stale: Sequence[CellRecord], cells: Sequence[CellRecord]) -> None:
    """Accepted, a verdict of other inputs would be held against runs of today's.

    Raises:
        ExpectationsError: there are some among `cells`.
    """
    taken = {record.cell for record in cells}
    if names := [record.cell for record in stale if record.cell in taken]:
        raise ExpectationsError(
            f"{len(names)} verdicts are stale ({_listed(names)}): what decides them has changed since they were "
            "measured. Run `make matrix` and accept what it shows, name other cells with --cell, or add --stale"
        )


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")


def _known(project: Project, results: store.Results) -> list[Expectations]:
    """What was accepted so far, and an empty beginning for each environment that is new."""
    known = expectation_files.read_all(project.expectations)
    for environment in dict.fromkeys(acceptance.environment_of(results, cell) for cell in results.judged):
        if environment and expectations.find(known, environment) is None:
            libraries = create(environment.backend).libraries
            known.append(expectations.first(project.expectations, environment, libraries))
    return known


def _accept(held: Held, cells: Sequence[CellRecord], *, whole: bool, reason: str, upstream: str) -> Iterator[str]:
    """Write one file; what there is to say about it."""
    before = held.expected
    if before is None:
        yield f"{held.backend}: nothing accepted: its environment could not be told when it was run"
        return
    after = acceptance.accept(before, cells, held.unplanned if whole else ())
    if reason or upstream:
        after = acceptance.explain(after, cells, reason, upstream)
    if after == before:
        yield f"{before.path}: nothing changed"
        return
    expectation_files.write(after)
    if before.rows:
        yield f"{after.path}:"
        yield from (f"  {line}" for line in _changes(before, after))
    else:
        yield f"{after.path}: a first recording of {len(after.rows)} cells"
    if rows := acceptance.unexplained(after):
        yield f"  {len(rows)} cells fail or are uncertain without a `reason`: {_listed(rows)}"


def _changes(before: Expectations, after: Expectations) -> Iterator[str]:
    for row, accepted in after.rows.items():
        old = before.rows.get(row)
        if old is None:
            yield f"new: {row}: {accepted}: {accepted.saw}"
        elif old.causes != accepted.causes:
            yield f"{row}: {old} → {accepted}: {accepted.saw}"
        elif old != accepted:
            yield f"{row}: {accepted}: {' '.join(filter(None, (accepted.reason, accepted.upstream)))}"
    yield from (f"gone: {row}: {old}" for row, old in before.rows.items() if row not in after.rows)
