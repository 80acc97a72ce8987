"""What the installed transformers and torch offer, read from their own code."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.backends.describe import describe
from harness.backends.upstream import (
    Argument,
    Interface,
    UpstreamCall,
    documented_types,
    of_function,
    of_keywords,
    read,
    with_values,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


def interface(libraries: Mapping[str, Sequence[str]]) -> Interface:
    """Every call that the adapter makes with declared arguments."""
    return read(
        libraries,
        {
            "AutoModelForCausalLM.from_pretrained": _model,
            "AutoTokenizer.from_pretrained": _tokenizer,
            "BitsAndBytesConfig": _bitsandbytes,
            "torch.compile": _compile,
            "generate": _generate,
        },
    )


def _model() -> UpstreamCall:
    from transformers import AutoModelForCausalLM, PreTrainedModel
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    own: Any = PreTrainedModel.from_pretrained
    auto: Any = AutoModelForCausalLM.from_pretrained
    arguments = {
        **of_keywords(_plain(auto)),
        **of_keywords(_plain(own)),
        **of_function(own, ignore=("pretrained_model_name_or_path",)),
    }
    _document(arguments, own.__doc__)
    if attention := arguments.get("attn_implementation"):
        # what `_check_and_adjust_attn_implementation` compares with; "paged|…" are the same kernels, paged
        names = sorted({"eager", *ALL_ATTENTION_FUNCTIONS.valid_keys()})
        with_values(attention, names, "transformers' ALL_ATTENTION_FUNCTIONS, and eager")
    if quantization := arguments.get("quantization_config"):
        quantization["parts"] = "BitsAndBytesConfig"
    return {
        "read_from": "PreTrainedModel.from_pretrained: signature, and what it and the auto class pop from **kwargs",
        "arguments": arguments,
        "open": "any other keyword replaces an attribute of the model's config: which there are depends on the "
        "model. dtype names and device_map policies are written in no registry.",
    }


def _tokenizer() -> UpstreamCall:
    from transformers import AutoTokenizer, PreTrainedTokenizerBase

    own: Any = PreTrainedTokenizerBase.from_pretrained
    auto: Any = AutoTokenizer.from_pretrained
    arguments = {
        **of_keywords(_plain(auto)),
        **of_keywords(_plain(own)),
        **of_function(own, ignore=("pretrained_model_name_or_path",)),
    }
    _document(arguments, own.__doc__)
    return {
        "read_from": "PreTrainedTokenizerBase.from_pretrained: signature, and what it and the auto class pop",
        "arguments": arguments,
        "open": "any other keyword goes to the tokenizer's class, which depends on the model",
    }


def _bitsandbytes() -> UpstreamCall:
    from transformers import BitsAndBytesConfig

    arguments = of_function(BitsAndBytesConfig.__init__)
    _document(arguments, BitsAndBytesConfig.__doc__)
    return {"read_from": "BitsAndBytesConfig.__init__: signature", "arguments": arguments}


def _compile() -> UpstreamCall:
    import torch
    import torch._dynamo
    import torch._inductor

    arguments = of_function(torch.compile, ignore=("model",))
    if "mode" in arguments:
        with_values(arguments["mode"], torch._inductor.list_mode_options(), "torch._inductor.list_mode_options()")
    if "backend" in arguments:
        # without the tags it leaves out those for debugging and those that are experimental
        names = torch._dynamo.list_backends(exclude_tags=())
        with_values(arguments["backend"], names, "torch._dynamo.list_backends(exclude_tags=())")
    return {"read_from": "torch.compile: signature", "arguments": arguments}


def _generate() -> UpstreamCall:
    from transformers import GenerationConfig, GenerationMixin
    from transformers.generation import configuration_utils

    config = of_keywords(GenerationConfig.__init__)
    _document(config, GenerationConfig.__doc__)
    # fields are None until `generate` fills them in from here
    for name, value in _defaults(GenerationConfig).items():
        if name in config:
            config[name]["default"] = describe(value)
    caches: Iterable[str] = getattr(configuration_utils, "ALL_CACHE_IMPLEMENTATIONS", ())
    if caches and "cache_implementation" in config:
        with_values(config["cache_implementation"], caches, "transformers' ALL_CACHE_IMPLEMENTATIONS")
    return {
        "read_from": "GenerationMixin.generate: signature; GenerationConfig.__init__: what it takes; and its defaults",
        "arguments": {**config, **of_function(GenerationMixin.generate, ignore=("inputs",))},
        "open": "any other keyword goes to the model's forward, whose arguments depend on the model",
    }


def _defaults(config: Any) -> Mapping[str, Any]:
    known = getattr(config, "_get_default_generation_params", dict)
    found: Mapping[str, Any] = known()
    return found


def _plain(method: Any) -> Any:
    return getattr(method, "__func__", method)


def _document(arguments: dict[str, Argument], docstring: str | None) -> None:
    """Types from the docstring, where nothing else says them."""
    for name, says in documented_types(docstring).items():
        if name in arguments and not arguments[name]["type"]:
            arguments[name]["type"] = says
            if says == "bool":
                with_values(arguments[name], (False, True), "its documentation")
