"""Sampling: seen in the very scores that tokens are drawn from."""

from __future__ import annotations

from collections.abc import Callable

from harness.backends.base import Step
from harness.declare import Effect, Probe, Seen, Shown
from harness.jsontypes import JSON

SCORES = frozenset({"scores"})


def each_step(holds: Callable[[Step, float], bool], saw: Callable[[list[Step]], str]) -> Effect:
    """An effect that every observed step must show."""

    def effect(run: Seen, control: Seen, value: JSON) -> Shown:
        del control
        steps = run.observation.get("steps", [])
        if not steps:
            return Shown(False, "no scores were processed")
        fine = sum(holds(step, number(value)) for step in steps)
        return Shown(fine == len(steps), f"{saw(steps)} ({fine} of {len(steps)} steps fit)")

    return effect


def number(value: JSON) -> float:
    """A declared value as a number."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"expected a number, got {value!r}")
    return float(value)


def span(values: list[float], unit: str = "") -> str:
    """ "3" or "3 to 7": the range of what was seen."""
    low, high = min(values), max(values)
    return f"{low:.4g}{unit}" if f"{low:.4g}" == f"{high:.4g}" else f"{low:.4g} to {high:.4g}{unit}"


def _finite(steps: list[Step]) -> str:
    return f"{span([float(s['finite']) for s in steps])} of {steps[0]['vocabulary']} ids stay possible"


def _close(seen: float | None, wanted: float) -> bool:
    return seen is not None and abs(seen - wanted) <= 1e-3 * max(1.0, abs(wanted))


temperature = Probe(
    says="raw logits are the temperature times the scores drawn from, at every step",
    effect=each_step(
        lambda step, t: _close(step["scale"], t),
        lambda steps: f"raw / processed = {span([s['scale'] or 0.0 for s in steps])}",
    ),
    instruments=SCORES,
)

top_k = Probe(
    says="exactly k ids stay possible at every step (0: all of them)",
    effect=each_step(
        lambda step, k: step["finite"] == (min(int(k), step["vocabulary"]) or step["vocabulary"]),
        _finite,
    ),
    instruments=SCORES,
)

top_p = Probe(
    says="the ids left possible are the smallest set whose probability reaches p, at every step",
    effect=each_step(
        lambda step, p: (
            step["kept_mass"] >= p - 1e-4
            and (step["kept_mass_without_last"] < p + 1e-4 or step["finite"] == 1)
        ),
        lambda steps: f"kept probability {span([s['kept_mass'] for s in steps])}; {_finite(steps)}",
    ),
    instruments=SCORES,
)

min_p = Probe(
    says="just the ids with at least min_p of the best id's probability stay possible, at every step",
    effect=each_step(
        lambda step, p: (
            step["kept_min_ratio"] >= p - 1e-6
            and (step["dropped_max_ratio"] is None or step["dropped_max_ratio"] < p + 1e-6)
        ),
        lambda steps: f"least kept p / max p = {span([s['kept_min_ratio'] for s in steps])}; {_finite(steps)}",
    ),
    instruments=SCORES,
)
