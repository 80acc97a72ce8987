"""A backend whose engines sleep as long as real ones take, so that slots can be added without cores to go with them."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Final

from harness.backends.base import Calls, GenerateJob, LoadJob, Observation
from harness.declare import Column, Matrix, OutputRule, Parameter, Probe, Scope, Seen, Shown, Value
from harness.jsontypes import JSON, Settings
from tests.declared_toy import MATRIX as TOY
from tests.declared_toy import column, parameter
from tests.toy_backend import ToyBackend, ToyEngine, named

LOADS_S: Final = (1.0, 1.5, 2.0, 2.5)
"""An engine of vLLM's CPU build takes 0.6 to 2.2 s to load (docs/benchmarks.md, DESIGN)."""
GENERATE_S: Final = 0.1
ENGINES: Final = 192
REQUESTS: Final = 96
"""Cells on the base engine. Together about as many cells and engines as vLLM's column has (docs/benchmarks.md)."""
_OWN: Final = "vllm.max_num_seqs"


def cells(engines: int) -> list[str]:
    """Ids of so many cells on engines of their own, and half as many on the base engine."""
    own = [f"vllm-{_OWN}={number + 1}" for number in range(engines)]
    return own + [f"vllm-decoder.top_k={number + 1}" for number in range(engines // 2)]


class SimulatedEngine(ToyEngine):
    """Answers after a while."""

    def generate(self, job: GenerateJob, calls: Calls) -> Observation:
        """Sleep, then what the toy says."""
        calls("simulated.generate", time.sleep, GENERATE_S)
        return super().generate(job, calls)


class SimulatedBackend(ToyBackend):
    """Loads after a while."""

    def load(self, job: LoadJob, calls: Calls) -> SimulatedEngine:
        """Sleep as long as this engine's number says."""
        settings: Settings = {key: job.settings[key] for key in job.settings}
        number = settings.get(_OWN)
        pause = LOADS_S[number % len(LOADS_S)] if isinstance(number, int) else LOADS_S[0]
        calls("simulated.load", _sleep, pause, **named(settings))
        return SimulatedEngine(job.model, settings)


def _sleep(seconds: float, **_: JSON) -> None:
    time.sleep(seconds)


def create() -> SimulatedBackend:
    """As `harness.backends` expects."""
    return SimulatedBackend()


def _loaded(run: Seen, control: Seen, value: JSON) -> Shown:
    del control
    return Shown(run.read_back.get(_OWN) == value, f"loaded with {run.read_back.get(_OWN)!r}")


_ENGINE: Final = Column(Scope.ENGINE, Probe(says="loaded with the value", effect=_loaded), OutputRule.FREE)

MATRIX: Final[Matrix] = replace(
    TOY,
    parameters=(
        replace(
            parameter("decoder.top_k", *(Value(number + 1) for number in range(REQUESTS))),
            columns={"vllm": column("decoder.top_k")},
        ),
        Parameter(
            _OWN,
            section="Core",
            values=tuple(Value(number + 1) for number in range(ENGINES)),
            columns={"vllm": _ENGINE},
        ),
    ),
)
"""What `scaling` runs."""

MANY: Final = ("pytorch", "vllm", "tensorrt")

LARGE: Final[Matrix] = replace(
    TOY,
    parameters=(
        replace(
            parameter("decoder.top_k", *(Value(number + 1) for number in range(2000))),
            columns=dict.fromkeys(MANY, column("decoder.top_k")),
        ),
        replace(
            parameter("max_output_tokens", *(Value(number + 1) for number in range(1334)), section="Core"),
            columns=dict.fromkeys(MANY, replace(column("max_output_tokens"), scope=Scope.ENGINE)),
        ),
    ),
)
"""10 002 cells of 4005 engine keys in three columns."""
