"""The raw logits against the scores that tokens are drawn from, one summary a step and row."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.backends.base import Step

LISTED = 64
"""Most ids listed in `Step.moved` and `Step.context`."""


def recording_processors(processors: Any, tape: Tape) -> Any:
    """The same processors in a list that tells `tape` what went in and what came out.

    What it returns is the very tensor upstream samples from; nothing is computed twice.
    """
    from transformers import LogitsProcessorList

    class RecordingProcessors(LogitsProcessorList):  # type: ignore[misc]  # untyped base
        def __call__(self, input_ids: Any, scores: Any, **kwargs: Any) -> Any:
            raw = scores.clone()
            processed = super().__call__(input_ids, scores, **kwargs)
            tape.record(input_ids, raw, processed)
            return processed

    return RecordingProcessors(processors)


class Tape:
    """What the processors of one `generate` call saw, by (row, step).

    Speculative decoding scores a position again after a rejection: the last one counts.
    """

    def __init__(self, width: int, *, scores: bool) -> None:
        self.width = width
        self.scores = scores
        self.first: dict[int, Any] = {}
        """Raw logits of the first generated position, by row."""
        self.summaries: dict[tuple[int, int], Step] = {}

    def record(self, input_ids: Any, raw: Any, processed: Any) -> None:
        """Note one call of the processors."""
        step = int(input_ids.shape[1]) - self.width
        for row in range(raw.shape[0]):
            if step == 0:
                self.first[row] = raw[row].detach().cpu()
            if self.scores:
                self.summaries[row, step] = summarise(raw[row], processed[row], input_ids[row])

    def steps(self, rows: dict[int, tuple[int, list[int]]], seed: int) -> list[Step]:
        """Summaries of the rows that became outputs: row → (prompt, generated ids)."""
        kept: list[Step] = []
        for (row, step), summary in sorted(self.summaries.items()):
            if row not in rows or step >= len(rows[row][1]):
                continue
            prompt, tokens = rows[row]
            kept.append({"prompt": prompt, "seed": seed, "step": step, **summary, "token": tokens[step]})
        return kept


def summarise(raw: Any, processed: Any, context: Any) -> Step:
    """Compare one row of raw logits with the scores made of it."""
    import torch

    raw, processed = raw.double(), processed.double()
    left = torch.isfinite(processed)
    seen = torch.zeros_like(left)
    seen[context[(context >= 0) & (context < raw.shape[0])]] = True
    comparable = left & (processed.abs() > 1e-9) & torch.isfinite(raw)
    plain = comparable & ~seen
    # an id of the context may be moved by a penalty: where only such ids are left, the common
    # scale cannot be told from the penalty and is not guessed
    ratios = (raw / processed)[plain]
    scale = float(ratios.median()) if ratios.numel() else None
    even = raw / scale if scale else raw
    moved = left & ((processed - even).abs() > 1e-4 * even.abs().clamp(min=1.0))
    if scale is None:
        moved = torch.zeros_like(left)

    # ids that were removed are put back where they would have been, to know what share was kept
    whole = torch.softmax(torch.where(left, processed, even), dim=-1)
    best = whole.max()
    inside = whole[left]
    outside = whole[~left]
    at = torch.where(moved)[0]
    before, after = even[at], processed[at]
    factors = torch.where(before > 0, before / after, after / before)
    return {
        "finite": int(left.sum()),
        "vocabulary": int(raw.shape[0]),
        "scale": scale,
        "kept_mass": float(inside.sum()),
        "kept_mass_without_last": float(inside.sum() - inside.min()) if inside.numel() else 0.0,
        "kept_min_ratio": float(inside.min() / best) if inside.numel() else 0.0,
        "dropped_max_ratio": float(outside.max() / best) if outside.numel() else None,
        "moved": at[:LISTED].tolist(),
        "context": torch.where(seen & left)[0][:LISTED].tolist(),
        "penalty": float(factors.median()) if factors.numel() else None,
        "argmax": int(raw.argmax()),
    }
