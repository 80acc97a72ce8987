"""What the logits processors of `generate` were given, and what they made of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.backends.steps import summarise

if TYPE_CHECKING:
    from harness.backends.base import Step


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
