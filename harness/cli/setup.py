"""The command `setup`: the backends' environments."""

from __future__ import annotations

import shlex
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Annotated

import typer

from harness import environments
from harness.backends import MODULES
from harness.cli.options import Versions, columns, fail
from harness.project import Project, find, parse_versions


def setup(
    backends: Annotated[str | None, typer.Option(help="Comma-separated (default: all that can run here).")] = None,
    version: Versions = None,
) -> None:
    """Make the backends' environments from their pinned requirements."""
    project = find().at(parse_versions(version or ()))
    make_environments(project, columns(project, backends))


def make_environments(project: Project, asked_for: list[str]) -> None:
    """Environments are made side by side: each keeps a core busy, and none needs another."""
    cuda = environments.has_nvidia_gpu()
    with ThreadPoolExecutor() as pool:
        making: dict[str, Future[bool]] = {}
        for name in asked_for or _pinned(project):
            if command := project.configured(name):
                told = f"no environment is made: its host is started by {shlex.join(command)}"
                typer.echo(f"{project.named(name)}: {told}")
                continue
            files = environments.requirement_files(project.requirement_folder(name), cuda=cuda)
            making[name] = pool.submit(environments.make, project.environment(name), files)
    for name, made in making.items():
        try:
            if made.result():
                typer.echo(f"{project.named(name)}: environment ready in {project.environment(name)}")
        except environments.SetupError as error:
            if asked_for:
                raise
            # the other columns can be measured; this one is told as not run
            typer.echo(f"{name}: not installed: {error}", err=True)


def _pinned(project: Project) -> list[str]:
    cuda = environments.has_nvidia_gpu()
    folders = {name: folder for name in MODULES if (folder := project.requirement_folder(name)).is_dir()}
    reasons = {name: environments.not_for(folder, cuda=cuda) for name, folder in folders.items()}
    for name, reason in reasons.items():
        if reason:
            typer.echo(f"{name}: not installed: {reason}")
    if not (found := [name for name, reason in reasons.items() if not reason]):
        fail(f"{project.requirements}: no requirements of a backend there: expected a folder named like the backend")
    return found
