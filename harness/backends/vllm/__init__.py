"""vLLM, in process where that is enough and in several processes where the parameter is about that.

Importing this package does not import vllm: only `preload()` and what it leads to do.
"""

from __future__ import annotations

from harness.backends.vllm.backend import VLLMBackend


def create() -> VLLMBackend:
    """The backend. Cheap: nothing is imported yet."""
    return VLLMBackend()


__all__ = ["VLLMBackend", "create"]
