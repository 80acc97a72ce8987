"""Quantisation at load: always an explicit `BitsAndBytesConfig`, never raw keyword arguments.

Raw `load_in_4bit=True` reaches the model's constructor in transformers 5 and is a TypeError.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.backends.pytorch.arguments import BITSANDBYTES
from harness.backends.settings import ConflictingSettingsError, take

if TYPE_CHECKING:
    from harness.backends.base import Calls, Declared

FLAGS = ("load_in_4bit", "load_in_8bit")


def quantization_arguments(settings: Declared, calls: Calls) -> dict[str, Any]:
    """`{"quantization_config": …}`, or nothing when no quantisation setting is declared.

    Upstream reads the mere presence of a `BitsAndBytesConfig` as a wish to quantise: in
    transformers 5.23 `BitsAndBytesConfig(load_in_4bit=False)` loads a 4-bit model, because the
    quantiser is "8-bit if load_in_8bit, else 4-bit". So when all that is declared is that
    something is off, what says so upstream is `quantization_config=None`, passed explicitly.
    """
    arguments = take(settings, BITSANDBYTES)
    switch = settings.get("quantization.quantization")
    if switch is False and any(arguments.get(flag) for flag in FLAGS):
        asked = next(flag for flag in FLAGS if arguments.get(flag))
        raise ConflictingSettingsError(f"quantization.quantization=False contradicts {asked}=True")
    if not arguments and switch is None:
        return {}
    if switch is not True and not any(arguments.values()) and arguments.keys() <= set(FLAGS):
        return {"quantization_config": None}

    from transformers import BitsAndBytesConfig

    return {"quantization_config": calls("BitsAndBytesConfig", BitsAndBytesConfig, **arguments)}
