"""Names that upstream keeps here."""

from tensorrt_llm._interface import TYPES

PluginConfig = TYPES["PluginConfig"]
