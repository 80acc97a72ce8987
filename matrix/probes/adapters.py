"""Room for LoRA adapters in a loaded engine, and an adapter that speaks."""

from __future__ import annotations

from harness.declare import Seen, Shown
from harness.jsontypes import JSON
from matrix.probes.outputs import other_tokens
from matrix.probes.readback import MODULES, facts, listed, probe
from matrix.probes.scores import number


def _lora(run: Seen, control: Seen, value: JSON) -> Shown:
    """Layers with room for adapters run, and an adapter speaks (False: the plain layers run)."""
    table = facts(run, "lora")
    calls = sum(count for name, count in run.observation["modules"].items() if name.endswith("WithLoRA"))
    text = f"layers with room for adapters: {table.get('modules') or 'none'}, called {calls} times"
    if not value:
        return Shown(not table and not calls, text)
    spoke = other_tokens(run, control, value)
    return Shown(bool(table) and calls > 0 and spoke.holds, f"{text}; {spoke.saw}")


def _slots(run: Seen, control: Seen, value: JSON) -> Shown:
    """Live tensors have that many places, and requests of that many adapters share a step."""
    del control
    shapes = listed(facts(run, "lora").get("stacked"))
    places = sorted({int(number(listed(shape)[0])) for shape in shapes})
    most = max((int(number(step.get("adapters", 0))) for step in run.observation["scheduled"]), default=0)
    text = " or ".join(map(str, places)) or "no"
    return Shown(places == [value] == [most], f"places for {text} adapters; requests of at most {most} shared a step")


def _rank(run: Seen, control: Seen, value: JSON) -> Shown:
    """Products with adapters' weights are computed at that rank, and at no other."""
    del control
    ranks = run.observation.get("adapted", {})
    text = ", ".join(f"{count} at rank {rank}" for rank, count in sorted(ranks.items()))
    return Shown(list(ranks) == [str(value)], f"products with adapters' weights: {text or 'none'}")


enable_lora = probe("layers with room for adapters run, and one speaks (False: plain ones)", _lora, instruments=MODULES)
max_loras = probe("requests of that many adapters share a step, and no more", _slots)
max_lora_rank = probe("products with adapters' weights are computed at that rank", _rank)
