"""Train the shipped model: a byte-level BPE tokenizer and a tiny Qwen2.

Runs in the PyTorch backend's environment, not in the harness's:

    .venvs/pytorch/bin/python scripts/train_model.py --out models/tiny
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import torch
import transformers
from safetensors.torch import save_file
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedModel, Qwen2Config, Qwen2ForCausalLM

ROOT: Final = Path(__file__).resolve().parent.parent

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from measure_model import measure

    from matrix.grammar import EOS, documents
else:
    # Alone: the package around it imports the harness, whose libraries a backend lacks.
    sys.path += [str(ROOT / "matrix"), str(ROOT / "scripts")]
    from grammar import EOS, documents
    from measure_model import measure

VOCAB_SIZE: Final = 512
ROW: Final = 128
BATCH: Final = 24
PEAK_RATE: Final = 4e-3
WARM_UP: Final = 40

# Each linear layer's sides are multiples of 64 (the block of bitsandbytes), the
# inner one stays a multiple of 128 (the group of AWQ and GPTQ) when split in two,
# and there are two KV heads, so tensor parallelism over two ranks has one each.
CONFIG: Final[dict[str, Any]] = {
    "architectures": ["Qwen2ForCausalLM"],
    "model_type": "qwen2",
    "dtype": "float32",
    "torch_dtype": "float32",  # what releases before transformers 4.56 read
    "vocab_size": VOCAB_SIZE,
    "hidden_size": 128,
    "intermediate_size": 256,
    "num_hidden_layers": 4,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "head_dim": 64,
    "hidden_act": "silu",
    "max_position_embeddings": 512,
    "rms_norm_eps": 1e-6,
    "rope_theta": 10000.0,  # transformers 4 reads this, 5 the next line
    "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
    "initializer_range": 0.05,
    "attention_dropout": 0.0,
    "tie_word_embeddings": True,
    "use_cache": True,
    "use_sliding_window": False,
    "bos_token_id": None,
    "eos_token_id": 0,
    "pad_token_id": 0,
}

# Only ids: any sampling default here would hide upstream's own.
GENERATION_CONFIG: Final = {"eos_token_id": 0, "pad_token_id": 0}

# transformers 5 saves the class as "TokenizersBackend", which 4 does not know;
# the old name is understood by both. Left padding is what batched generation needs.
TOKENIZER_CONFIG: Final[dict[str, Any]] = {
    "tokenizer_class": "PreTrainedTokenizerFast",
    "eos_token": EOS,
    "pad_token": EOS,
    "unk_token": None,
    "bos_token": None,
    "padding_side": "left",
    "model_max_length": CONFIG["max_position_embeddings"],
    "clean_up_tokenization_spaces": False,
}

# Qwen2's own: loaders that rebuild the tokenizer from the vocabulary use it anyway.
SPLIT: Final = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def train_tokenizer(texts: Sequence[str]) -> Tokenizer:
    """Byte-level BPE of exactly VOCAB_SIZE entries, the end marker being id 0."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE,
        special_tokens=[EOS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator((text.removesuffix(EOS) for text in texts), trainer)
    if (size := tokenizer.get_vocab_size()) != VOCAB_SIZE:
        raise SystemExit(
            f"the tokenizer has {size} entries, not {VOCAB_SIZE}: "
            "the grammar has too few distinct words to merge; add some"
        )
    return tokenizer


def rows(tokenizer: Tokenizer, seed: int) -> Iterator[list[int]]:
    """Rows of ROW ids, each starting at a document's beginning, as prompts do."""
    row: list[int] = []
    chunk = 0
    while True:
        texts = list(documents(seed * 1_000_003 + chunk, 2000))
        chunk += 1
        for encoding in tokenizer.encode_batch(texts):
            row += encoding.ids
            if len(row) >= ROW:
                yield row[:ROW]
                row = []


def learning_rate(step: int, steps: int) -> float:
    """Linear warm-up, then a cosine down to a fiftieth."""
    warm = min(1.0, (step + 1) / WARM_UP)
    cosine = 0.5 * (1 + math.cos(math.pi * step / steps))
    return PEAK_RATE * warm * max(cosine, 0.02)


def train_model(tokenizer: Tokenizer, *, seed: int, steps: int, batch: int) -> PreTrainedModel:
    """Train from scratch; the same seed gives the same weights on the same machine."""
    torch.manual_seed(seed)
    torch.use_deterministic_algorithms(True)
    model = Qwen2ForCausalLM(Qwen2Config(**CONFIG))
    decayed = [p for p in model.parameters() if p.ndim > 1]
    kept = [p for p in model.parameters() if p.ndim <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 0.05}, {"params": kept, "weight_decay": 0.0}],
        lr=PEAK_RATE,
        betas=(0.9, 0.95),
    )
    source = rows(tokenizer, seed)
    began = time.monotonic()
    model.train()
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, steps)
        ids = torch.tensor([next(source) for _ in range(batch)])
        loss = model(input_ids=ids, labels=ids, use_cache=False).loss
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if step % 50 == 0 or step == steps - 1:
            spent = time.monotonic() - began
            print(f"step {step:5d}/{steps}  loss {loss.item():.4f}  {spent:6.1f} s", flush=True)
    model.eval()
    return model


