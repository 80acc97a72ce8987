"""Quantisation at load: always an explicit `BitsAndBytesConfig`, never raw keyword arguments.

Raw `load_in_4bit=True` reaches the model's constructor in transformers 5 and is a TypeError.
"""

from __future__ import annotations

from typing import Any

from harness.backends.base import Calls, Declared
from harness.backends.pytorch.arguments import BITSANDBYTES, ConflictingSettings, take


def quantization_arguments(settings: Declared, calls: Calls) -> dict[str, Any]:
    """`{"quantization_config": …}`, or nothing when no quantisation setting is declared.

    `load_in_4bit=False` is forwarded in a `BitsAndBytesConfig` like any other value; upstream
    then loads an unquantised model. `quantization=False` has no argument of its own and is
    forwarded as `quantization_config=None`.
    """
    arguments = take(settings, BITSANDBYTES)
    switch = settings["quantization.quantization"] if "quantization.quantization" in settings else None
    if switch is False:
        asked = [name for name in ("load_in_4bit", "load_in_8bit") if arguments.get(name)]
        if asked:
            raise ConflictingSettings(f"quantization.quantization=False contradicts {asked[0]}=True")
        return {"quantization_config": None}
    if not arguments and switch is None:
        return {}

    from transformers import BitsAndBytesConfig

    return {"quantization_config": calls("BitsAndBytesConfig", BitsAndBytesConfig, **arguments)}
