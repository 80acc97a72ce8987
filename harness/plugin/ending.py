"""A run that is told to end: SIGTERM, as batch systems and containers send it, ends it as Ctrl-C does."""

from __future__ import annotations

import contextlib
import signal
from typing import Any

import pytest


class Ending:
    """While pytest runs, SIGTERM interrupts: what was measured is kept, and every process of the run ends."""

    def __init__(self) -> None:
        self._before: Any = None

    def pytest_sessionstart(self) -> None:
        """Listen."""
        with contextlib.suppress(ValueError):  # only a main thread may, and pytest need not run in one
            self._before = signal.signal(signal.SIGTERM, signal.default_int_handler)

    @pytest.hookimpl(trylast=True)
    def pytest_unconfigure(self) -> None:
        """Leave it as it was."""
        if self._before is not None:
            signal.signal(signal.SIGTERM, self._before)
