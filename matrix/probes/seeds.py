"""Randomness: seen by running the same request under several seeds."""

from __future__ import annotations

from harness.declare import Probe, Seen, Shown
from harness.jsontypes import JSON


def _varies(run: Seen, control: Seen, value: JSON) -> Shown:
    """True: some prompt's output depends on the seed. False: none does."""
    del control
    by_prompt: dict[int, set[tuple[int, ...]]] = {}
    for output in run.observation["outputs"]:
        by_prompt.setdefault(output["prompt"], set()).add(tuple(output["token_ids"]))
    varying = sum(len(different) > 1 for different in by_prompt.values())
    return Shown((varying > 0) is bool(value), f"{varying} of {len(by_prompt)} prompts vary with the seed")


varies_with_seed = Probe(says="outputs vary with the seed when sampling, and never when not", effect=_varies)
