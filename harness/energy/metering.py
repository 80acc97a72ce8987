"""The meters of a session: which ones an engine's work is read from, each sampler started when it is first needed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Final, Protocol

from harness.energy import rapl, readings
from harness.energy.client import Sampler
from harness.energy.meters import MeterUnavailable, Missing, Source, Trace
from harness.energy.quality import Adequacy
from harness.energy.readings import Reading
from harness.energy.windows import Window

if TYPE_CHECKING:
    from harness.host import Attempt
    from harness.jsontypes import JSON

CPU: Final = ("rapl",)
_ELSEWHERE: Final = Missing("the engine runs on another machine than the meters, or by another clock")
_UNTOLD: Final = Missing("the engine does not tell which GPUs it uses")


class Metered(Protocol):
    """What reads the energy of windows: a sampler, or whatever stands in for one."""

    @property
    def sources(self) -> Sequence[Source]:
        """What is measured; nothing where nothing can be."""

    @property
    def period_s(self) -> float:
        """Seconds between two ticks of the slowest counter; 0 without any."""

    def unavailable(self) -> str | None:
        """None, or why nothing is measured."""

    def read(self, window: Window, *, own: Collection[int] = (), adequacy: Adequacy | None = None) -> Reading:
        """The energy of a window that has passed."""

    def traces(self, window: Window) -> list[Trace] | Missing:
        """What was seen around a window that has passed."""


class NoMeter:
    """Stands where there is no meter, and says why."""

    sources: Sequence[Source] = ()
    period_s = 0.0

    def __init__(self, reason: str) -> None:
        self.reason = reason

    def unavailable(self) -> str:
        """Why nothing is measured."""
        return self.reason

    def read(self, window: Window, *, own: Collection[int] = (), adequacy: Adequacy | None = None) -> Reading:
        """A reading of nothing."""
        del own, adequacy
        return readings.unavailable(self.reason, window)

    def traces(self, window: Window) -> Missing:
        """Nothing was seen."""
        del window
        return Missing(self.reason)


def meters(attempts: Sequence[Attempt]) -> tuple[str, ...] | Missing:
    """What the sampler is to read for the engines of these runs."""
    uuids: dict[str, None] = {}
    for attempt in attempts:
        if attempt.elsewhere:
            return _ELSEWHERE
        listed = attempt.seen.read_back.get("gpu_uuids") if attempt.seen else None
        if not isinstance(listed, list):
            return _UNTOLD
        uuids |= {str(uuid): None for uuid in listed}
    return tuple(f"nvml:{uuid}" for uuid in uuids) or CPU


class Metering:
    """Samplers by what they read; each lives until the session ends."""

    def __init__(self, start: Callable[[Sequence[str]], Metered] | None = None) -> None:
        """`start` makes a sampler of meters (default: a process of its own)."""
        self._start = start or started
        self._samplers: dict[tuple[str, ...], Metered] = {}

    def of(self, attempts: Sequence[Attempt]) -> Metered:
        """The sampler for the engines of these runs."""
        wanted = meters(attempts)
        return NoMeter(wanted.reason) if isinstance(wanted, Missing) else self._sampler(wanted)

    def expect(self, snapshot: Mapping[str, JSON]) -> None:
        """Start the sampler that is sure to be wanted: it takes seconds, and an engine tells late what it uses."""
        gpus = snapshot.get("gpus")
        if isinstance(gpus, list) and len(gpus) == 1 and isinstance(gpus[0], dict):
            self._sampler((f"nvml:{gpus[0].get('uuid')}",))

    def _sampler(self, wanted: tuple[str, ...]) -> Metered:
        if wanted not in self._samplers:
            self._samplers[wanted] = self._start(wanted)
        return self._samplers[wanted]

    def close(self) -> None:
        """End every sampler."""
        for sampler in self._samplers.values():
            if isinstance(sampler, Sampler):
                sampler.close()


def started(wanted: Sequence[str]) -> Metered:
    """A sampler process, where there is something to sample: a machine without counters is not worth one."""
    if tuple(wanted) == CPU:
        try:
            rapl.open_meter()
        except MeterUnavailable as error:
            return NoMeter(str(error))
    return Sampler(wanted)
