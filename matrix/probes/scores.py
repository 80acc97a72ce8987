"""Choosing the next token: seen in the very scores that tokens are drawn from."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from harness.backends.base import Step
from harness.config.presets import PRESETS
from harness.declare import Effect, Probe, Seen, Shown
from harness.jsontypes import JSON
from matrix.variants.generation import DEFAULTS as GENERATION_DEFAULTS

SCORES = frozenset({"scores"})

StepTest = Callable[[Step, float], bool]


def number(value: JSON) -> float:
    """A declared value as a number."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"expected a number, got {value!r}")
    return float(value)


def span(values: list[float]) -> str:
    """The range of what was seen: "3", or "3 to 7"."""
    low, high = f"{min(values):.4g}", f"{max(values):.4g}"
    return low if low == high else f"{low} to {high}"


def each_step(holds: StepTest, saw: Callable[[list[Step]], str]) -> Effect:
    """An effect that every observed step must show."""

    def effect(run: Seen, control: Seen, value: JSON) -> Shown:
        del control
        steps = run.observation.get("steps", [])
        if not steps:
            return Shown(False, "no scores were processed")
        fine = sum(holds(step, number(value)) for step in steps)
        return Shown(fine == len(steps), f"{saw(steps)} ({fine} of {len(steps)} steps fit)")

    return effect


def _finite(steps: list[Step]) -> str:
    return f"{span([float(step['finite']) for step in steps])} of {steps[0]['vocabulary']} ids stay possible"


def _has_temperature(step: Step, wanted: float) -> bool:
    return step["scale"] is not None and abs(step["scale"] - wanted) <= 1e-3 * max(1.0, wanted)


def _keeps_k(step: Step, k: float) -> bool:
    return step["finite"] == (min(int(k), step["vocabulary"]) or step["vocabulary"])


def _keeps_p(step: Step, p: float) -> bool:
    enough = step["kept_mass"] >= p - 1e-4
    no_more = step["kept_mass_without_last"] < p + 1e-4 or step["finite"] == 1
    return enough and no_more


def _keeps_above(step: Step, p: float) -> bool:
    dropped = step["dropped_max_ratio"]
    return step["kept_min_ratio"] >= p - 1e-6 and (dropped is None or dropped < p + 1e-6)


def _penalises(step: Step, penalty: float) -> bool:
    if penalty == 1.0:
        return not step["moved"]
    seen = step["penalty"]
    return (
        bool(step["moved"])
        and set(step["moved"]) <= set(step["context"])
        and seen is not None
        and abs(seen - penalty) < 1e-3
    )


def _greedy(run: Seen, control: Seen, value: JSON) -> Shown:
    """Every token is the likeliest one."""
    del control, value
    steps = run.observation.get("steps", [])
    best = sum(step["token"] == step["argmax"] for step in steps)
    return Shown(bool(steps) and best == len(steps), f"the likeliest id was taken in {best} of {len(steps)} steps")


greedy = Probe(says="the likeliest id is taken at every step", effect=_greedy, instruments=SCORES)


def _scaled(run: Seen, control: Seen, value: JSON) -> Shown:
    """Every step has the temperature, and tokens are drawn: greedy decoding looks like a temperature of 1."""
    shown = each_step(_has_temperature, lambda steps: f"raw / processed = {span([s['scale'] or 0.0 for s in steps])}")(
        run, control, value
    )
    drawn = _samples(run)
    return Shown(shown.holds and drawn, shown.saw + ("" if drawn else ", but tokens are not drawn"))


temperature = Probe(
    says="raw logits are the temperature times the scores drawn from, at every step",
    effect=_scaled,
    instruments=SCORES,
)

top_k = Probe(
    says="exactly k ids stay possible at every step (0: all of them)",
    effect=each_step(_keeps_k, _finite),
    instruments=SCORES,
)

top_p = Probe(
    says="the ids left possible are the smallest set whose probability reaches p, at every step",
    effect=each_step(
        _keeps_p, lambda steps: f"kept probability {span([s['kept_mass'] for s in steps])}; {_finite(steps)}"
    ),
    instruments=SCORES,
)

