"""What TensorRT-LLM's results hold besides tokens, and where they end."""

from __future__ import annotations

import itertools
import json
import statistics

from harness.declare import Probe, Seen, Shown
from harness.jsontypes import JSON
from matrix.probes.readback import arguments
from matrix.probes.scores import number, span
from matrix.probes.told import observed


def _returned(run: Seen) -> list[dict[str, JSON]]:
    return [dict(one) for one in observed(run, "resolved", "returned")]


def _prompt_tokens(run: Seen) -> dict[int, int]:
    return {int(number(one["prompt"])): int(number(one["prompt_tokens"])) for one in run.observation["sequences"]}


def _context(run: Seen, control: Seen, value: JSON) -> Shown:
    """Logits of each of the prompt's positions came back (False: none did)."""
    del control
    lengths = _prompt_tokens(run)
    rows = {int(number(one["prompt"])): one.get("context_logits") for one in _returned(run)}
    whole = sum(isinstance(shape, list) and shape[0] == lengths[prompt] for prompt, shape in rows.items())
    fine = whole == len(rows) if value else not any(rows.values())
    return Shown(fine, f"logits of all prompt positions came back for {whole} of {len(rows)} prompts")


def _generation(run: Seen, control: Seen, value: JSON) -> Shown:
    """Logits of each generated position came back (False: none did)."""
    del control
    lengths = {output["prompt"]: len(output["token_ids"]) for output in run.observation["outputs"]}
    rows = {int(number(one["prompt"])): one.get("generation_logits") for one in _returned(run)}
    whole = sum(isinstance(shape, list) and shape[-2] >= lengths[prompt] for prompt, shape in rows.items())
    fine = whole == len(rows) if value else not any(rows.values())
    return Shown(fine, f"logits of all generated positions came back for {whole} of {len(rows)} prompts")


def _metrics(run: Seen, control: Seen, value: JSON) -> Shown:
    del control, value
    found = _returned(run)
    told = sum(bool(one.get("perf_metrics")) for one in found)
    return Shown(told == len(found), f"{told} of {len(found)} results came with performance metrics")


def _without_prompt(run: Seen, control: Seen, value: JSON) -> Shown:
    del control
    found = _returned(run)
    there = sum(bool(one["prompt_in_output"]) for one in found)
    return Shown(there == (0 if value else len(found)), f"the prompt stands in {there} of {len(found)} outputs")


def _ends_at(run: Seen, control: Seen, value: JSON) -> Shown:
    """No output goes on after the token, and some end at it."""
    del control
    ids = [output["token_ids"] for output in run.observation["outputs"]]
    passed = sum(value in own[:-1] for own in ids)
    ended = sum(output["ended"] for output in run.observation["outputs"])
    return Shown(
        ended > 0 and passed == 0, f"{ended} of {len(ids)} outputs ended, {passed} went on after token {value}"
    )


def _barred(run: Seen, control: Seen, value: JSON) -> Shown:
    """None of the tokens is generated; the control generates one."""
    del control
    assert isinstance(value, list)
    ids = [output["token_ids"] for output in run.observation["outputs"]]
    there = sum(any(token in own for token in value) for own in ids)
    return Shown(there == 0, f"the tokens stand in {there} of {len(ids)} outputs")


def _truncated(run: Seen, control: Seen, value: JSON) -> Shown:
    del control
    found = [float(length) for length in _prompt_tokens(run).values()]
    return Shown(max(found) == number(value), f"prompts of {span(found)} tokens were taken in")


def _longest(run: Seen, control: Seen, value: JSON) -> Shown:
    """The longest prompt with its output fills the limit, or all of it but the token not yet taken in."""
    del control
    ids = {output["prompt"]: len(output["token_ids"]) for output in run.observation["outputs"]}
    most = max(length + ids[prompt] for prompt, length in _prompt_tokens(run).items())
    return Shown(most in (value, number(value) - 1), f"prompts and outputs of at most {most} tokens together")


def _is_object(run: Seen, control: Seen, value: JSON) -> Shown:
    """Outputs are JSON objects, or begin as one where they were cut (False: not all do)."""
    del control
    outputs = run.observation["outputs"]
    fitting = sum(_opens(output["text"], ended=output["ended"]) for output in outputs)
    return Shown((fitting == len(outputs)) is bool(value), f"{fitting} of {len(outputs)} outputs are JSON objects")


def _opens(text: str, *, ended: bool) -> bool:
    if not ended:
        return text.lstrip().startswith("{")
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False


def _beams(run: Seen, wanted: int) -> Shown:
    """That many beams come back for each prompt, no two alike."""
    kinds = [one["token_ids"] for one in run.observation.get("beams", [])]
    back = [float(len(own)) for own in kinds if isinstance(own, list)]
    different = [float(len({json.dumps(ids) for ids in own})) for own in kinds if isinstance(own, list)]
    fine = bool(back) and set(back) == set(different) == {wanted} if wanted > 1 else not back
    return Shown(
        fine,
        f"{span(back) if back else 'no'} beams came back for a prompt, {span(different) if back else 'no'} different",
    )


