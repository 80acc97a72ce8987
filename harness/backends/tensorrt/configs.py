"""The config objects that upstream's `LLM` classes take, made of settings by their tables."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from harness.backends.settings import ConflictingSettingsError, beside, take
from harness.backends.tensorrt import arguments

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.backends.base import Calls, Declared

PLACES: Final = {
    "KVCacheType": "tensorrt_llm.builder",
    "LoRARequest": "tensorrt_llm.executor",
    "LoraConfig": "tensorrt_llm.lora_helper",
    "PluginConfig": "tensorrt_llm.plugin",
}
"""Modules of the names that `tensorrt_llm.llmapi` does not export."""

METHODS: Final[Mapping[object, str | None]] = {
    # quant_algo=None is "as the checkpoint is"; NO_QUANT marks single layers, and as an algorithm asks for calibration
    "none": None,
    "fp8": "FP8",
    "int8_sq": "W8A8_SQ_PER_CHANNEL",
    "int8_weight_only": "W8A16",
    "int4_weight_only": "W4A16",
    "int4_awq": "W4A16_AWQ",
}
"""Names of quantisation methods that are not upstream's own, to members of its `QuantAlgo`."""

DECODING: Final = {
    "NGram": "NGramDecodingConfig",
    "Draft_Target": "DraftTargetDecodingConfig",
    "Eagle3": "EagleDecodingConfig",
    "MTP": "MTPDecodingConfig",
    "AUTO": "AutoDecodingConfig",
}
"""`speculative.decoding_type` to its class; of the class it is a constant in 1.2, and no argument."""


def find(name: str) -> Any:
    """An upstream class by its name.

    Raises:
        AttributeError: this version has none.
    """
    return getattr(import_module(PLACES.get(name, "tensorrt_llm.llmapi")), name)


@dataclass(frozen=True, slots=True)
class Group:
    """A config object: the argument that takes it, its class, its fields, and which of them are enumerations."""

    argument: str
    name: str
    table: Mapping[str, str]
    members: Mapping[str, str] = field(default_factory=dict)
    parts: tuple[Group, ...] = ()


GROUPS: Final = (
    Group("kv_cache_config", "KvCacheConfig", arguments.KV_CACHE),
    Group(
        "scheduler_config",
        "SchedulerConfig",
        arguments.SCHEDULER,
        {"capacity_scheduler_policy": "CapacitySchedulerPolicy", "context_chunking_policy": "ContextChunkingPolicy"},
    ),
    Group("lora_config", "LoraConfig", arguments.LORA),
    Group(
        "quant_config",
        "QuantConfig",
        arguments.QUANT,
        {"quant_algo": "QuantAlgo", "kv_cache_quant_algo": "QuantAlgo"},
    ),
    Group("calib_config", "CalibConfig", arguments.CALIB),
    Group(
        "build_config",
        "BuildConfig",
        arguments.BUILD,
        {"kv_cache_type": "KVCacheType"},
        (Group("plugin_config", "PluginConfig", arguments.PLUGIN),),
    ),
)
SWITCHED: Final = (
    ("tensorrt.cuda_graph.enabled", Group("cuda_graph_config", "CudaGraphConfig", arguments.CUDA_GRAPH)),
    ("tensorrt.torch_compile.enabled", Group("torch_compile_config", "TorchCompileConfig", arguments.TORCH_COMPILE)),
)
"""Config objects whose absence, `None`, is the feature's off, by the setting that says so."""
SIZES: Final = ("max_batch_size", "max_num_tokens", "max_seq_len", "max_beam_width")
"""Arguments of `LLM` that a `BuildConfig` has as well, whose own values win over those of `LLM`."""


