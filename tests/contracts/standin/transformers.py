"""The one thing of transformers that is asked for beside the stand-in: a tokenizer, a token a byte."""

from __future__ import annotations

from typing import Any


class AutoTokenizer:
    """Makes tokenizers."""

    @staticmethod
    def from_pretrained(model: str) -> Any:  # noqa: ARG004
        return lambda texts: {"input_ids": [list(text.encode()) for text in texts]}
