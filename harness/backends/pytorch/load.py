"""Loading: `from_pretrained` for the tokenizer and the model, placement, compilation."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.backends.pytorch import compiling
from harness.backends.pytorch.arguments import TOKENIZER, model_arguments
from harness.backends.pytorch.quantize import quantization_arguments
from harness.backends.settings import take

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.backends.base import Calls, LoadJob


@dataclass(slots=True)
class Loaded:
    """A model ready to generate, and what its loading decided for later."""

    model: Any
    tokenizer: Any
    compilation: compiling.Compilation
    defaults: dict[str, Any]
    """Arguments of every `generate` that follow from engine settings."""
    weight_files: list[str]
    """Files that the weights were really read from."""


def load_model(job: LoadJob, calls: Calls, distribution: dict[str, Any], device_index: int = 0) -> Loaded:
    """Load in this process.

    Args:
        job: what to load.
        calls: records the calls made upstream.
        distribution: arguments of `from_pretrained` that spread one model over processes.
        device_index: the accelerator that this process should use, where there is one.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    settings = job.settings
    place: dict[str, Any] = {} if job.cache_dir is None else {"cache_dir": job.cache_dir, "local_files_only": True}
    tokenizer = calls(
        "AutoTokenizer.from_pretrained",
        AutoTokenizer.from_pretrained,
        job.model,
        **place,
        **take(settings, TOKENIZER),
        padding_side="left",
    )
    if tokenizer.pad_token_id is None:
        # a batch needs some padding token; which one is masked out anyway
        tokenizer.pad_token = tokenizer.eos_token
    arguments = {**place, **model_arguments(settings, calls), **quantization_arguments(settings, calls), **distribution}
    with _opened_weights() as weight_files:
        model = calls(
            "AutoModelForCausalLM.from_pretrained", AutoModelForCausalLM.from_pretrained, job.model, **arguments
        )
    placed = "device_map" in arguments or distribution or getattr(model, "is_quantized", False)
    if torch.cuda.is_available() and not placed:
        # Upstream's default is the CPU. An experiment that says nothing about devices wants
        # the accelerator; one that names a device_map gets exactly that.
        calls("model.to", model.to, f"cuda:{device_index}")
    model.eval()
    compilation = compiling.compile_model(model, settings, calls)
    return Loaded(model, tokenizer, compilation, compilation.generate_arguments(), weight_files)


@contextmanager
def _opened_weights() -> Iterator[list[str]]:
    """The safetensors files that upstream opens meanwhile.

    Which snapshot of a hub repository was loaded shows in no attribute of the model any more.
    """
    from transformers import modeling_utils

    original = modeling_utils.safe_open
    opened: list[str] = []

    def safe_open(file: Any, *args: Any, **kwargs: Any) -> Any:
        if str(file) not in opened:
            opened.append(str(file))
        return original(file, *args, **kwargs)

    modeling_utils.safe_open = safe_open
    try:
        yield opened
    finally:
        modeling_utils.safe_open = original