def config_arguments(settings: Declared, model: str, plain: Mapping[str, Any], calls: Calls) -> dict[str, Any]:
    """Keyword arguments of either `LLM` class that are objects; each object's making is a call of its own.

    Args:
        settings: of the engine.
        model: folder or hub id, beside which folders are looked for.
        plain: the other arguments of `LLM`.
        calls: records what the objects are made of.

    Raises:
        ConflictingSettingsError: a feature is switched off and described, or drafted tokens lack their type.
    """
    made: dict[str, Any] = {}
    for group in GROUPS:
        fields = _fields(group, settings, calls)
        if group.name == "LoraConfig" and "lora_dir" in fields:
            fields["lora_dir"] = [beside(model, folder) for folder in fields["lora_dir"]]
        if group.name == "CalibConfig" and "calib_dataset" in fields:
            fields["calib_dataset"] = beside(model, str(fields["calib_dataset"]))
        if group.name == "BuildConfig" and fields:
            # left out, they would be the object's own defaults, which silently win over what LLM is given
            fields |= {name: plain[name] for name in SIZES if name in plain}
        if fields:
            made[group.argument] = calls(group.name, find(group.name), **fields)
    for path, group in SWITCHED:
        made |= _switched(path, group, settings, calls)
    if "batching_type" in plain:
        made["batching_type"] = find("BatchingType")[plain["batching_type"]]
    return {**made, **_speculative(settings, model, calls)}


def _fields(group: Group, settings: Declared, calls: Calls) -> dict[str, Any]:
    fields = take(settings, group.table)
    for name in group.members.keys() & fields.keys():
        fields[name] = _member(group.members[name], fields[name])
    for part in group.parts:
        if inner := _fields(part, settings, calls):
            fields[part.argument] = _kept(calls(part.name, find(part.name), **inner), inner)
    return fields


def _member(name: str, value: object) -> Any:
    """A member of an upstream enumeration by the name that the schema gives it."""
    if name == "QuantAlgo":
        value = METHODS.get(value, value)
    if name == "KVCacheType":
        value = str(value).upper()
    return None if value is None else find(name)[str(value)]


def _kept(made: Any, fields: Mapping[str, Any]) -> Any:
    """The object, if it holds what it was given: upstream's `PluginConfig` drops names that it does not know."""
    for name, value in fields.items():
        if (held := getattr(made, name, None)) != value:
            raise ConflictingSettingsError(f"{type(made).__name__} was given {name}={value!r} and holds {held!r}")
    return made


def _switched(path: str, group: Group, settings: Declared, calls: Calls) -> dict[str, Any]:
    enabled, fields = settings.get(path), take(settings, group.table)
    if enabled is False and fields:
        raise ConflictingSettingsError(
            f"{path}=False contradicts {', '.join(fields)}: {group.argument}=None is its off upstream"
        )
    if enabled is False:
        return {group.argument: None}
    if enabled is None and not fields:
        return {}
    return {group.argument: calls(group.name, find(group.name), **fields)}


def _speculative(settings: Declared, model: str, calls: Calls) -> dict[str, Any]:
    kind, fields = settings.get("tensorrt.speculative.decoding_type"), take(settings, arguments.SPECULATIVE)
    if kind is None and not fields:
        return {}
    if kind is None:
        raise ConflictingSettingsError(
            f"tensorrt.speculative.{next(iter(fields))} needs tensorrt.speculative.decoding_type: "
            f"expected one of {', '.join(DECODING)}"
        )
    if isinstance(draft := fields.get("speculative_model"), str):
        fields["speculative_model"] = beside(model, draft)
    name = DECODING[str(kind)]
    if kind == "Eagle3" and hasattr(import_module("tensorrt_llm.llmapi"), "Eagle3DecodingConfig"):
        name = "Eagle3DecodingConfig"  # versions after 1.2 tell the kinds of Eagle apart
    config = find(name)
    if "speculative_model" in fields and "speculative_model" not in getattr(config, "model_fields", fields):
        fields["speculative_model_dir"] = fields.pop("speculative_model")  # the field's name before it got this one
    return {"speculative_config": calls(name, config, **fields)}
