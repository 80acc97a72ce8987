"""Room for LoRA adapters in a loaded engine, and an adapter that speaks."""

from __future__ import annotations

from harness.declare import Seen, Shown
from harness.jsontypes import JSON
from matrix.probes.readback import facts, listed, probe


def _lora(run: Seen, control: Seen, value: JSON) -> Shown:
    """Linear layers have room for adapters (False: they are the plain ones)."""
    del control
    table = facts(run, "lora")
    return Shown(bool(table) is bool(value), f"layers with room for adapters: {table.get('modules') or 'none'}")


def _stacked(place: int, run: Seen, value: JSON) -> Shown:
    """A dimension of the live tensors that adapters are copied into: slots, 1, rank, width."""
    shapes = listed(facts(run, "lora").get("stacked"))
    shape = listed(shapes[0]) if shapes else []
    return Shown(bool(shape) and shape[place] == value, f"adapters are copied into tensors of {shape or 'no'} shape")


def _slots(run: Seen, control: Seen, value: JSON) -> Shown:
    del control
    return _stacked(0, run, value)


def _rank(run: Seen, control: Seen, value: JSON) -> Shown:
    del control
    return _stacked(2, run, value)


enable_lora = probe("linear layers have room for adapters (False: none)", _lora)
max_loras = probe("there is room for that many adapters at once", _slots)
max_lora_rank = probe("there is room for adapters of that rank", _rank)
