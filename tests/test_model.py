"""The shipped model keeps its promises, and its training script repeats itself.

What needs torch runs in the PyTorch backend's interpreter; this process has none.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from matrix import grammar
from tests.interpreters import ROOT, run

MODEL = ROOT / "models" / "tiny"


@pytest.fixture(scope="module")
def figures(pytorch_python: str) -> dict[str, Any]:
    lines = run(pytorch_python, str(ROOT / "scripts" / "measure_model.py"), str(MODEL))
    measured: dict[str, Any] = json.loads(lines.splitlines()[-1])
    return measured


def test_answers_the_sums_and_ends_by_itself(figures: dict[str, Any]) -> None:
    assert figures["sums right, float32"] >= 0.95
    assert figures["sums ended by themselves, float32"] >= 0.95
    assert figures["sums right, bfloat16"] >= 0.9
    assert figures["sums right, bitsandbytes nf4"] >= 0.8


def test_the_vocabulary_has_512_entries(figures: dict[str, Any]) -> None:
    assert figures["vocabulary"] == 512


def test_greedy_tokens_do_not_hang_on_batching_or_the_attention_kernel(
    figures: dict[str, Any],
) -> None:
    assert figures["same tokens alone as in a padded batch of 8"] is True
    assert figures["same tokens with eager as with sdpa attention"] is True
    assert figures["smallest lead of the greedy token on any prompt list (nats)"] > 0.1


@pytest.mark.parametrize("prompt", grammar.OPEN)
def test_open_prompts_leave_several_steps_open(prompt: str, figures: dict[str, Any]) -> None:
    nats = [float(value) for value in figures[f"entropy after `{prompt}`"].split()]
    assert nats[0] > 1
    assert sum(value > 1 for value in nats) >= 4


@pytest.mark.parametrize("prompt", grammar.LOOPING)
def test_looping_prompts_are_continued_by_repeating(prompt: str, figures: dict[str, Any]) -> None:
    assert figures[f"3-gram repeats in 48 tokens after `{prompt}`"] >= 8


def test_beams_differ_with_the_length_penalty_and_early_stopping(figures: dict[str, Any]) -> None:
    for prompt in grammar.BEAMS:
        best = {
            penalty: figures[f"best of 4 beams after `{prompt}`, length_penalty {penalty}"]
            for penalty in (-2.0, 0.5, 1.0)
        }
        assert len(set(best.values())) == 3, best
        hasty, patient = (figures[f"forward calls after `{prompt}`, early_stopping {stop}"] for stop in (True, False))
        assert hasty < patient


def test_the_generation_config_has_no_sampling_defaults() -> None:
    content = json.loads((MODEL / "generation_config.json").read_text(encoding="utf-8"))
    assert set(content) == {"eos_token_id", "pad_token_id"}


def test_the_grammar_repeats_itself() -> None:
    first = list(grammar.documents(3, 200))
    assert first == list(grammar.documents(3, 200))
    assert first != list(grammar.documents(4, 200))
    assert all(document.endswith(grammar.EOS) for document in first)


def test_there_are_50_different_sums() -> None:
    assert len(dict(grammar.SUMS)) == 50
    assert ("7 plus 8 is", "15 .") in grammar.SUMS


def test_training_repeats_itself(pytorch_python: str, tmp_path: Path) -> None:
    digests = []
    for hash_seed in ("1", "2"):  # what set and dict order would hang on
        out = tmp_path / hash_seed
        script = str(ROOT / "scripts" / "train_model.py")
        arguments = ("--steps", "5", "--batch", "4", "--no-card", "--out", str(out))
        run(pytorch_python, script, *arguments, PYTHONHASHSEED=hash_seed, OMP_NUM_THREADS="1")
        files = (out / "model.safetensors", out / "tokenizer.json")
        digests.append([hashlib.sha256(file.read_bytes()).hexdigest() for file in files])
    assert digests[0] == digests[1]
