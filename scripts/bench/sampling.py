"""What sampling costs the work beside it: throughput with and without a sampler, in interleaved rounds of one run."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Final

from harness.energy.client import COMMAND, Sampler
from harness.energy.estimates import Estimate, of_difference
from harness.energy.meters import Missing
from harness.energy.windows import Window
from harness.environments import has_nvidia_gpu
from harness.host import BackendHost
from harness.plan import Run, build
from harness.project import Project

ROUNDS: Final = 8
WINDOW_S: Final = 5.0
WARM_UP_S: Final = 20.0
SIMULATED: Final = """
import sys, time
from harness.energy import sampler
from tests.simulated_device import Gpu, Load, SimulatedNvml
sys.exit(sampler.main(sys.argv[1:], SimulatedNvml([Gpu(Load([(time.monotonic() - 100, 200.0)]))], time.monotonic)))
"""
"""The real sampler over a simulated GPU."""


class SamplingError(RuntimeError):
    """There was nothing to compare; one line."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """Throughput with a sampler beside the work, against without."""

    meters: str
    rounds: list[tuple[float, float]]
    """(with, without), output tokens a second."""
    cpu_share: float
    """CPU seconds of the sampler a second of a window, of one core."""

    @property
    def difference(self) -> Estimate | Missing:
        """Relative difference of throughput, with its interval."""
        return of_difference(self.rounds)


def meters() -> tuple[str, Sequence[str], Sequence[str]]:
    """What is sampled here: in words, for the sampler, and the sampler's command."""
    if has_nvidia_gpu():
        return "nvml", ["nvml"], COMMAND
    real = Sampler(["rapl"])
    reason = real.unavailable()
    real.close()
    if reason is None:
        return "rapl", ["rapl"], COMMAND
    return f"a simulated GPU (no meter here: {reason})", ["nvml"], [sys.executable, "-c", SIMULATED]


def compare(project: Project, backend: str) -> Sampling:
    """Fill windows with the base engine's work, one with and one without a sampler in each round.

    Raises:
        SamplingError: the work failed, or the sampler was lost.
    """
    matrix = project.matrix()
    run = build(matrix, models={backend: str(matrix.shipped_model)}, backends=[backend])[0].control
    words, wanted, command = meters()
    random = Random(1)  # noqa: S311 - an order, no secret
    host = BackendHost(backend, project.launcher(backend), project.limits)
    rounds: list[tuple[float, float]] = []
    shares: list[float] = []
    try:
        host.warm_up(run, model=run.model, cache_dir=None, slice_s=1.0, limit_s=WARM_UP_S)
        for _ in range(ROUNDS):
            rates: dict[bool, float] = {}
            for sampled in random.sample([True, False], 2):
                if not sampled:
                    rates[sampled] = _fill(host, run)[0]
                    continue
                sampler = Sampler(wanted, command=command)
                try:
                    rates[sampled], share = _beside(host, run, sampler)
                    shares.append(share)
                finally:
                    sampler.close()
            rounds.append((rates[True], rates[False]))
    finally:
        host.close()
    return Sampling(words, rounds, sum(shares) / len(shares))


def _beside(host: BackendHost, run: Run, sampler: Sampler) -> tuple[float, float]:
    """Throughput beside a sampler, and the share of a core that this took while it sampled."""
    if reason := sampler.unavailable():
        raise SamplingError(f"the sampler does not sample: {reason}")
    before = _used(sampler, None)
    rate, window = _fill(host, run)
    return rate, (_used(sampler, window) - before) / window.duration_s


def _used(sampler: Sampler, window: Window | None) -> float:
    """CPU seconds that the sampler has used by now."""
    now = time.monotonic()
    found = sampler.traces(window or Window(now - 0.1, now))
    if isinstance(found, Missing):
        raise SamplingError(found.reason)
    return sampler.cpu_s


def _fill(host: BackendHost, run: Run) -> tuple[float, Window]:
    attempt = host.fill(run, model=run.model, cache_dir=None, seconds=WINDOW_S)
    if attempt.failure is not None or isinstance(attempt.window, Missing):
        raise SamplingError(f"the work failed: {attempt.failure.line if attempt.failure else 'no window'}")
    return attempt.tally.output_tokens / attempt.window.duration_s, attempt.window
