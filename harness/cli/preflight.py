"""The command `preflight`: a config against this machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from harness.config.environment import EnvironmentSnapshot
from harness.config.files import load_config, render_problems, validate_files
from harness.config.preflight import preflight as judge
from harness.config.problems import Problem
from harness.launcher import HostUnavailable
from harness.modelfacts import model_facts
from harness.project import Project, find


def preflight(
    config: Annotated[Path, typer.Argument(help="A config file.")],
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable output.")] = False,
) -> None:
    """Check a config against this machine: exit 0 it can work, 1 problems, 2 unreadable."""
    code, text = validate_files([str(config)], json=as_json)
    if code:
        typer.echo(text, nl=False)
        raise typer.Exit(code)
    problems = environment_problems(find(), str(config))
    errors = [problem for problem in problems if problem.severity == "error"]
    if as_json:
        status = "problems" if errors else "ok"
        found = {"file": str(config), "status": status, "problems": [problem.to_json() for problem in problems]}
        typer.echo(json.dumps(found, indent=2, ensure_ascii=False))
    else:
        for line in render_problems(str(config), problems):
            typer.echo(line)
        typer.echo(f"{config}: " + (f"cannot work here ({len(errors)})" if errors else "can work here"))
    raise typer.Exit(1 if errors else 0)


def environment_problems(project: Project, file: str) -> tuple[Problem, ...]:
    """Why a valid config file cannot work, or will disappoint, in its backend's environment."""
    config = load_config(file)
    try:
        snapshot = dict(project.launcher(config.backend).describe(config.backend))
    except HostUnavailable as error:
        missing = Problem(
            path="backend",
            what=f"the {config.backend} backend has no environment here",
            actual=str(error),
            expected="an interpreter that has the library",
            fix=f"`make setup BACKENDS={config.backend}` installs it where it can run",
            rule="preflight.environment",
        )
        return (missing,)
    if (facts := model_facts(config.model)) is not None:
        snapshot["model"] = facts
    return judge(config, EnvironmentSnapshot.from_json(snapshot))
