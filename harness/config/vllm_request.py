"""Settings of the vLLM section that each request brings: ``SamplingParams(...)`` and ``LLM.generate(...)``."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from harness.config._section import Section
from harness.config._types import INT32_MAX, INT64_MAX, NonEmpty, TokenBias, TokenId, opt
from harness.config.vllm_sections import VLLMStructuredOutputsConfig

__all__ = ["VLLMRequestFields"]

_Priority = Annotated[int, Field(ge=-INT64_MAX, le=INT64_MAX)]


class VLLMRequestFields(Section, defer_build=True):
    """Fields of vLLM's ``SamplingParams``, and arguments of ``LLM.generate`` where said so."""

    structured_outputs: VLLMStructuredOutputsConfig | None = opt("The form the output must take. Omitted: any.")

    # How many, and how long
    n: int | None = opt(
        "Sequences generated per prompt; more than 16384 need VLLM_MAX_N_SEQUENCES. Default 1.", ge=1, le=INT32_MAX
    )
    min_tokens: int | None = opt(
        "Fewest tokens before the end-of-sequence and stop tokens may come; the same argument as "
        "decoder.min_new_tokens. Default 0.",
        ge=0,
        le=INT32_MAX,
    )
    ignore_eos: bool | None = opt("Go on after the end-of-sequence token. Default false.")
    stop: NonEmpty | list[NonEmpty] | None = opt("Text, or texts, at which the output ends. Default: none.")
    stop_token_ids: list[TokenId] | None = opt("Tokens after which the output ends. Default: none.")
    include_stop_str_in_output: bool | None = opt("Keep the stop text in the output. Default false.")

    # Which tokens
    allowed_token_ids: Annotated[list[TokenId], Field(min_length=1)] | None = opt(
        "The only tokens that may be generated; at least one. Default: all."
    )
    bad_words: list[NonEmpty] | None = opt("Texts that may not be generated. Default: none.")
    frequency_penalty: float | None = opt(
        "Subtracted from a token's logit per earlier occurrence in the output. Default 0.0.", ge=-2.0, le=2.0
    )
    presence_penalty: float | None = opt(
        "Subtracted from the logit of every token that the output holds already. Default 0.0.", ge=-2.0, le=2.0
    )
    logit_bias: TokenBias | None = opt("Added to the logits of tokens: token id to number. Default: none.")

    # What is reported
    logprobs: int | None = opt(
        "Likeliest tokens reported per position, besides the chosen one; -1 reports all. Off by default.",
        ge=-1,
        le=INT32_MAX,
    )
    prompt_logprobs: int | None = opt(
        "The same for the prompt's tokens; -1 reports all. Off by default.", ge=-1, le=INT32_MAX
    )
    flat_logprobs: bool | None = opt("Report them as one flat object, which is cheaper to keep. Default false.")
    detokenize: bool | None = opt("Turn tokens into text. Default true.")
    skip_special_tokens: bool | None = opt("Leave special tokens out of the text. Default true.")
    spaces_between_special_tokens: bool | None = opt("Put spaces between special tokens in the text. Default true.")

    # How the engine treats it
    lora_request: NonEmpty | Annotated[list[NonEmpty], Field(min_length=1)] | None = opt(
        "Folder of the LoRA adapter to apply, or one for each prompt, an argument of LLM.generate; a relative path is "
        "looked for in the model's folder first. Default: none."
    )
    priority: Annotated[list[_Priority], Field(min_length=1)] | None = opt(
        "One number per prompt, an argument of LLM.generate: the lower goes first. Default: all 0."
    )
    skip_reading_prefix_cache: bool | None = opt(
        "Compute the whole prompt although its prefix is cached. Default: only with prompt_logprobs."
    )
