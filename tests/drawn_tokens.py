"""What the shipped model's tokens would be under sampling rules, told as TensorRT-LLM's adapter tells them.

`python -m tests.drawn_tokens MODEL`, run by an interpreter that has torch and transformers, reads one JSON object on
stdin, {"prompt": …, "tokens": …, "rules": [rule, …]}, and prints the steps under each rule, which has the fields of
`Sampled` and its number of outputs. The sampler is our own and shares no code with the probes that judge it; the logits
come from plain forward calls.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from harness.declare import Workload
from tests import interpreters

END = 0


@dataclass(frozen=True, slots=True)
class Sampled:
    """What a token is drawn from."""

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    penalty: float = 1.0
    decay: float = 1.0
    """Factor of top_p after each token."""
    floor: float = 0.0
    """top_p decays no further."""
    again: int = -1
    """After this token top_p is as at first."""


def drawn_tokens(python: Path, work: Workload, rules: Mapping[Sampled, int]) -> dict[Sampled, list[dict[str, Any]]]:
    """Steps of so many outputs of a workload's prompt under each of the rules, each output with a seed of its own."""
    asked = {
        "prompt": work.prompts[0],
        "tokens": work.max_new_tokens,
        "rules": [asdict(rule) | {"outputs": outputs} for rule, outputs in rules.items()],
    }
    done = subprocess.run(
        [python, "-m", "tests.drawn_tokens", str(interpreters.ROOT / "models" / "tiny")],
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env={**os.environ, "PYTHONPATH": str(interpreters.ROOT), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return dict(zip(rules, json.loads(done.stdout), strict=True))


def _answer(folder: str) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from harness.backends.tensorrt.scores import steps_of

    torch.manual_seed(7)
    asked = json.load(sys.stdin)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    prompt = AutoTokenizer.from_pretrained(folder)(asked["prompt"])["input_ids"]
    told: list[list[Any]] = []
    for rule in asked["rules"]:
        told.append([])
        count = rule.pop("outputs")
        for seed, (rows, ids) in enumerate(_outputs(model, prompt, asked["tokens"], count, Sampled(**rule))):
            output: Any = {"prompt": 0, "seed": seed, "token_ids": ids}
            told[-1] += steps_of(rows, prompt, output, set(), END)
    json.dump(told, sys.stdout)


def _outputs(model: Any, prompt: list[int], tokens: int, count: int, rule: Sampled) -> list[tuple[Any, list[int]]]:
    """(raw logits of each step, tokens) of each output."""
    import torch

    ids = fresh = torch.tensor([prompt] * count)
    raw, cache = [], None
    p = torch.full((count,), rule.top_p)
    for _ in range(tokens):
        with torch.inference_mode():
            called = model(fresh, past_key_values=cache, use_cache=True)
        cache = called.past_key_values
        raw.append(logits := called.logits[:, -1].float())
        token = fresh = torch.multinomial(_shares(logits, ids, rule, p), 1)
        p = torch.where(token[:, 0] == rule.again, rule.top_p, (p * rule.decay).clamp(min=rule.floor))
        ids = torch.cat([ids, token], dim=1)
    found = []
    for row in range(count):
        own = ids[row, len(prompt) :].tolist()
        length = own.index(END) + 1 if END in own else len(own)
        found.append((torch.stack([step[row] for step in raw[:length]]), own[:length]))
    return found


def _shares(logits: Any, ids: Any, rule: Sampled, p: Any) -> Any:
    """Probabilities after the penalty, the temperature and each limit."""
    import torch

    if rule.penalty != 1.0:
        own = logits.gather(1, ids)
        logits = logits.scatter(1, ids, torch.where(own > 0, own / rule.penalty, own * rule.penalty))
    shares, order = torch.softmax(logits / rule.temperature, dim=-1).sort(dim=-1, descending=True)
    if rule.top_k:
        shares[:, rule.top_k :] = 0.0
        shares /= shares.sum(dim=-1, keepdim=True)
    before = shares.cumsum(dim=-1) - shares
    out = (before >= p[:, None]) | (shares < rule.min_p * shares[:, :1])
    out[:, 0] = False
    return torch.zeros_like(shares).scatter(1, order, shares.masked_fill(out, 0.0))


if __name__ == "__main__":
    _answer(sys.argv[1])
