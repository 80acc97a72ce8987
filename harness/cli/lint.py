"""The command `lint`: what people read must not contradict itself, its results or the declarations."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated

import typer

from harness import claims as records
from harness import diff as comparison
from harness import lint as checks
from harness import pages, store
from harness.audit import page as audit_page
from harness.audit import record as audits
from harness.audit.checks import contradictions
from harness.backends import MODULES
from harness.fingerprint.today import Today
from harness.lint import Subject
from harness.lint_pages import stale_comparison
from harness.project import Project, find, parse_versions


def lint(
    results: Annotated[
        Path | None, typer.Option(help="Only this results file (default: all that lie in or below reports).")
    ] = None,
    version: Annotated[
        list[str] | None, typer.Option(help="BACKEND=VERSION: only that version's results and pages.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the pages (default: beside the results).")] = None,
) -> None:
    """Check that declarations, results, rules and pages do not contradict each other: exit 1 if they do."""
    project = find().at(parse_versions(version or ()))
    found = [f"declarations: {problem}" for problem in checks.declarations(project.matrix())]
    if results or version or out:
        source = results or project.results
        found += _folder(Today(project), source, out or source.parent, project.reports)
    else:
        found += _all(project)
    for problem in found:
        typer.echo(problem)
    if found:
        typer.echo(f"{len(found)} contradiction{'s' * (len(found) != 1)}")
        raise typer.Exit(1)


def _all(project: Project) -> Iterator[str]:
    """The default results, those of each version, and the pages that compare the two."""
    today = Today(project)
    yield from _folder(today, project.results, project.reports, project.reports, MODULES)
    current = store.read(project.results)
    for path in sorted(project.reports.glob("*/results.jsonl")):
        yield from _folder(today, path, path.parent, path.parent)
        for page in sorted(project.reports.glob(f"{path.parent.name}-to-*.md")):
            fresh = comparison.render(comparison.difference(store.read(path), current), project.templates)
            yield from stale_comparison(_shown(project, page), page.read_text(encoding="utf-8"), fresh)


def _folder(today: Today, source: Path, folder: Path, claimed: Path, expected: Iterable[str] = ()) -> Iterator[str]:
    """One results file, and the pages made of it and of the claims in `claimed`. It should hold `expected` columns."""
    project = today.project
    name = _shown(project, folder)
    subject = Subject(
        project.matrix(),
        store.read(source),
        records.read(claimed / records.FILE),
        pages.read(folder),
        project.templates,
        pages.measurements(source),
    )
    found = [*checks.check(subject), *_audited(project, folder, subject.results)]
    columns = expected or {plan.backend for plan in subject.results.planned.values()}
    for note in checks.notes(subject, columns, today.stale(subject.results)):
        typer.echo(f"note: {name}: {note}")
    if not found:
        typer.echo(f"{name}: {len(subject.results.planned)} cells on {len(subject.pages)} pages: no contradiction")
    yield from (f"{name}: {problem}" for problem in found)


def _audited(project: Project, folder: Path, results: store.Results) -> Iterator[str]:
    """What an audit that lies in a folder gets wrong of it."""
    if audit := audits.read(folder / audits.FILE):
        shown = folder / audit_page.PAGE
        text = shown.read_text(encoding="utf-8") if shown.exists() else None
        yield from contradictions(audit, text, results, project.templates)


def _shown(project: Project, path: Path) -> str:
    path = path.absolute()
    return str(path.relative_to(project.root) if path.is_relative_to(project.root) else path)
