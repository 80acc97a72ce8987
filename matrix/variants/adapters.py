"""The shipped model with LoRA adapters beside its weights, as PEFT saves them."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from harness.declare import Variant
from matrix.variants import folders, tensors
from matrix.variants.tensors import Tensors

RANKS: Final = {"adapter": 8, "adapter-16": 16, "adapter-32": 32}
"""Sub-folder to the rank of the adapter it holds."""
ALPHA: Final = 2.0
"""`lora_alpha` as a multiple of the rank: what is added to a weight is ALPHA * B @ A."""
SIZE: Final = 0.8
"""Standard deviation of what is added, as a multiple of the weight's own. At this size another
model speaks: greedy tokens differ from the first on."""
TARGETS: Final = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def fill_adapters(model: Path, folder: Path) -> None:
    """Fill a model folder with a sub-folder for each of `RANKS`, which holds an adapter of that rank."""
    folders.copy(model, folder)
    weights = tensors.read(model / tensors.WEIGHTS)
    for name, rank in RANKS.items():
        (folder / name).mkdir()
        tensors.write(folder / name / "adapter_model.safetensors", adapter(weights, rank, name))
        folders.write_json(
            folder / name / "adapter_config.json",
            {
                "peft_type": "LORA",
                "task_type": "CAUSAL_LM",
                "base_model_name_or_path": None,
                "r": rank,
                "lora_alpha": ALPHA * rank,
                "lora_dropout": 0.0,
                "bias": "none",
                "target_modules": list(TARGETS),
            },
        )


def adapter(weights: Tensors, rank: int, seed: str) -> Tensors:
    """Noise of some rank for every linear layer: A and B, as PEFT names them."""
    found: Tensors = {}
    for name, weight in weights.items():
        layer = name.removesuffix(".weight")
        if layer.rpartition(".")[2] not in TARGETS or layer == name:
            continue
        rows, columns = weight.shape
        numbers = weight.floats()
        spread = (sum(number * number for number in numbers) / len(numbers)) ** 0.5
        # B @ A sums `rank` products: each factor gets its share of the spread.
        share = (SIZE * spread / (ALPHA * rank**0.5)) ** 0.5
        for part, shape in (("A", (rank, columns)), ("B", (rows, rank))):
            key = f"base_model.model.{layer}.lora_{part}.weight"
            found[key] = tensors.noise(shape, share, f"{seed} {key}")
    return found


ADAPTERS = Variant("adapters", fill_adapters, folders.itself)
