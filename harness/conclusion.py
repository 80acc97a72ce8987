"""What a verdict is to pytest."""

from __future__ import annotations

from typing import Protocol

import pytest

from harness.verdict import Cause, Outcome


class Concluded(Protocol):
    """A record, or what is known of one."""

    @property
    def verdict(self) -> Outcome:
        """How the cell ended."""

    @property
    def cause(self) -> Cause:
        """Why."""

    @property
    def reason(self) -> str:
        """In words."""


def conclude(record: Concluded) -> None:
    """A verdict as a test's outcome."""
    told = f"{record.cause.value}: {record.reason}"
    if record.verdict is Outcome.FAIL or record.cause is Cause.HARNESS_ERROR:
        pytest.fail(told, pytrace=False)
    if record.verdict is Outcome.NOT_RUN:
        pytest.skip(told)
