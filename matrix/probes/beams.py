"""Beam search: rows of the forward calls, and the arithmetic of the returned scores."""

from __future__ import annotations

import json
from collections.abc import Mapping

from harness.declare import Probe, Seen, Shown
from harness.jsontypes import JSON
from matrix.probes.scores import number, span


def _rows(run: Seen, beams: float) -> Shown:
    rows = [float(shape[0]) for shape in run.observation["forwards"]]
    return Shown(bool(rows) and set(rows) == {beams}, f"{span(rows)} rows in each forward call of one prompt")


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
    """True stops sooner than the control, False and "never" later; which of these two, the call tells."""
    ours, theirs = len(run.observation["forwards"]), len(control.observation["forwards"])
    given = {json.dumps(_argument(call, "early_stopping")) for call in run.calls if call.get("call") == "generate"}
    fine = ours < theirs if value is True else ours > theirs
    text = f"{ours} forward calls (control: {theirs}), early_stopping={', '.join(sorted(given))}"
    return Shown(fine and given == {json.dumps(value)}, text)


def _argument(call: Mapping[str, JSON], name: str) -> JSON:
    named = call.get("kwargs")
    return named.get(name) if isinstance(named, dict) else None


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
