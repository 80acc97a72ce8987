"""Which upstream argument each setting is: tables, and the few that need explaining.

A setting that is absent is never forwarded, so upstream's default applies. One that is
present always is, `False`, `0` and explicit defaults included.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from harness.backends.settings import ConflictingSettingsError, take

if TYPE_CHECKING:
    from harness.backends.base import Calls, Declared
    from harness.jsontypes import JSON

MODEL = {
    "fp_precision": "dtype",
    "pytorch.attn_implementation": "attn_implementation",
    "pytorch.device_map": "device_map",
    "pytorch.max_memory": "max_memory",
    "pytorch.revision": "revision",
    "pytorch.trust_remote_code": "trust_remote_code",
}
"""Engine scope: `AutoModelForCausalLM.from_pretrained`."""

TOKENIZER = {
    "pytorch.revision": "revision",
    "pytorch.trust_remote_code": "trust_remote_code",
}
"""Engine scope: `AutoTokenizer.from_pretrained`; a tokenizer is versioned with its model."""

BITSANDBYTES = {
    f"{section}.{name}": name
    for section in ("quantization", "pytorch")
    for name in (
        "load_in_4bit",
        "load_in_8bit",
        "bnb_4bit_quant_type",
        "bnb_4bit_compute_dtype",
        "bnb_4bit_use_double_quant",
    )
}
"""Engine scope: `BitsAndBytesConfig`. The shared and the native spelling are equivalent."""

COMPILE = {
    "pytorch.torch_compile_mode": "mode",
    "pytorch.torch_compile_backend": "backend",
}
"""Engine scope: `torch.compile`, when `pytorch.torch_compile` is True."""

GENERATE = {
    "decoder.temperature": "temperature",
    "decoder.do_sample": "do_sample",
    "decoder.top_k": "top_k",
    "decoder.top_p": "top_p",
    "decoder.min_p": "min_p",
    "decoder.repetition_penalty": "repetition_penalty",
    "decoder.min_new_tokens": "min_new_tokens",
    "decoder.beam_search.num_beams": "num_beams",
    "decoder.beam_search.length_penalty": "length_penalty",
    "decoder.beam_search.early_stopping": "early_stopping",
    "decoder.beam_search.no_repeat_ngram_size": "no_repeat_ngram_size",
    "pytorch.num_beams": "num_beams",
    "pytorch.length_penalty": "length_penalty",
    "pytorch.early_stopping": "early_stopping",
    "pytorch.no_repeat_ngram_size": "no_repeat_ngram_size",
    "pytorch.use_cache": "use_cache",
    "pytorch.cache_implementation": "cache_implementation",
    "pytorch.prompt_lookup_num_tokens": "prompt_lookup_num_tokens",
    "max_output_tokens": "max_new_tokens",
}
"""Request scope: `model.generate`."""

STREAMER = {"streaming": "streamer"}
"""Request scope: `model.generate`, which takes an object for it."""

SHARDED = dict.fromkeys(("parallelism.strategy", "parallelism.degree"), "distributed_config")
QUANTIZED = dict.fromkeys(
    (
        *("quantization.quantization", "quantization.load_in_4bit", "quantization.load_in_8bit"),
        *("pytorch.load_in_4bit", "pytorch.load_in_8bit"),
    ),
    "quantization_config",
)
"""Engine scope: objects that `from_pretrained` takes. Whether it takes one at all is what the flags say first."""

UPSTREAM = {
    "AutoModelForCausalLM.from_pretrained": {**MODEL, **SHARDED, **QUANTIZED},
    "AutoTokenizer.from_pretrained": TOKENIZER,
    "BitsAndBytesConfig": BITSANDBYTES,
    "torch.compile": COMPILE,
    "generate": {**GENERATE, **STREAMER},
}
"""Every table, by the upstream call whose arguments it names."""

BATCHING = {
    "batching.batch_size": "size",
    "pytorch.batch_size": "size",
    "batching.strategy": "strategy",
    "batching.max_tokens_per_batch": "token_budget",
}
"""Request scope: `harness.backends.batching.Batching`, as upstream takes rows as they come."""

ENGINE_PATHS = frozenset(
    {*MODEL, *BITSANDBYTES, *COMPILE, *SHARDED, *QUANTIZED, "pytorch.torch_compile", "pytorch.num_processes"}
)


OBJECTS = {
    "compile_config": "CompileConfig",
    "continuous_batching_config": "ContinuousBatchingConfig",
}
"""Passed-through arguments of `generate` that are objects, and their classes in transformers."""


def model_arguments(settings: Declared, calls: Calls) -> dict[str, Any]:
    """Keyword arguments of `AutoModelForCausalLM.from_pretrained`, quantisation left out."""
    arguments = take(settings, MODEL)
    if isinstance(arguments.get("max_memory"), dict):
        # JSON has string keys only, accelerate tells device 0 from "cpu" by the key's type
        arguments["max_memory"] = {
            int(device) if device.isdigit() else device: limit for device, limit in arguments["max_memory"].items()
        }
    arguments.update(passthrough(settings, calls))
    return arguments


def generate_arguments(settings: Declared, max_new_tokens: int, calls: Calls) -> dict[str, Any]:
    """Keyword arguments of `model.generate`, tensors, streamer and observation left out."""
    if "decoder.preset" in settings:
        # a name for a set of fields: the config has expanded it and they are declared themselves
        settings["decoder.preset"]
    arguments = {"max_new_tokens": max_new_tokens, **take(settings, GENERATE)}
    if "decoder.beam_search.enabled" in settings:
        enabled = bool(settings["decoder.beam_search.enabled"])
        arguments["num_beams"] = calls.own("beams", _beams, enabled=enabled, num_beams=arguments.get("num_beams"))
    arguments.update(passthrough(settings, calls))
    return arguments


def _beams(enabled: bool, num_beams: JSON) -> JSON:
    """Upstream has no on/off switch for beam search: one beam is its off."""
    if not enabled:
        return 1
    if num_beams is None:
        raise ConflictingSettingsError(
            "decoder.beam_search.enabled=True needs decoder.beam_search.num_beams: "
            "upstream's default is 1, which is no beam search"
        )
    return num_beams


def passthrough(settings: Declared, calls: Calls) -> dict[str, Any]:
    """`passthrough_kwargs` as they are: they win over everything else, which is their purpose.

    Two arguments take an object that JSON cannot write; a mapping given for one becomes it.
    """
    if "passthrough_kwargs" not in settings:
        return {}
    given = dict(cast("dict[str, Any]", settings["passthrough_kwargs"]))
    for name, class_name in OBJECTS.items():
        if isinstance(given.get(name), dict):
            import transformers

            given[name] = calls(class_name, getattr(transformers, class_name), **given[name])
    return given