def _width(run: Seen, control: Seen, value: JSON) -> Shown:
    del control
    return _beams(run, int(number(value)))


def _enabled(run: Seen, control: Seen, value: JSON) -> Shown:
    """Of the four beams that the companions ask for, four come back when enabled, none when not."""
    del control
    return _beams(run, 4 if value else 1)


def _ranked(run: Seen, control: Seen, value: JSON) -> Shown:
    """Beams come back by sum / length ** penalty, of the generated tokens; an ending token may count or not.

    The sums are upstream's own and not divided (docs/source/features/sampling.md). The control searches with
    another penalty, whose order this one does not explain.
    """
    del control
    entries = observed(run, "beams")
    best = max(sum(_in_order(one, number(value), ending) for one in entries) for ending in (0, 1))
    return Shown(
        best == len(entries), f"{best} of {len(entries)} prompts' beams are in the order of sum / length^{value}"
    )


def _in_order(entry: dict[str, list[float]], penalty: float, ending: int) -> bool:
    scores = [
        number(total) / max(length - ending * bool(end), 1) ** penalty
        for total, length, end in zip(entry["cumulative"], entry["lengths"], entry["ended"], strict=True)
    ]
    return all(a >= b - 1e-4 for a, b in itertools.pairwise(scores))


_GIVEN = {False: 0, True: 1, "never": 2}


def _early(run: Seen, control: Seen, value: JSON) -> Shown:
    """True stops sooner than the control, False and "never" later; which of these two, the call tells."""
    ours, theirs = (len(observed(side, "forwards")) for side in (run, control))
    given = set(map(str, arguments(run, "SamplingParams", "early_stopping")))
    wanted = _GIVEN[value] if isinstance(value, (bool, str)) else None
    fine = (ours < theirs if value is True else ours > theirs) and given == {str(wanted)}
    return Shown(fine, f"{ours} steps (control: {theirs}), early_stopping={', '.join(sorted(given))}")


def _diverse(run: Seen, control: Seen, value: JSON) -> Shown:
    """Other beams come back than in the control."""
    del value
    ours, theirs = ([one["token_ids"] for one in observed(side, "beams")] for side in (run, control))
    differ = sum(a != b for a, b in zip(ours, theirs, strict=True))
    return Shown(differ > 0, f"{differ} of {len(ours)} prompts have other beams than in the control")


def _streams(run: Seen, control: Seen, value: JSON) -> Shown:
    """True: pieces come one after the other, and joined are the output. False: each output comes whole."""
    del control
    chunks, outputs = run.observation["chunks"], run.observation["outputs"]
    pieces = [[chunk for chunk in chunks if chunk["prompt"] == output["prompt"]] for output in outputs]
    joined = all("".join(c["text"] for c in own) == o["text"] for own, o in zip(pieces, outputs, strict=True))
    counts = [len(own) for own in pieces]
    spread = statistics.median(own[-1]["at_s"] - own[0]["at_s"] for own in pieces)
    whole = statistics.median(own[-1]["at_s"] for own in pieces)
    fine = joined and (min(counts) > 2 and spread > whole / 2 if value else max(counts) == 1)
    return Shown(
        fine,
        f"{min(counts)} to {max(counts)} pieces an output, {'' if joined else 'not '}equal to it when joined, over "
        f"{spread * 1000:.0f} of {whole * 1000:.0f} ms (medians)",
    )


context_logits = Probe(says="logits of every position of the prompt come back (False: none)", effect=_context)
generation_logits = Probe(says="logits of every generated position come back (False: none)", effect=_generation)
perf_metrics = Probe(says="results come with performance metrics", effect=_metrics)
exclude_input = Probe(
    says="the prompt is left out of the output's tokens (False: it stands there)", effect=_without_prompt
)
end_id = Probe(says="outputs end at the token and nowhere past it", effect=_ends_at)
bad_token_ids = Probe(says="the tokens are not generated, which the control does", effect=_barred)
truncate_prompt = Probe(says="prompts are cut to that many tokens", effect=_truncated)
max_seq_len = Probe(says="prompt and output together are cut at that length", effect=_longest)
json_object = Probe(says="outputs are JSON objects (False: not all are)", effect=_is_object)
num_beams = Probe(says="that many beams come back, no two alike (1: no beams)", effect=_width)
beams_enabled = Probe(says="four beams come back when enabled, none when not", effect=_enabled)
length_penalty = Probe(
    says="beams come back by log-probability over length to the power of the penalty", effect=_ranked, decisive=False
)
early_stopping = Probe(
    says="the search stops sooner when True, later when False or never",
    effect=_early,
    decisive=False,  # where no beam ends by itself there is nothing to stop
)
diversity = Probe(says="other beams come back than in the control", effect=_diverse, decisive=False)
streaming = Probe(
    says="output arrives in pieces over the time it takes when streaming, whole when not",
    effect=_streams,
    decisive=False,  # on a busy machine pieces may wait for each other
)
