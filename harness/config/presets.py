"""What the decoder presets stand for."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

__all__ = ["PRESETS", "expand_preset"]

PRESETS: Mapping[str, Mapping[str, bool | int | float]] = MappingProxyType(
    {
        "deterministic": MappingProxyType({"do_sample": False}),
        "standard": MappingProxyType({"do_sample": True, "temperature": 1.0, "top_k": 50, "top_p": 0.95}),
        "creative": MappingProxyType(
            {
                "do_sample": True,
                "temperature": 1.2,
                "top_k": 100,
                "top_p": 0.98,
                "repetition_penalty": 1.1,
            }
        ),
        "factual": MappingProxyType({"do_sample": True, "temperature": 0.3, "top_k": 10, "top_p": 0.9}),
    }
)
"""Fields of ``decoder`` by preset name. Sampled presets state every sampling field that backends
default differently, so that a preset means the same everywhere."""


def expand_preset(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Add the fields that ``decoder.preset`` stands for; those already set win."""
    expanded = dict(flat)
    preset = flat.get("decoder.preset")
    if isinstance(preset, str):
        for name, value in PRESETS.get(preset, {}).items():
            expanded.setdefault(f"decoder.{name}", value)
    return expanded
