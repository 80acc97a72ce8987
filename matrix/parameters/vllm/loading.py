"""What is loaded, and how: formats, quantised checkpoints, adapters, defaults that a model brings."""

from __future__ import annotations

from harness.declare import Parameter, Value
from harness.jsontypes import JSON
from matrix import workloads
from matrix.parameters.declaring import FREE, on_off
from matrix.parameters.quantization import FOUR_BITS
from matrix.parameters.vllm.declaring import engine, request
from matrix.probes import adapters, loading, outputs, requests, scores, state
from matrix.variants import (
    ADAPTERS,
    AWQ,
    CONSOLIDATED,
    FLOAT8,
    FORMATS,
    GENERATION_CONFIG,
    GPTQ,
    HUB,
    REMOTE_CONFIG,
    SHIPPED,
    W4A16,
    W8A8,
)

_BF16: dict[str, JSON] = {"fp_precision": "bfloat16"}
_PLAIN: dict[str, JSON] = {"vllm.load_format": "pt", "vllm.hf_overrides": {"quantization_config": None}}
"""The same folder's plain weights, with what its config says of packed ones taken out."""
_PACKED: dict[str, JSON] = dict.fromkeys(_PLAIN)
_LORA: dict[str, JSON] = {"vllm.enable_lora": True}
_SPEAKS: dict[str, JSON] = {"vllm.lora_request": "adapter"}

PARAMETERS: tuple[Parameter, ...] = (
    engine(
        "max_model_len",
        requests.max_model_len,
        Value(20),
        Value(24),
        output=FREE,
        workload=workloads.LOOPING,
    ),
    engine(
        "load_format",
        loading.load_format,
        Value("auto", contrast="pt"),
        # where there is a file of Mistral's, auto takes that one: who does not hear these takes it as well
        Value("safetensors", variant=CONSOLIDATED),
        Value("hf", variant=CONSOLIDATED),
        Value("pt"),
        Value("npcache"),
        Value("sharded_state"),
        Value("dummy"),
        Value("mistral", contrast="safetensors", variant=CONSOLIDATED),
        output=FREE,
        variant=FORMATS,
        note="tried on a model whose files of each format answer a sum differently",
    ),
    engine(
        "quantization_method",
        loading.quantization,
        Value(None, contrast="gptq", companions=_PLAIN, control=_PACKED, variant=GPTQ),
        Value("awq", control=_PLAIN, variant=AWQ),
        Value("gptq", control=_PLAIN, variant=GPTQ),
        Value("fp8", variant=SHIPPED),
        Value("fp8_per_channel", variant=SHIPPED),
        *(
            Value("compressed-tensors", control=_PLAIN, variant=variant, label=f"compressed-tensors[{name}]")
            for name, variant in (("w4a16", W4A16), ("w8a8", W8A8), ("float8", FLOAT8))
        ),
        output=FOUR_BITS,
        companions=_BF16,
        note="the CPU build of vLLM 0.32 has a placeholder without arguments for the kernel that fp8 calls; "
        "a checkpoint of compressed-tensors names its method itself, and is taken as well without being told",
    ),
    engine(
        "hf_overrides",
        loading.hf_overrides,
        Value({"rms_norm_eps": 0.5}, label='{"rms_norm_eps":0.5}'),
        output=FREE,
    ),
    engine(
        "safetensors_load_strategy",
        loading.load_strategy,
        Value("lazy", contrast="eager"),
        Value("eager"),
    ),
    engine(
        "revision",
        state.revision,
        Value("alt"),
        variant=HUB,
        output=FREE,
    ),
    engine(
        "trust_remote_code",
        loading.remote_answers,
        *on_off(),
        variant=REMOTE_CONFIG,
        output=FREE,
    ),
    engine(
        "model_impl",
        loading.model_impl,
        Value("auto", contrast="transformers"),
        Value("vllm", contrast="transformers"),
        Value("transformers"),
    ),
    engine(
        "generation_config",
        scores.default_penalty,
        Value("auto", contrast="vllm"),
        Value("vllm", contrast="auto"),
        output=FREE,
        workload=workloads.LOOPING,
        variant=GENERATION_CONFIG,
    ),
    engine(
        "override_generation_config",
        scores.default_penalty,
        Value({"repetition_penalty": 1.3}, label='{"repetition_penalty":1.3}'),
        output=FREE,
        workload=workloads.OPEN,
    ),
    engine(
        "skip_tokenizer_init",
        requests.skip_tokenizer,
        *on_off(contrast_on=False),
    ),
    engine(
        "enable_lora",
        adapters.enable_lora,
        Value(False, contrast=True),
        Value(True, companions=_SPEAKS, control=dict.fromkeys(_SPEAKS), output=FREE),
        variant=ADAPTERS,
    ),
    engine(
        "max_loras",
        adapters.max_loras,
        Value(1, contrast=2),
        Value(2),
        companions={**_LORA, "vllm.lora_request": ["adapter", "adapter-16"]},
        workload=workloads.LOOPING,
        variant=ADAPTERS,
    ),
    engine(
        "max_lora_rank",
        adapters.max_lora_rank,
        Value(8, contrast=16),
        Value(16, contrast=32),
        Value(32),
        # whatever an adapter's own rank is, it is computed with at that of the place it is put into
        companions={**_LORA, **_SPEAKS},
        variant=ADAPTERS,
    ),
    request("lora_request", outputs.differs, Value("adapter"), companions=_LORA, variant=ADAPTERS),
)
