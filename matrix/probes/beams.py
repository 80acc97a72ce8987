"""Beam search: rows of the forward calls, and the arithmetic of the returned scores."""

from __future__ import annotations

import itertools
import json

from harness.declare import Probe, Seen, Shown
from harness.jsontypes import JSON
from matrix.probes.scores import number, span


def _rows(run: Seen, beams: float) -> Shown:
    """So many rows in each forward call; where there are several, as many different sequences come of them."""
    rows = [float(shape[0]) for shape in run.observation["forwards"]]
    back = [entry["token_ids"] for entry in run.observation.get("beams", [])]
    different = {len({json.dumps(ids) for ids in own}) for own in back if isinstance(own, list)}
    text = f"{span(rows)} rows in each forward call of one prompt"
    if different:
        text += f", {span([float(count) for count in different])} different sequences back"
    return Shown(
        bool(rows) and set(rows) == {beams} and different <= {int(beams)} and bool(different) is (beams > 1), text
    )


def _width(run: Seen, control: Seen, value: JSON) -> Shown:
    del control
    return _rows(run, number(value))


def _enabled(run: Seen, control: Seen, value: JSON) -> Shown:
    """Of the four beams that the companions ask for, four run when enabled and one when not."""
    del control
    return _rows(run, 4.0 if value else 1.0)


def _length_penalty(run: Seen, control: Seen, value: JSON) -> Shown:
    """Score = sum of log-probabilities / length ** penalty, for every beam longer than one token."""
    del control
    worst, count = 0.0, 0
    for entry in run.observation.get("beams", []):
        scores, sums, lengths = entry["scores"], entry["log_probabilities"], entry["lengths"]
        assert isinstance(scores, list)
        assert isinstance(sums, list)
        assert isinstance(lengths, list)
        for score, total, length in zip(scores, sums, lengths, strict=True):
            if number(length) > 1:
                count += 1
                expected = number(total) / number(length) ** number(value)
                worst = max(worst, abs(number(score) - expected) / max(abs(expected), 1e-3))
    return Shown(count > 0 and worst < 1e-3, f"{count} beam scores are within {worst:.2g} of sum / length^{value}")


def _early(run: Seen, control: Seen, value: JSON) -> Shown:
    """True stops sooner than the control, False and "never" later; which of them, generation has in its config."""
    ours, theirs = len(run.observation["forwards"]), len(control.observation["forwards"])
    config = run.observation["resolved"]["generation_config"]
    used = config.get("early_stopping") if isinstance(config, dict) else None
    fine = ours < theirs if value is True else ours > theirs
    text = f"{ours} forward calls (control: {theirs}), early_stopping={json.dumps(used)}"
    return Shown(fine and used == value and isinstance(used, type(value)), text)


def _most_rows(run: Seen) -> float:
    return max((float(shape[0]) for shape in run.observation["forwards"]), default=0.0)


def _kept(run: Seen, control: Seen, value: JSON) -> Shown:
    """A search that grows from one beam: that many are searched at once, and come back."""
    del control
    most = _most_rows(run)
    back = {
        len(entry["token_ids"]) for entry in run.observation.get("beams", []) if isinstance(entry["token_ids"], list)
    }
    return Shown(most == number(value) and back == {int(number(value))}, f"at most {most:g} rows a prompt, {back} back")


def _kept_enabled(run: Seen, control: Seen, value: JSON) -> Shown:
    """Of the four beams that the companions ask for, four are searched when enabled, none when not."""
    del control
    most, searched = _most_rows(run), bool(run.observation.get("beams"))
    return Shown(most == (4.0 if value else 1.0) and searched is bool(value), f"at most {most:g} rows a prompt")


def _ranked(run: Seen, control: Seen, value: JSON) -> Shown:
    """Beams come back in the order of sum / length ** penalty, an ending token not counted.

    The length is that of prompt and output together (vllm/entrypoints/generate/beam_search/utils.py). The control
    searches with another penalty, whose order this one does not explain.
    """
    del control
    fits = told = 0
    for entry in run.observation.get("beams", []):
        sums, lengths, ended = entry["log_probabilities"], entry["whole_lengths"], entry["ended"]
        assert isinstance(sums, list)
        assert isinstance(lengths, list)
        assert isinstance(ended, list)
        scores = [
            number(total) / (number(length) - bool(end)) ** number(value)
            for total, length, end in zip(sums, lengths, ended, strict=True)
        ]
        told += 1
        fits += all(a >= b - 1e-4 for a, b in itertools.pairwise(scores))
    return Shown(told > 0 and fits == told, f"{fits} of {told} prompts' beams are in the order of sum / length^{value}")


kept = Probe(says="that many beams are searched at once and come back", effect=_kept)
kept_enabled = Probe(says="four beams are searched when enabled, none when not", effect=_kept_enabled)
ranked = Probe(
    says="beams come back by log-probability over length to the power of the penalty", effect=_ranked, decisive=False
)
width = Probe(says="each prompt runs as that many beams", effect=_width)
enabled = Probe(says="four beams run when enabled, one when not", effect=_enabled)
length_penalty = Probe(
    says="beam scores are log-probability sums over length to the power of the penalty", effect=_length_penalty
)
early_stopping = Probe(
    says="the search stops sooner when True, later when False or never",
    effect=_early,
    decisive=False,  # where no beam ends by itself there is nothing to stop
)
