"""What a cell's record says of its cost. These models are the schema of a cell's `energy` object."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, model_serializer, model_validator

from harness.energy import estimates
from harness.energy.meters import Missing
from harness.energy.quality import Flag, Quality


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Versus(_Model):
    """Relative difference to the control: 0.1 is a tenth more."""

    value: float
    ci95: tuple[float, float] | None
    """95 % confidence interval, Student's t over the log ratios of the rounds; None for one round."""
    rounds: list[tuple[float, float]]
    """(treated, control) of each round, to six digits."""

    @property
    def differs(self) -> bool:
        """True when the interval excludes no difference."""
        return self.ci95 is not None and not self.ci95[0] <= 0 <= self.ci95[1]

    def interval(self, confidence: float) -> tuple[float, float] | None:
        """The interval of another confidence, which a claim about one of many rows needs."""
        found = estimates.of_difference(self.rounds, confidence)
        if isinstance(found, Missing) or isinstance(found.interval, Missing):
            return None
        return found.interval.low, found.interval.high


class Figure(_Model):
    """A quantity that was had. What does not apply is left out."""

    value: int | float
    """The mean, where there are repeats."""
    unit: str
    method: str
    uncertainty: float | None = None
    """The most that the value can be wrong by, as far as the ticks of the counter go; in the same unit."""
    repeats: int | None = None
    sd: float | None = None
    """Sample standard deviation of the repeats."""
    ci95: tuple[float, float] | None = None
    """95 % confidence interval of the mean, Student's t."""
    versus_control: Versus | None = None

    @model_serializer(mode="wrap")
    def _compact(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {name: value for name, value in handler(self).items() if value is not None}


class Device(_Model):
    """What was metered."""

    kind: Literal["nvml", "rapl"]
    uuid: str | None
    name: str
    scope: str
    """What the energy is of."""
    driver: str | None
    mig_mode: str | None


class RecordNote(_Model):
    """What speaks against the figures."""

    flag: Flag
    text: str


class EnergyRecord(_Model):
    """What a cell cost. A figure is None where `missing` tells why."""

    mode: Literal["functional", "measuring"]
    """Of a functional cell, seconds long, the reading is indicative and claims nothing per token."""
    quality: Quality
    """Of the energy; throughput, latency and memory do not depend on it."""
    notes: list[RecordNote] = []
    devices: list[Device] = []
    missing: dict[str, list[str]] = {}
    """Reason to the figures that are missing for it."""

    gross_j: Figure | None = None
    net_j: Figure | None = None
    """Gross, less the idle power with the model loaded."""
    j_per_output_token: Figure | None = None
    j_per_total_token: Figure | None = None
    net_j_per_output_token: Figure | None = None
    net_j_per_total_token: Figure | None = None
    output_tokens: Figure | None = None
    total_tokens: Figure | None = None
    """Of prompts and output."""
    tokens_per_s: Figure | None = None
    """Output tokens."""
    ttft_p50_s: Figure | None = None
    """Time to first token."""
    ttft_p95_s: Figure | None = None
    inter_token_p50_s: Figure | None = None
    inter_token_p95_s: Figure | None = None
    inter_token_p99_s: Figure | None = None
    peak_device_bytes: Figure | None = None
    peak_host_bytes: Figure | None = None
    duration_s: Figure | None = None
    idle_w: Figure | None = None
    sensor_discrepancy: Figure | None = None
    """Energy by power over energy by counter, less 1; of the repeat that is furthest off."""
    counter_period_s: Figure | None = None
    samples: Figure | None = None
    bad_samples: Figure | None = None
    temperature_c: Figure | None = None
    sm_mhz: Figure | None = None
    memory_mhz: Figure | None = None
    power_limit_w: Figure | None = None
    throttle_bits: Figure | None = None

    @model_validator(mode="after")
    def _consistent(self) -> EnergyRecord:
        told = {name for names in self.missing.values() for name in names}
        for name in FIGURES:
            if (getattr(self, name) is None) != (name in told):
                raise ValueError(f"{name}: expected a figure or the reason why there is none")
        if self.gross_j is None and self.quality is not Quality.UNAVAILABLE:
            raise ValueError(f"quality {self.quality} without energy")
        return self

    def why_missing(self, name: str) -> str | None:
        """Why a figure is None; None if it is there."""
        return next((reason for reason, names in self.missing.items() if name in names), None)


FIGURES = tuple(name for name, field in EnergyRecord.model_fields.items() if field.annotation == Figure | None)
"""Names of all figures, in the record's order."""
