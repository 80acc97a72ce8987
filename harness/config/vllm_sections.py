"""Sub-sections of the vLLM section: settings that upstream groups into a config of their own."""

from __future__ import annotations

import warnings
from typing import Annotated, ClassVar

from pydantic import Field

from harness.config._section import Section
from harness.config._types import INT32_MAX, JSONSchema, NonBlank, NonEmpty, opt

__all__ = [
    "VLLMAttentionConfig",
    "VLLMCompilationConfig",
    "VLLMSpeculativeConfig",
    "VLLMStructuredOutputsConfig",
]

_Level = Annotated[int, Field(ge=0, le=INT32_MAX)]


class VLLMAttentionConfig(Section):
    """Attention in vLLM."""

    path_prefix: ClassVar[str] = "vllm.attention."

    backend: str | None = opt(
        "Attention backend by vLLM's name: FLASH_ATTN, FLASHINFER, TRITON_ATTN, CPU_ATTN, … or auto. Open, "
        "as each version registers others. vLLM chooses by device and dtype when omitted.",
        pattern=r"^[A-Za-z0-9_.]+$",
        max_length=100,
    )


class VLLMCompilationConfig(Section):
    """Compilation of the model: the keys of vLLM's ``compilation_config``."""

    path_prefix: ClassVar[str] = "vllm.compilation."

    mode: NonEmpty | _Level | None = opt(
        "How torch.compile is used: NONE, STOCK_TORCH_COMPILE, DYNAMO_TRACE_ONCE or VLLM_COMPILE, or its number "
        "(0-3). Default: NONE under enforce_eager, else by optimization_level, VLLM_COMPILE at 1 and above."
    )
    cudagraph_mode: str | None = opt(
        "What is captured as CUDA graphs: NONE, PIECEWISE, FULL, FULL_DECODE_ONLY, FULL_AND_PIECEWISE. Default: by "
        "optimization_level and what the attention backend can; NONE on a CPU.",
        pattern=r"^[A-Za-z_]+$",
        max_length=100,
    )
    backend: str | None = opt(
        "Compiler behind torch.compile: inductor, eager, … Open, as backends are plug-ins. Default: what the "
        "platform names, inductor on CUDA and CPU.",
        max_length=100,
    )


class VLLMSpeculativeConfig(Section):
    """Speculative decoding: the keys of vLLM's ``speculative_config``."""

    path_prefix: ClassVar[str] = "vllm.speculative."

    method: str | None = opt(
        "How tokens are drafted: ngram, draft_model, eagle, suffix, … Open, as each version adds methods. "
        "Default: told from the draft model, if there is one.",
        min_length=1,
        max_length=100,
    )
    model: str | None = opt(
        "Draft model, for methods that use one; a relative path is looked for in the model's folder first. No default.",
        min_length=1,
    )
    num_speculative_tokens: int | None = opt(
        "Tokens drafted per step. No default for ngram and draft models.", ge=1, le=INT32_MAX
    )
    prompt_lookup_min: int | None = opt(
        "Shortest n-gram matched, for ngram. Follows prompt_lookup_max by default.",
        ge=1,
        le=INT32_MAX,
    )
    prompt_lookup_max: int | None = opt(
        "Longest n-gram matched, for ngram. Follows prompt_lookup_min by default.",
        ge=1,
        le=INT32_MAX,
    )


with warnings.catch_warnings():
    # pydantic 2 keeps BaseModel.json() for old callers; nothing here calls it, and upstream's name is "json"
    warnings.filterwarnings("ignore", message='Field name "json"', category=UserWarning)

    class VLLMStructuredOutputsConfig(Section):
        """The form that the output must take: vLLM's ``StructuredOutputsParams``. One kind at a time."""

        path_prefix: ClassVar[str] = "vllm.structured_outputs."

        regex: str | None = opt("Regular expression that the whole output matches. No default.")
        choice: Annotated[list[str], Field(min_length=1)] | None = opt(
            "Texts of which the output is one; at least one. No default."
        )
        json: NonBlank | JSONSchema | None = opt(  # type: ignore[assignment]
            "JSON schema that the output obeys, as a mapping or as JSON text. No default."
        )
        grammar: NonBlank | None = opt("Context-free grammar (EBNF, or Lark) of the output. No default.")
