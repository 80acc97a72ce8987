"""The command `drift`: what is declared against what the installed backends offer."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from harness import drift as comparison
from harness import interfaces, report
from harness.backends import MODULES, create
from harness.columns import parse_backends
from harness.drift import Drift
from harness.interfaces import Offered
from harness.launcher import HostUnavailable
from harness.project import Project, find, parse_versions
from harness.redact import Redactor


def drift(
    backend: Annotated[
        str | None, typer.Option(help="Backends, comma-separated (default: every one installed).")
    ] = None,
    version: Annotated[
        list[str] | None,
        typer.Option(help="BACKEND=VERSION: that backend's other environment, with a page of its own."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The comparison as JSON.")] = False,
    out: Annotated[Path | None, typer.Option(help="Folder for the page and the records (default: reports).")] = None,
) -> None:
    """Compare the declared parameters with the installed upstream, and with the version recorded before."""
    project = find()
    asked = project.at(parse_versions(version or ()))
    names = parse_backends(backend) if backend else list(asked.versions) or project.installed()
    if not names:
        raise HostUnavailable("no backend is installed. `make setup` installs those that can run on this machine.")
    # what was read is kept in one place, whichever version it is of
    out, folder = out or asked.reports, (out or project.reports) / interfaces.FOLDER
    found = {}
    for name in names:
        offered = _read(asked, name)
        found[name] = _compare(project, offered, folder)
        interfaces.write(offered, folder)
    shown = list(found.values())
    if not asked.versions:
        # the page keeps what it said about a backend that is not asked for, or not installed any more
        known = (interfaces.recorded(folder, name) for name in MODULES if name not in found)
        shown += [_compare(project, records[-1], folder) for records in known if records]
    page = report.save(comparison.render(shown, project.templates), out / comparison.PAGE)
    if as_json:
        typer.echo(json.dumps({name: asdict(found[name]) for name in names}, indent=1, ensure_ascii=False))
        return
    for name in names:
        typer.echo(_summary(found[name]))
    typer.echo(f"page:     {page}")


def _read(project: Project, backend: str) -> Offered:
    """What the installed version offers."""
    launcher = project.launcher(backend)
    if reason := launcher.missing():
        mend = f"`make setup BACKENDS={backend}` installs it."
        raise HostUnavailable(f"no {project.named(backend)} environment ({reason}). {mend}")
    facts = launcher.interface(backend, project.limits.start_s)
    return interfaces.parse(backend, Redactor(project.root).value(facts))


def _compare(project: Project, offered: Offered, folder: Path) -> Drift:
    """Hold it against the declarations and the version recorded before it."""
    older = interfaces.before(offered, interfaces.recorded(folder, offered.backend))
    return comparison.compare(offered, older, create(offered.backend).upstream, project.matrix())


def _summary(found: Drift) -> str:
    untested = sum(len(item.untested) for item in found.values)
    since = f"{len(found.changes)} changes since {found.before}" if found.before else "no older version recorded"
    return (
        f"{found.backend}: {found.versions}: {since}; {len(found.gone)} of ours gone, "
        f"{untested} values untested, {len(found.undeclared)} arguments undeclared"
        + (f"; {len(found.unread)} calls could not be read" if found.unread else "")
    )
