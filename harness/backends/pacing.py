"""When requests arrive: a load generator's schedule, and the waiting it asks for."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.backends.settings import ConflictingSettingsError, take

if TYPE_CHECKING:
    from harness.backends.base import Calls, Declared

MODES = ("constant", "poisson")
TRAFFIC = {f"traffic_simulation.{name}": name for name in ("enabled", "mode", "target_qps", "seed")}
"""Request scope: libraries know nothing of these."""


@dataclass(frozen=True, slots=True)
class Traffic:
    """Requests arriving at `rate` a second, evenly or with exponential gaps."""

    mode: str
    rate: float
    seed: int | None = None

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise ValueError(f"traffic mode {self.mode!r}: expected one of {', '.join(MODES)}")
        if self.rate <= 0:
            raise ValueError(f"traffic rate {self.rate} requests/s: expected more than 0")


def traffic(settings: Declared, calls: Calls) -> Traffic | None:
    """When requests are handed over: libraries take them at once, so the harness paces them.

    Raises:
        ConflictingSettingsError: enabled without a rate.
    """
    return calls.own("traffic", _traffic, **take(settings, TRAFFIC))


def _traffic(
    *, enabled: bool = False, mode: str = "constant", target_qps: float | None = None, seed: int | None = None
) -> Traffic | None:
    if not enabled:
        return None
    if target_qps is None:
        raise ConflictingSettingsError(
            "traffic_simulation.enabled=True needs traffic_simulation.target_qps (requests/s)"
        )
    return Traffic(mode, float(target_qps), seed)


def schedule(count: int, traffic: Traffic) -> list[float]:
    """Arrival times in seconds of `count` requests, the first at 0."""
    if traffic.mode == "constant":
        return [index / traffic.rate for index in range(count)]
    draw = random.Random(traffic.seed)  # noqa: S311 - a schedule, not a secret
    times = [0.0]
    while len(times) < count:
        times.append(times[-1] + draw.expovariate(traffic.rate))
    return times[:count]


def wait_until(moment: float) -> None:
    """Sleep until `time.perf_counter()` reaches `moment`; at once if it already has."""
    while (left := moment - time.perf_counter()) > 0:
        time.sleep(left)