min_p = Probe(
    says="just the ids with at least min_p of the best id's probability stay possible, at every step",
    effect=each_step(
        _keeps_above,
        lambda steps: f"least kept p / max p = {span([s['kept_min_ratio'] for s in steps])}; {_finite(steps)}",
    ),
    instruments=SCORES,
)

repetition_penalty = Probe(
    says="just ids of the context have their logits moved, by the penalty, at every step",
    effect=each_step(
        _penalises,
        lambda steps: (
            f"{span([float(len(s['moved'])) for s in steps])} ids moved, by a factor of "
            f"{span([s['penalty'] or 1.0 for s in steps])}"
        ),
    ),
    instruments=SCORES,
)


def _default_penalty(run: Seen, control: Seen, value: JSON) -> Shown:
    """The repetition penalty of the model's own defaults (vllm: none of them; a mapping: the one it names)."""
    if isinstance(value, dict):
        wanted = number(value["repetition_penalty"])
    else:
        wanted = 1.0 if value == "vllm" else number(GENERATION_DEFAULTS["repetition_penalty"])
    return repetition_penalty.effect(run, control, wanted)


default_penalty = Probe(
    says="requests that state no penalty get the one of the defaults", effect=_default_penalty, instruments=SCORES
)


def _preset(run: Seen, control: Seen, value: JSON) -> Shown:
    """Every field the preset stands for shows its own effect, and sampling is on or off as it says."""
    fields: Mapping[str, JSON] = PRESETS[str(value)]
    drawn = _samples(run)
    if not fields["do_sample"]:
        likeliest = _greedy(run, control, value)
        return Shown(not drawn and likeliest.holds, f"decoding {'samples' if drawn else 'is greedy'}: {likeliest.saw}")
    fits = {name: _field_shows(name, fields, run) for name in fields if name != "do_sample"}
    wrong = [name for name, fine in fits.items() if not fine]
    text = f"sampling {'on' if drawn else 'off'}, {len(fits) - len(wrong)} of {len(fits)} fields show"
    return Shown(drawn and not wrong, text + (f", not {', '.join(wrong)}" if wrong else ""))


def _samples(run: Seen) -> bool:
    """Whether tokens were drawn, by the ways that were counted or by the mode and tokens that are not the likeliest."""
    resolved = run.observation.get("resolved", {})
    drawn = resolved.get("drawn")
    if isinstance(drawn, dict):
        return bool(drawn["sampled"]) and not drawn["greedy"]
    steps = run.observation.get("steps", [])
    return resolved.get("generation_mode") == "sample" and any(map(_unlikely, steps))


def _unlikely(step: Step) -> bool:
    """Whether another id than the likeliest was taken, which no penalty explains."""
    return step["token"] != step["argmax"] and not {step["token"], step["argmax"]} & set(step["moved"])


def _live_top_p(run: Seen) -> float | None:
    """The value that the part in use has: transformers' warper, or the argument of vLLM's sampler."""
    resolved = run.observation.get("resolved", {})
    processors, drawn = resolved.get("logits_processors"), resolved.get("drawn")
    holder = processors.get("TopPLogitsWarper") if isinstance(processors, dict) else drawn
    value = holder.get("top_p") if isinstance(holder, dict) else None
    return None if value is None else round(number(value), 6)


def _field_shows(name: str, fields: Mapping[str, JSON], run: Seen) -> bool:
    """One field among others: judged at the steps where it can be told from them."""
    steps = run.observation.get("steps", [])
    wanted = number(fields[name])
    if name == "top_p":
        # p counts in what top_k has left, which the step's summary does not keep apart: of this it takes some away
        fewer = any(step["finite"] < number(fields["top_k"]) for step in steps)
        return fewer and _live_top_p(run) == wanted
    if name == "top_k":
        return bool(steps) and all(step["finite"] <= wanted for step in steps)
    # where every id left is one of the context, penalty and temperature look alike
    telling = [step for step in steps if step["finite"] > len(step["context"])]
    if name == "repetition_penalty":
        telling = [step for step in telling if step["context"]]
    test = {"temperature": _has_temperature, "repetition_penalty": _penalises}[name]
    return bool(telling) and all(test(step, wanted) for step in telling)


preset = Probe(says="each field the preset stands for takes effect", effect=_preset, instruments=SCORES)
