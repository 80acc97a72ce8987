"""Outputs: how long they are, whether they repeat, whether they vary with the seed."""

from __future__ import annotations

from collections import Counter

from harness.declare import Probe, Seen, Shown
from harness.jsontypes import JSON
from harness.judge import tokens
from matrix.probes.scores import number, span


def other_tokens(run: Seen, control: Seen, value: JSON) -> Shown:
    """Some output differs from the control's."""
    del value
    differ = sum(own != tokens(control).get(key) for key, own in tokens(run).items())
    return Shown(differ > 0, f"{differ} of {len(tokens(run))} outputs differ from the control's")


def _varies(run: Seen, control: Seen, value: JSON) -> Shown:
    """True: every prompt's output depends on the seed. False: none does.

    Raises:
        LookupError: some do and others do not, which tells nothing of either.
    """
    varying, prompts = _varying(run)
    text = f"{varying} of {prompts} prompts vary with the seed"
    if value and run is not control and 0 < varying < prompts:
        raise LookupError(text)
    return Shown(varying == (prompts if value else 0), text)


def _fixed(run: Seen, control: Seen, value: JSON) -> Shown:
    """Whatever the job's seed, each output is the one that the control gave under this very seed."""
    own = {o["prompt"]: o["token_ids"] for o in control.observation["outputs"] if o["seed"] == value}
    outputs = run.observation["outputs"]
    same = sum(output["token_ids"] == own.get(output["prompt"]) for output in outputs)
    return Shown(same == len(outputs), f"{same} of {len(outputs)} outputs are the control's under seed {value}")


def _varying(run: Seen) -> tuple[int, int]:
    by_prompt: dict[int, set[tuple[int, ...]]] = {}
    for output in run.observation["outputs"]:
        by_prompt.setdefault(output["prompt"], set()).add(tuple(output["token_ids"]))
    return sum(len(different) > 1 for different in by_prompt.values()), len(by_prompt)


def _longest(run: Seen, control: Seen, value: JSON) -> Shown:
    del control
    lengths = [float(len(output["token_ids"])) for output in run.observation["outputs"]]
    cut = sum(not output["ended"] for output in run.observation["outputs"])
    return Shown(cut > 0 and max(lengths) == number(value), f"outputs of {span(lengths)} tokens, {cut} of them cut")


def _no_repeats(run: Seen, control: Seen, value: JSON) -> Shown:
    """Of n: no n-gram comes twice, but something shorter does. Of 0: something does, as the song asks for."""
    del control
    size = int(number(value))
    outputs = [output["token_ids"] for output in run.observation["outputs"]]
    worst = max(_multiplicity(ids, size or 4) for ids in outputs)
    shorter = max(_multiplicity(ids, size - 1) for ids in outputs) if size else 0
    fine = worst == 1 and shorter > 1 if size else worst > 1
    text = f"the most frequent {size or 4}-gram of an output comes {worst} times"
    return Shown(fine, text + (f", the most frequent {size - 1}-gram {shorter} times" if size else ""))


def _multiplicity(ids: list[int], size: int) -> int:
    grams = Counter(tuple(ids[start : start + size]) for start in range(len(ids) - size + 1))
    return max(grams.values(), default=0)


varies_with_seed = Probe(says="outputs vary with the seed when sampling, and never when not", effect=_varies)
fixed_by_seed = Probe(says="whatever the job's own seed, outputs are those of this seed", effect=_fixed)
differs = Probe(says="other tokens come than from the control", effect=other_tokens)
longest = Probe(says="outputs are cut at this many tokens", effect=_longest)
no_repeats = Probe(
    says="no n-gram of that size comes twice in an output, shorter ones do (0: they do)",
    effect=_no_repeats,
    decisive=False,  # a model that does not repeat itself leaves nothing to forbid
)
