"""How far a reading is to be believed, and what speaks against it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from harness.energy.meters import Known, Missing


class Quality(StrEnum):
    """How far a reading is to be believed, from best to worst."""

    MEASURED = "measured"
    INDICATIVE = "indicative"
    UNCERTAIN = "uncertain"
    CONTAMINATED = "contaminated"
    UNAVAILABLE = "unavailable"


class Flag(StrEnum):
    """What speaks against a reading; each makes its quality no better than one."""

    SHORT_WINDOW = "short_window"

    PERIOD_UNKNOWN = "period_unknown"
    NO_COUNTER = "no_counter"
    UNCHECKED = "unchecked"
    SENSORS_DISAGREE = "sensors_disagree"
    UNOBSERVED = "unobserved"
    UNWATCHED = "unwatched"
    UNKNOWN_PROCESS = "unknown_process"
    UNSETTLED = "unsettled"

    THROTTLED = "throttled"
    FOREIGN_PROCESS = "foreign_process"

    UNAVAILABLE = "unavailable"

    @property
    def quality(self) -> Quality:
        """The best that a reading with this flag can be."""
        return _QUALITY.get(self, Quality.UNCERTAIN)


_ORDER: Final = tuple(Quality)
_QUALITY: Final = {
    Flag.SHORT_WINDOW: Quality.INDICATIVE,
    Flag.THROTTLED: Quality.CONTAMINATED,
    Flag.FOREIGN_PROCESS: Quality.CONTAMINATED,
    Flag.UNAVAILABLE: Quality.UNAVAILABLE,
}


def worst(qualities: Iterable[Quality]) -> Quality:
    """The worst of several qualities; measured, if there are none."""
    return max(qualities, key=_ORDER.index, default=Quality.MEASURED)


@dataclass(frozen=True, slots=True)
class Note:
    """A flag with one line of what was seen."""

    flag: Flag
    text: str


@dataclass(frozen=True, slots=True)
class Adequacy:
    """How long a window must be for a claim."""

    window_s: float = 10.0
    ticks: int = 100
    """Of the counter."""

    def needed_s(self, period_s: Known) -> float:
        """Seconds that a window must last, for a counter of this period."""
        return self.window_s if isinstance(period_s, Missing) else max(self.window_s, self.ticks * period_s)

    def met(self, duration_s: float, period_s: Known) -> bool:
        """Whether a window is long enough; a percent is allowed, which is how well a period is known."""
        return duration_s >= 0.99 * self.needed_s(period_s)
