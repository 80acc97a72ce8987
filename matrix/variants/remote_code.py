"""A model whose classes are code of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from harness.declare import Variant
from matrix.variants import folders

CONFIGURATION: Final = '''\
"""A configuration that lives with its model: loading it needs trust_remote_code."""

from transformers import Qwen2Config


class TinyConfig(Qwen2Config):
    model_type = "{model_type}"
'''

SHIFT: Final = 1
"""How far the checkpoint's own code moves every id that the model would choose."""

MODELING: Final = '''\
"""A model class that lives with its weights: the shipped model, but that it chooses the id after the one it would."""

from transformers import Qwen2ForCausalLM

from .configuration_tiny import TinyConfig


class TinyForCausalLM(Qwen2ForCausalLM):
    config_class = TinyConfig

    def forward(self, *args, **kwargs):
        output = super().forward(*args, **kwargs)
        output.logits = output.logits.roll({shift}, dims=-1)
        return output
'''


HEARD: Final = 0.5
"""`rms_norm_eps` of the configuration that answers otherwise: large enough that other logits come."""

OTHERWISE: Final = f"""

    def __init__(self, **kwargs):
        super().__init__(**(kwargs | {{"rms_norm_eps": {HEARD}}}))
"""
"""What of the configuration's own code another answer comes of."""


def fill_remote_config(model: Path, folder: Path) -> None:
    """As `fill_remote_code`; and with the configuration's own code the model answers otherwise than without it."""
    fill_remote_code(model, folder)
    own = folder / "configuration_tiny.py"
    folders.write(own, own.read_text(encoding="utf-8").rstrip() + OTHERWISE)


def fill_remote_code(model: Path, folder: Path, model_type: str = "qwen2") -> None:
    """Fill a model folder whose classes are code of its own.

    Calling itself a qwen2 it loads either way: without trust_remote_code upstream falls back
    to the built-in classes, which makes a control. Under a type of its own it is refused.
    """
    folders.copy(model, folder)
    config = folders.read_json(model / "config.json")
    config["model_type"] = model_type
    # The architecture's name is left alone: engines with kernels of their own go by
    # it, and for them the remote code is then the configuration only.
    config["auto_map"] = {
        "AutoConfig": "configuration_tiny.TinyConfig",
        "AutoModelForCausalLM": "modeling_tiny.TinyForCausalLM",
    }
    folders.write_json(folder / "config.json", config)
    folders.write(folder / "configuration_tiny.py", CONFIGURATION.format(model_type=model_type))
    folders.write(folder / "modeling_tiny.py", MODELING.format(shift=SHIFT))


REMOTE_CODE = Variant("remote-code", fill_remote_code, folders.itself)
REMOTE_CONFIG = Variant("remote-config", fill_remote_config, folders.itself)
