"""Settings of the TensorRT-LLM section that each request brings: ``SamplingParams(...)`` and ``LLM.generate(...)``."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from harness.config._section import Section
from harness.config._types import INT32_MAX, NonEmpty, TokenBias, TokenId, opt
from harness.config.tensorrt_sections import TensorRTGuidedDecodingConfig

__all__ = ["TensorRTRequestFields"]


class TensorRTRequestFields(Section, defer_build=True):
    """Fields of TensorRT-LLM's ``SamplingParams``, and arguments of ``LLM.generate`` where said so."""

    guided_decoding: TensorRTGuidedDecodingConfig | None = opt(
        "The form the output must take; needs guided_decoding_backend. Omitted: any."
    )

    # How many, and how long
    n: int | None = opt("Sequences returned per prompt. Default 1.", ge=1, le=INT32_MAX)
    best_of: int | None = opt(
        "Sequences generated per prompt, of which the n best are returned; with beams, their number. Default: n.",
        ge=1,
        le=INT32_MAX,
    )
    min_tokens: int | None = opt(
        "Fewest tokens before the end-of-sequence token may come; the same argument as decoder.min_new_tokens. "
        "Default 1.",
        ge=1,
        le=INT32_MAX,
    )
    ignore_eos: bool | None = opt("Go on after the end-of-sequence token. Default false.")
    end_id: int | None = opt("End-of-sequence token. Default: the tokenizer's.", ge=0, le=INT32_MAX)
    stop: NonEmpty | list[NonEmpty] | None = opt("Text, or texts, at which the output ends. Default: none.")
    stop_token_ids: list[TokenId] | None = opt("Tokens at which the output ends. Default: none.")
    include_stop_str_in_output: bool | None = opt("Keep the stop text in the output. Default false.")

    # Which tokens
    bad: NonEmpty | list[NonEmpty] | None = opt("Text, or texts, that may not be generated. Default: none.")
    bad_token_ids: list[TokenId] | None = opt("Tokens that may not be generated. Default: none.")
    embedding_bias: TokenBias | None = opt(
        "Added to the logits of tokens: token id to number, which is made a tensor of the vocabulary's size. "
        "Default: none."
    )
    frequency_penalty: float | None = opt(
        "Subtracted from a token's logit per earlier occurrence. Default 0.0.", ge=-1000.0, le=1000.0
    )
    presence_penalty: float | None = opt(
        "Subtracted from the logit of every token that occurred already. Default 0.0.", ge=-1000.0, le=1000.0
    )
    top_p_min: float | None = opt("Least top_p that top_p_decay leads to. Default 1e-6.", gt=0.0, le=1.0)
    top_p_decay: float | None = opt("Factor of top_p after each token. Default 1.0.", gt=0.0, le=1.0)
    top_p_reset_ids: int | None = opt("Token after which top_p is as at first. Default: none.", ge=0, le=INT32_MAX)
    beam_search_diversity_rate: float | None = opt(
        "Penalty on beams that go on like better ones. Default 0.0.", ge=0.0, le=1000.0
    )

    # What is reported
    logprobs: int | None = opt(
        "Likeliest tokens reported per position, besides the chosen one. Off by default.", ge=0, le=INT32_MAX
    )
    prompt_logprobs: int | None = opt("The same for the prompt's tokens. Off by default.", ge=0, le=INT32_MAX)
    return_context_logits: bool | None = opt("Return the logits of the prompt's positions. Default false.")
    return_generation_logits: bool | None = opt("Return the logits of the generated positions. Default false.")
    exclude_input_from_output: bool | None = opt("Leave the prompt out of the output's tokens. Default true.")
    detokenize: bool | None = opt("Turn tokens into text. Default true.")
    skip_special_tokens: bool | None = opt("Leave special tokens out of the text. Default true.")

    # What becomes of the prompt
    truncate_prompt_tokens: int | None = opt(
        "Keep only so many last tokens of the prompt. Default: all.", ge=1, le=INT32_MAX
    )
    cache_salt: NonEmpty | Annotated[list[NonEmpty], Field(min_length=1)] | None = opt(
        "Cache blocks are reused only among requests with the same salt: one for all prompts or one each, an argument "
        "of LLM.generate. Default: none."
    )
    lora_request: str | None = opt(
        "Folder of the LoRA adapter to apply, an argument of LLM.generate; a relative path is looked for in the "
        "model's folder first. Default: none.",
        min_length=1,
    )
