"""Measure the shipped model and print the figures as JSON.

Used by `train_model.py` for the model card and by the tests; runs in the PyTorch
backend's environment.

    .venvs/pytorch/bin/python scripts/measure_model.py models/tiny
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig

ROOT: Final = Path(__file__).resolve().parent.parent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matrix.grammar import BEAMS, LONG, LOOPING, OPEN, SHORT, SUMS, VARIED
else:
    # Alone: the package around it imports the harness, whose libraries a backend lacks.
    sys.path.append(str(ROOT / "matrix"))
    from grammar import BEAMS, LONG, LOOPING, OPEN, SHORT, SUMS, VARIED


class Subject:
    """The model in one precision, with the few questions that we ask it."""

    def __init__(self, folder: Path, **load: Any) -> None:
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.model = AutoModelForCausalLM.from_pretrained(folder, **load).eval()
        self.eos = int(self.tokenizer.eos_token_id)

    def greedy(self, prompts: Sequence[str], new_tokens: int = 12) -> list[list[int]]:
        """New tokens of each prompt up to its end marker, run as one padded batch."""
        batch = self.tokenizer(list(prompts), return_tensors="pt", padding=True)
        width = batch["input_ids"].shape[1]
        out = self.model.generate(**batch, max_new_tokens=new_tokens, do_sample=False)
        return [self._until_end(row) for row in out[:, width:].tolist()]

    def _until_end(self, row: list[int]) -> list[int]:
        return row[: row.index(self.eos) + 1] if self.eos in row else row

    def text(self, tokens: Sequence[int]) -> str:
        """The tokens as text, without the end marker and outer blanks."""
        return str(self.tokenizer.decode(tokens, skip_special_tokens=True)).strip()

    def sums(self) -> tuple[float, float]:
        """Shares of SUMS answered right, and ended by the end marker."""
        outputs = self.greedy([prompt for prompt, _ in SUMS])
        pairs = zip(outputs, SUMS, strict=True)
        right = sum(self.text(tokens) == answer for tokens, (_, answer) in pairs)
        ended = sum(tokens[-1] == self.eos for tokens in outputs)
        return right / len(SUMS), ended / len(SUMS)

    def entropies(self, prompt: str, steps: int) -> list[float]:
        """Nats of the next-token distribution along the greedy continuation."""
        batch = self.tokenizer(prompt, return_tensors="pt")
        out = self.model.generate(
            **batch,
            max_new_tokens=steps,
            do_sample=False,
            output_logits=True,
            return_dict_in_generate=True,
        )
        logits = torch.cat(out.logits).float()
        nats: list[float] = torch.distributions.Categorical(logits=logits).entropy().tolist()
        return nats

    def best_beam(self, prompt: str, **keywords: Any) -> tuple[str, int]:
        """Text of the best of four beams, and how many forward calls it took."""
        calls: list[None] = []
        hook = self.model.register_forward_hook(lambda *_: calls.append(None))
        try:
            batch = self.tokenizer(prompt, return_tensors="pt")
            out = self.model.generate(**batch, num_beams=4, do_sample=False, max_new_tokens=24, **keywords)
        finally:
            hook.remove()
        return self.text(out[0, batch["input_ids"].shape[1] :].tolist()), len(calls)

    def margin(self, prompts: Sequence[str], steps: int) -> float:
        """Smallest lead, in nats, of the greedy token over the second along the way."""
        leads: list[float] = []
        for prompt in prompts:
            out = self.model.generate(
                **self.tokenizer(prompt, return_tensors="pt"),
                max_new_tokens=steps,
                do_sample=False,
                output_logits=True,
                return_dict_in_generate=True,
            )
            best = torch.cat(out.logits).float().topk(2).values
            leads.append((best[:, 0] - best[:, 1]).min().item())
        return min(leads)


def longest_loop(tokens: Sequence[int]) -> int:
    """Most often that any three tokens in a row occur."""
    triples = list(zip(tokens, tokens[1:], tokens[2:], strict=False))
    return max((triples.count(triple) for triple in triples), default=0)


def measure(folder: Path) -> dict[str, Any]:
    """All figures of the model card."""
    exact = Subject(folder, dtype=torch.float32, attn_implementation="sdpa")
    eager = Subject(folder, dtype=torch.float32, attn_implementation="eager")
    right, ended = exact.sums()
    half_right, half_ended = Subject(folder, dtype=torch.bfloat16).sums()
    prompts = [*SHORT, *VARIED, *OPEN, *LOOPING, LONG]
    together = exact.greedy(VARIED, 24)
    lead = exact.margin(prompts, 24)
    figures: dict[str, Any] = {
        "vocabulary": len(exact.tokenizer),
        "sums right, float32": right,
        "sums ended by themselves, float32": ended,
        "sums right, bfloat16": half_right,
        "sums ended by themselves, bfloat16": half_ended,
        "smallest lead of the greedy token on any prompt list (nats)": round(lead, 2),
        "same tokens alone as in a padded batch of 8": together == [exact.greedy([prompt], 24)[0] for prompt in VARIED],
        "same tokens with eager as with sdpa attention": eager.greedy(prompts, 24) == exact.greedy(prompts, 24),
    }
    if importlib.util.find_spec("bitsandbytes"):
        nf4 = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4")
        figures["sums right, bitsandbytes nf4"], figures["sums ended, bitsandbytes nf4"] = Subject(
            folder, dtype=torch.float32, quantization_config=nf4
        ).sums()
    for prompt in OPEN:
        nats = exact.entropies(prompt, 8)
        figures[f"entropy after `{prompt}`"] = " ".join(f"{value:.2f}" for value in nats)
    for prompt in LOOPING:
        tokens = exact.greedy([prompt], 48)[0]
        figures[f"3-gram repeats in 48 tokens after `{prompt}`"] = longest_loop(tokens)
    for prompt in BEAMS:
        for penalty in (-2.0, 0.5, 1.0, 2.0):
            text, _ = exact.best_beam(prompt, length_penalty=penalty)
            figures[f"best of 4 beams after `{prompt}`, length_penalty {penalty}"] = text
        for stop in (True, False):
            _, calls = exact.best_beam(prompt, early_stopping=stop)
            figures[f"forward calls after `{prompt}`, early_stopping {stop}"] = calls
    return figures


def main() -> None:
    """Print the figures as one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", type=Path, nargs="?", default=ROOT / "models" / "tiny")
    print(json.dumps(measure(parser.parse_args().folder)))


if __name__ == "__main__":
    main()
