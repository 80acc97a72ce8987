"""Streaming: upstream's own `TextStreamer`, with the time of every piece noted as it arrives."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.backends.base import Chunk


def timed_streamer(tokenizer: Any, prompt: int, seed: int, forwards: Callable[[], int]) -> Any:
    """A `TextStreamer` that keeps `chunks` instead of printing.

    `forwards` counts the forward calls so far: a piece that was held back comes later than its own.
    Made by a function because its base class exists only once transformers is imported.
    """
    from transformers import TextStreamer

    class TimedStreamer(TextStreamer):  # type: ignore[misc]  # untyped base
        def __init__(self) -> None:
            super().__init__(tokenizer, skip_prompt=True, skip_special_tokens=True)
            self.chunks: list[Chunk] = []
            self._text = ""
            self._start = time.perf_counter()

        def on_finalized_text(self, text: str, stream_end: bool = False) -> None:  # noqa: ARG002 - upstream's signature
            self._text += text

        def put(self, value: Any) -> None:
            is_prompt = self.next_tokens_are_prompt
            at = time.perf_counter() - self._start
            super().put(value)
            if not is_prompt:
                self._keep(at, int(value.numel()))

        def end(self) -> None:
            at = time.perf_counter() - self._start
            super().end()
            if self._text:
                self._keep(at, 0)

        def _keep(self, at: float, tokens: int) -> None:
            chunk: Chunk = {"prompt": prompt, "seed": seed, "at_s": at, "tokens": tokens, "text": self._text}
            self.chunks.append({**chunk, "forwards": forwards()})
            self._text = ""

    return TimedStreamer()
