"""Where upstream's 1.2 line keeps the engine path."""

from tensorrt_llm import _llm

LLM = _llm.TrtLLM
__all__ = ["LLM"]
