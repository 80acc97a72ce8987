"""Windows of work, in the engine process: between two moments at which nothing is queued on the accelerator."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from harness.energy.schedule import settled
from harness.energy.tally import Tally

if TYPE_CHECKING:
    from harness.backends.base import Observation
    from harness.energy.meters import Now
    from harness.jsontypes import JSON
    from harness.wire import Message


class Filling:
    """One job on one engine, as often as it takes."""

    def __init__(
        self, work: Callable[[], Observation], synchronise: Callable[[], None], now: Now = time.monotonic
    ) -> None:
        """`work` does one pass of the job, `synchronise` waits until nothing is queued."""
        self._work = work
        self._synchronise = synchronise
        self._now = now

    def once(self) -> Message:
        """One pass, all that was seen of it, and its window."""
        start = self._moment()
        observation = self._work()
        return {"observation": cast("JSON", observation), "window": [start, self._moment()]}

    def fill(self, seconds: float) -> Message:
        """Passes until `seconds` have gone by, one at least: their window and their tally.

        One pass before is not counted: an engine that has waited for another one's window wakes up in it.
        """
        self._work()
        start, end, tally = self._passes(seconds)
        return {"window": [start, end], "tally": tally.message()}

    def warm_up(self, slice_s: float, limit_s: float) -> Message:
        """Passes until throughput has settled, in slices of `slice_s` seconds, for about `limit_s` at most."""
        rates: list[float] = []
        began = self._now()
        while not settled(rates) and self._now() - began < limit_s:
            start, end, tally = self._passes(slice_s)
            rates.append(tally.passes / (end - start))
        return {"window": [began, self._now()], "settled": settled(rates)}

    def _passes(self, seconds: float) -> tuple[float, float, Tally]:
        tally = Tally()
        start = self._moment()
        while not tally.passes or self._now() - start < seconds:
            tally.add(self._work())
        return start, self._moment(), tally

    def _moment(self) -> float:
        self._synchronise()
        return self._now()
