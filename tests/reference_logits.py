"""Raw logits of the shipped model, by a plain forward call over the whole prefix: no cache, no batch, no sampler.

`python -m tests.reference_logits MODEL`, run by an interpreter that has torch and transformers, answers lines on
stdin: a text gets its ids, a list of ids the logits of the position after them. `Reference` is the asking side.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests import interpreters


@dataclass(slots=True)
class Reference:
    """The model as a function; what was asked once is remembered."""

    process: subprocess.Popen[str]
    known: dict[tuple[int, ...], list[float]] = field(default_factory=dict)

    def ids(self, text: str) -> list[int]:
        """The ids of a text, as the tokenizer of the model gives them."""
        found = self._ask(text)
        return [int(one) for one in found]

    def __call__(self, context: Sequence[int]) -> list[float]:
        """Raw logits of the token that follows `context`."""
        key = tuple(context)
        if key not in self.known:
            self.known[key] = self._ask(list(context))
        return self.known[key]

    def _ask(self, question: str | list[int]) -> list[float]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(json.dumps(question), file=self.process.stdin, flush=True)
        answer: list[float] = json.loads(self.process.stdout.readline())
        return answer


@contextmanager
def reference(python: Path, model: Path) -> Iterator[Reference]:
    """The model, loaded in a process of that interpreter."""
    with subprocess.Popen(
        [python, "-m", "tests.reference_logits", str(model)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(interpreters.ROOT), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
    ) as process:
        yield Reference(process)
        process.communicate()


def _answer(folder: str) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    for line in sys.stdin:
        question = json.loads(line)
        if isinstance(question, str):
            print(json.dumps(tokenizer(question)["input_ids"]), flush=True)
            continue
        with torch.inference_mode():
            logits = model(torch.tensor([question]), use_cache=False).logits[0, -1]
        print(json.dumps(logits.tolist()), flush=True)


if __name__ == "__main__":
    _answer(sys.argv[1])
