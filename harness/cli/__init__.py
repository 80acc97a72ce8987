"""The `paramatrix` command: a module for each of its commands. Errors are one line and a non-zero exit."""

from __future__ import annotations

import sys

import typer

from harness.audit.command import audit
from harness.audit.record import AuditError
from harness.claims import ClaimsError
from harness.cli import (
    accept,
    cases,
    claims,
    diff,
    drift,
    energy,
    lint,
    preflight,
    repair,
    report,
    repro,
    run,
    setup,
    summary,
    validate,
)
from harness.diff import DiffError
from harness.environments import SetupError
from harness.expectations import ExpectationsError
from harness.launcher import HostUnavailable
from harness.merge import MergeError
from harness.plan import PlanError
from harness.project import ProjectError
from harness.report import ReportError
from harness.shards import commands as shards
from harness.shards.planfile import PlanFileError
from harness.store import StoreError

app = typer.Typer(
    help="Which value of which parameter really works on which LLM inference backend: measured, with evidence.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

app.command()(setup.setup)
app.command()(run.run)
app.command(name="report")(report.report_command)
app.command()(cases.cases)
app.command()(validate.validate)
app.command()(preflight.preflight)
app.command()(claims.claims)
app.command()(accept.accept)
app.command()(diff.diff)
app.command()(drift.drift)
app.command()(energy.energy)
app.command()(audit)
app.command(name="plan")(shards.plan_command)
app.command(name="merge")(shards.merge_command)
app.command(name="summary")(summary.summary_command)
app.command()(lint.lint)
app.command()(repro.repro)
app.command()(repair.repair)


def main() -> None:
    """Entry point: every expected error is one line."""
    try:
        app()
    except (
        ProjectError,
        PlanError,
        AuditError,
        StoreError,
        ReportError,
        ClaimsError,
        DiffError,
        ExpectationsError,
        MergeError,
        PlanFileError,
        HostUnavailable,
        SetupError,
        ValueError,
    ) as error:
        typer.echo(f"paramatrix: {error}", err=True)
        sys.exit(2)
    except OSError as error:
        named = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        typer.echo(f"paramatrix: {named}", err=True)
        sys.exit(2)
