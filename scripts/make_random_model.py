"""Builds a model of Qwen2.5-0.5B's shape with random weights: what it draws is real, what it says is nothing.

Runs in a backend's interpreter (torch, transformers) and needs no network: the shape stands here, and the tokenizer is
the shipped model's, filled up to the model's vocabulary with entries that no text is split into, so that every id that
random weights choose has a text of its own.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parent.parent
SHIPPED: Final = ROOT / "models" / "tiny"
SHAPE: Final[dict[str, Any]] = {
    "hidden_size": 896,
    "intermediate_size": 4864,
    "num_hidden_layers": 24,
    "num_attention_heads": 14,
    "num_key_value_heads": 2,
    "vocab_size": 151936,
    "max_position_embeddings": 32768,
    "rms_norm_eps": 1e-6,
    "tie_word_embeddings": True,
}
"""From the config.json of Qwen/Qwen2.5-0.5B."""
THETA: Final = 1_000_000.0
"""Base of its rotary embedding."""


def build(out: Path, *, layers: int, vocabulary: int, seed: int) -> int:
    """Write the model folder, whole or not at all; the number of its parameters."""
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    shipped = json.loads((SHIPPED / "tokenizer.json").read_text(encoding="utf-8"))
    known = shipped["model"]["vocab"]
    if vocabulary < len(known):
        raise SystemExit(f"--vocabulary: expected at least the shipped tokenizer's {len(known)} entries")
    # "Ġ" is a space of the byte-level alphabet; without a merge that leads to it no text becomes such an entry
    known |= {f"Ġr{index}": index for index in range(len(known), vocabulary)}
    config = Qwen2Config(
        **SHAPE | {"num_hidden_layers": layers, "vocab_size": vocabulary},
        rope_parameters={"rope_type": "default", "rope_theta": THETA},
        bos_token_id=None,
        eos_token_id=0,
        pad_token_id=0,
    )
    torch.manual_seed(seed)
    model = Qwen2ForCausalLM(config).to(torch.bfloat16)
    out.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    try:
        model.save_pretrained(scratch)
        (scratch / "model.safetensors").chmod(0o644)  # safetensors makes it readable by us alone
        (scratch / "tokenizer.json").write_text(json.dumps(shipped, ensure_ascii=False), encoding="utf-8")
        told = json.loads((SHIPPED / "tokenizer_config.json").read_text(encoding="utf-8"))
        told["model_max_length"] = SHAPE["max_position_embeddings"]
        (scratch / "tokenizer_config.json").write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
        shutil.copyfile(SHIPPED / "generation_config.json", scratch / "generation_config.json")
        scratch.chmod(0o755)
        scratch.rename(out)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return int(model.num_parameters())


def main() -> None:
    """Build it, unless it is there."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("out", type=Path, metavar="DIR", help="the model folder; one that is there is kept")
    parser.add_argument("--layers", type=int, default=SHAPE["num_hidden_layers"])
    parser.add_argument("--vocabulary", type=int, default=SHAPE["vocab_size"])
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    if options.layers < 1:
        parser.error(f"--layers must be at least 1, got {options.layers}")
    if options.out.exists():
        if not (options.out / "config.json").is_file():
            parser.error(f"{options.out} exists and is no model folder: name another, or remove it")
        print(f"{options.out}: there already")
        return
    count = build(options.out, layers=options.layers, vocabulary=options.vocabulary, seed=options.seed)
    print(f"{options.out}: {count:,} parameters, random (seed {options.seed}), bfloat16")


if __name__ == "__main__":
    main()
