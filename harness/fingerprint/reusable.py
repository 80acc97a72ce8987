"""Which recorded outcomes stand for a cell that is planned again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from harness.records import RunRecord
from harness.store import Results, Table
from harness.verdict import Cause

TRIED_AGAIN: Final = frozenset(
    {
        Cause.HARNESS_ERROR,  # nothing was learned
        Cause.ENVIRONMENT,  # a disk, a network, a tool: no fingerprint has those
        Cause.MISSING_MODEL,  # nor what a hub or a folder of models holds
        Cause.FLAKY,  # says itself that a second try may end otherwise
        Cause.TIMED_OUT,  # how busy the machine is decides as well
    }
)
"""Causes that may go away though no input changed. What lacks a package or a device is none of them: the fingerprint
has all that is installed, and the devices."""


def reusable(results: Results, fingerprints: Mapping[str, str]) -> frozenset[str]:
    """Cells whose recorded outcome was made from the same inputs and would be made again."""
    return frozenset(
        record.cell
        for record in results.origins
        if record.cause not in TRIED_AGAIN and record.fingerprint == fingerprints.get(record.cell, "")
    )


def says_more(results: Table[Any], header: RunRecord) -> bool:
    """Whether a header would change what a file tells of the matrix, though no cell is run."""
    latest = results.latest
    planned = {plan.cell: plan for plan in header.planned}
    column = {cell for cell, plan in results.planned.items() if plan.backend in header.backends}
    return (
        latest is None
        or latest.sections != header.sections
        or any(results.planned.get(cell) != plan for cell, plan in planned.items())
        or any(results.fingerprints.get(cell) != told for cell, told in header.fingerprints.items())
        or (not header.narrowed and not column <= planned.keys())
    )