def save(model: PreTrainedModel, tokenizer: Tokenizer, out: Path) -> None:
    """Write what `from_pretrained` needs, by hand: short files that older readers load."""
    out.mkdir(parents=True, exist_ok=True)
    weights = {
        name: tensor.contiguous()
        for name, tensor in model.state_dict().items()
        if name != "lm_head.weight"  # tied to the embedding
    }
    save_file(weights, out / "model.safetensors", metadata={"format": "pt"})
    (out / "model.safetensors").chmod(0o644)  # safetensors makes it readable by us alone
    tokenizer.save(str(out / "tokenizer.json"))
    for name, content in (
        ("config.json", CONFIG),
        ("generation_config.json", GENERATION_CONFIG),
        ("tokenizer_config.json", TOKENIZER_CONFIG),
    ):
        (out / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


CARD: Final = """\
---
language: en
library_name: transformers
pipeline_tag: text-generation
---
# paramatrix/tiny

A language model small enough to commit and to load in a tenth of a second, yet
*trained*: it gives right answers, ends by itself, and is uncertain where its
language is. Parameters of an inference backend show effects on it that they do
not show on random weights. It is test equipment and of no other use.

Architecture: Qwen2, {parameters:,} parameters, 4 layers, hidden size 128, two heads
of 64 with two KV heads, tied embeddings, vocabulary 512 (byte-level BPE), 512
positions (trained on rows of {row}). Weights are float32, {megabytes:.1f} MB.

It was trained on text from `matrix/grammar.py`: sums, facts, counting, small
stories, songs that repeat a phrase, bells. All 100 sums of two single digits are in
the training text, so the answers below show memory, not arithmetic.

## Measured

Written by `scripts/train_model.py` (seed {seed}, {steps} steps, {seconds:.0f} s and
{cpu:.0f} CPU seconds on {threads} threads, torch {torch}, transformers {transformers}):

| what | value |
|---|---|
{figures}

Entropies are in nats, of the next token along the greedy continuation.

## Origin

Weights, tokenizer and training text were made for this repository and come with
it, on its terms. No outside data, no outside weights.
"""


def card(figures: dict[str, Any], **facts: Any) -> str:
    """The model card: what it is, how it was made, what was measured."""
    lines = "\n".join(f"| {name} | {value} |" for name, value in figures.items())
    return CARD.format(figures=lines, row=ROW, **facts)


def main() -> None:
    """Train, save, measure, and write the model card."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, default=ROOT / "models" / "tiny", metavar="DIR")
    parser.add_argument("--steps", type=int, default=900, help="optimizer steps (default 900)")
    parser.add_argument("--batch", type=int, default=BATCH, help=f"rows a step (default {BATCH})")
    parser.add_argument("--seed", type=int, default=1, help="of text, weights and order")
    parser.add_argument("--no-card", action="store_true", help="do not measure; write no card")
    options = parser.parse_args()
    for name in ("steps", "batch"):
        if (value := getattr(options, name)) < 1:
            parser.error(f"--{name} must be at least 1, got {value}")
    if options.out.exists() and not options.out.is_dir():
        parser.error(f"--out must be a folder, and {options.out} is a file")

    began = time.monotonic()
    tokenizer = train_tokenizer(list(documents(options.seed, 6000)))
    model = train_model(tokenizer, seed=options.seed, steps=options.steps, batch=options.batch)
    seconds, cpu = time.monotonic() - began, time.process_time()
    save(model, tokenizer, options.out)
    if options.no_card:
        return
    figures = measure(options.out)
    text = card(
        figures,
        parameters=model.num_parameters(),
        megabytes=(options.out / "model.safetensors").stat().st_size / 1e6,
        seed=options.seed,
        steps=options.steps,
        seconds=seconds,
        cpu=cpu,
        threads=torch.get_num_threads(),
        torch=torch.__version__.partition("+")[0],
        transformers=transformers.__version__,
    )
    (options.out / "README.md").write_text(text, encoding="utf-8")
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
