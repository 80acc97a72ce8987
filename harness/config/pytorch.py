"""The section of the PyTorch backend: ``from_pretrained()`` and ``generate()`` of transformers."""

from __future__ import annotations

from typing import ClassVar, Literal

from harness.config._section import Section
from harness.config._types import INT32_MAX, DeviceMap, MaxMemory, opt

__all__ = ["PyTorchConfig"]


class PyTorchConfig(Section):
    """Settings that only the PyTorch backend has. Defaults named are those of transformers 5.23."""

    path_prefix: ClassVar[str] = "pytorch."

    batch_size: int | None = opt(
        "Prompts per batch; the same as batching.batch_size, and must agree with it.",
        ge=1,
        le=INT32_MAX,
    )
    attn_implementation: (
        Literal[
            "eager",
            "sdpa",
            "flash_attention_2",
            "flash_attention_3",
            "flash_attention_4",
            "flex_attention",
        ]
        | None
    ) = opt("Attention kernel. transformers chooses sdpa where the model supports it.")

    torch_compile: bool | None = opt("Compile the model's forward. Default: not compiled.")
    torch_compile_mode: str | None = opt(
        "Mode of torch.compile: default, reduce-overhead, max-autotune, … Open, as PyTorch adds "
        "modes. torch.compile's default is 'default'.",
        min_length=1,
        max_length=100,
    )
    torch_compile_backend: str | None = opt(
        "Compiler that torch.compile uses. Open, as backends are plug-ins. Default: inductor.",
        min_length=1,
        max_length=100,
    )

    load_in_4bit: bool | None = opt("BitsAndBytesConfig(load_in_4bit=…). Default: false.")
    load_in_8bit: bool | None = opt("BitsAndBytesConfig(load_in_8bit=…). Default: false.")
    bnb_4bit_compute_dtype: Literal["float32", "float16", "bfloat16"] | None = opt(
        "Data type of the matrix products. BitsAndBytesConfig's default is float32."
    )
    bnb_4bit_quant_type: Literal["nf4", "fp4"] | None = opt("4-bit data type. BitsAndBytesConfig's default is fp4.")
    bnb_4bit_use_double_quant: bool | None = opt(
        "Quantise the quantisation constants as well. BitsAndBytesConfig's default is false."
    )

    use_cache: bool | None = opt("Keep keys and values of past tokens. Default: true.")
    cache_implementation: (
        Literal[
            "dynamic",
            "static",
            "offloaded",
            "offloaded_static",
            "quantized",
            "paged",
            "sliding_window",
            "hybrid",
            "hybrid_chunked",
            "offloaded_hybrid",
            "offloaded_hybrid_chunked",
        ]
        | None
    ) = opt(
        "Kind of key-value cache. transformers uses a dynamic one by default; offloaded ones need "
        "an accelerator; sliding_window and hybrid* are deprecated names that still work."
    )

    num_beams: int | None = opt(
        "Number of beams; the same as decoder.beam_search.num_beams. Each beam holds a copy of the cache. Default 1.",
        ge=1,
        le=INT32_MAX,
    )
    early_stopping: bool | Literal["never"] | None = opt(
        "When beam search stops; the same as decoder.beam_search.early_stopping. Default false."
    )
    length_penalty: float | None = opt(
        "Exponent of the length in a beam's score; above 0 favours longer sequences. Default 1.0.", ge=-10.0, le=10.0
    )
    no_repeat_ngram_size: int | None = opt(
        "Length in tokens of n-grams that may occur once only. Default 0 (off).",
        ge=0,
        le=INT32_MAX,
    )
    prompt_lookup_num_tokens: int | None = opt(
        "Tokens to draft from n-grams of the prompt and verify in one forward pass. Off by "
        "default; needs batch size 1.",
        ge=1,
        le=INT32_MAX,
    )

    device_map: DeviceMap | None = opt(
        "Placement policy (auto, balanced, balanced_low_0, sequential), a device, or a mapping "
        "from module to device. Needs accelerate. Omitted: one default device."
    )
    max_memory: MaxMemory | None = opt(
        "Limit per device for device_map: bytes or sizes, e.g. {0: 10GiB, cpu: 30GiB}. "
        "transformers ignores it without device_map. Omitted: what is free."
    )
    revision: str | None = opt("Branch, tag or commit of the model on the hub. Default: main.", min_length=1)
    trust_remote_code: bool | None = opt("Run model code that the checkpoint brings along. Default: false.")
    num_processes: int | None = opt(
        "Processes that each hold a copy of the model and share the prompts. Default: 1.",
        ge=1,
        le=INT32_MAX,
    )
