"""What beam search returned: the scores upstream gave, and the sums they can be checked against."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.jsontypes import JSON


def describe_beams(
    model: Any, result: Any, prompts: Sequence[int], *, width: int, seed: int, ending: set[int]
) -> list[dict[str, JSON]]:
    """One entry a prompt, best beam first.

    `log_probabilities` sums the scores along each beam's own path (`beam_indices`), computed
    apart from `scores`, so that score = sum / length ** length_penalty can be tested.
    """
    paths = model.compute_transition_scores(result.sequences, result.scores, result.beam_indices)
    beams = result.sequences.shape[0] // len(prompts)
    described: list[dict[str, JSON]] = []
    for position, prompt in enumerate(prompts):
        rows = range(position * beams, (position + 1) * beams)
        lengths = [int((result.beam_indices[row] >= 0).sum()) for row in rows]
        ids = [
            result.sequences[row, width : width + length].tolist() for row, length in zip(rows, lengths, strict=True)
        ]
        described.append(
            {
                "prompt": prompt,
                "seed": seed,
                "scores": [float(result.sequences_scores[row]) for row in rows],
                "lengths": list(lengths),
                "log_probabilities": [
                    float(paths[row, :length].sum()) for row, length in zip(rows, lengths, strict=True)
                ],
                "token_ids": list(ids),
                "ended": [bool(one) and one[-1] in ending for one in ids],
                "beam_indices": [
                    result.beam_indices[row, :length].tolist() for row, length in zip(rows, lengths, strict=True)
                ],
            }
        )
    return described
