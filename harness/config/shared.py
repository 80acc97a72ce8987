"""The sections that every backend understands."""

from __future__ import annotations

from typing import ClassVar, Literal

from harness.config._section import Section
from harness.config._types import INT32_MAX, SEED_MAX, opt

__all__ = [
    "BatchingConfig",
    "BeamSearchConfig",
    "DecoderConfig",
    "ParallelismConfig",
    "QuantizationConfig",
    "TrafficSimulationConfig",
]


class BatchingConfig(Section):
    """How prompts are grouped into batches."""

    path_prefix: ClassVar[str] = "batching."

    batch_size: int | None = opt(
        "Prompts per batch. Omitted: one.",
        ge=1,
        le=INT32_MAX,
    )
    strategy: Literal["static", "dynamic", "sorted_static", "sorted_dynamic"] | None = opt(
        "static: fixed number of prompts per batch; dynamic: as many prompts as fit the token "
        "budget; sorted_*: the same after ordering prompts by length. Omitted: static."
    )
    max_tokens_per_batch: int | None = opt(
        "Token budget of one dynamic batch: rows times padded width, in tokens. No default.",
        ge=1,
        le=INT32_MAX,
    )


class BeamSearchConfig(Section):
    """Beam search, as far as the backends share it."""

    path_prefix: ClassVar[str] = "decoder.beam_search."

    enabled: bool | None = opt("Whether beams are searched at all. Omitted: they are if num_beams is above 1.")
    num_beams: int | None = opt(
        "Number of beams. Upstream's default is 1, which is no beam search.", ge=1, le=INT32_MAX
    )
    length_penalty: float | None = opt(
        "Exponent of the length in a beam's score; above 0 favours longer sequences. Default 1.0 "
        "in transformers and vLLM, 0.0 in TensorRT-LLM.",
        ge=-10.0,
        le=10.0,
    )
    early_stopping: bool | Literal["never"] | None = opt(
        "true: stop when num_beams candidates are complete; false: stop by a heuristic; 'never': "
        "stop when no better candidate can follow. transformers' default is false."
    )
    no_repeat_ngram_size: int | None = opt(
        "Length in tokens of n-grams that may occur once only; 0 (transformers' default) is off. "
        "Takes effect without beams too.",
        ge=0,
        le=INT32_MAX,
    )


class DecoderConfig(Section):
    """How the next token is chosen."""

    path_prefix: ClassVar[str] = "decoder."

    temperature: float | None = opt(
        "Divides the logits before sampling; 0 means greedy. Upstream's default is 1.0. "
        "transformers ignores it unless do_sample is true.",
        ge=0.0,
        le=1000.0,
    )
    do_sample: bool | None = opt(
        "Sample instead of taking the likeliest token. Default false in transformers; vLLM samples "
        "unless the temperature is 0."
    )
    top_k: int | None = opt(
        "Sample from the k likeliest tokens; 0 keeps all. Default 50 in transformers, 0 in vLLM.",
        ge=0,
        le=INT32_MAX,
    )
    top_p: float | None = opt(
        "Sample from the smallest set of tokens with this total probability. Default 1.0 (all).",
        ge=0.0,
        le=1.0,
    )
    min_p: float | None = opt(
        "Drop tokens less likely than this fraction of the likeliest one. Off by default.",
        ge=0.0,
        le=1.0,
    )
    repetition_penalty: float | None = opt(
        "Penalises tokens already seen; above 1 discourages them. Default 1.0 (off).", ge=0.001, le=1000.0
    )
    min_new_tokens: int | None = opt(
        "Fewest tokens to generate: the end-of-sequence token is barred before. Off by default.",
        ge=1,
        le=INT32_MAX,
    )
    preset: Literal["deterministic", "standard", "creative", "factual"] | None = opt(
        "A named set of the fields above; a field set explicitly wins over the preset."
    )
    beam_search: BeamSearchConfig | None = opt("Beam search. Omitted: none.")


class ParallelismConfig(Section):
    """How the model, or the work, is spread over devices."""

    path_prefix: ClassVar[str] = "parallelism."

    strategy: Literal["tensor_parallel", "pipeline_parallel", "data_parallel"] | None = opt(
        "Split each layer, split the layers, or copy the model. Omitted: one device."
    )
    degree: int | None = opt(
        "Number of devices or processes. Omitted: all visible devices when a strategy is set.",
        ge=1,
        le=INT32_MAX,
    )


class QuantizationConfig(Section):
    """Weight quantisation with bitsandbytes, in the spelling shared by all backends."""

    path_prefix: ClassVar[str] = "quantization."

    quantization: bool | None = opt(
        "Whether weights are quantised; names no method by itself. Omitted: it follows load_in_*."
    )
    load_in_4bit: bool | None = opt("Quantise linear layers to 4 bits. Upstream's default: false.")
    load_in_8bit: bool | None = opt("Quantise linear layers to 8 bits. Upstream's default: false.")
    bnb_4bit_quant_type: Literal["nf4", "fp4"] | None = opt("4-bit data type. BitsAndBytesConfig's default is fp4.")
    bnb_4bit_compute_dtype: Literal["float32", "float16", "bfloat16"] | None = opt(
        "Data type of the matrix products. BitsAndBytesConfig's default is float32."
    )
    bnb_4bit_use_double_quant: bool | None = opt(
        "Quantise the quantisation constants as well. BitsAndBytesConfig's default is false."
    )


class TrafficSimulationConfig(Section):
    """When requests arrive."""

    path_prefix: ClassVar[str] = "traffic_simulation."

    enabled: bool | None = opt("Pace the requests. Omitted: all requests arrive at once.")
    mode: Literal["constant", "poisson"] | None = opt(
        "Equal intervals, or exponentially distributed ones. Omitted: constant."
    )
    target_qps: float | None = opt("Mean arrival rate in requests per second.", gt=0.0, le=1e6)
    seed: int | None = opt("Seed of the arrival times. Omitted: random_seed.", ge=0, le=SEED_MAX)
