"""What a loaded model is really made of, read from the live modules and tensors."""

from __future__ import annotations

import os
from collections import Counter
from typing import TYPE_CHECKING, Any

from harness.backends.describe import describe
from harness.backends.torchside import decoder_layers, gpu_uuids, hub_snapshot, in_common, of_each_kind

if TYPE_CHECKING:
    from harness.backends.pytorch.load import Loaded
    from harness.jsontypes import JSON


def describe_model(loaded: Loaded) -> dict[str, JSON]:
    """Facts about weights, modules, devices, attention, quantisation and origin."""
    import torch

    model = loaded.model
    dtypes: Counter[str] = Counter()
    devices: Counter[str] = Counter()
    for parameter in model.parameters():
        dtypes[str(parameter.dtype)] += 1
        devices[str(parameter.device)] += 1
    linears = Counter(type(module).__name__ for module in model.modules() if isinstance(module, torch.nn.Linear))
    attention = Counter(
        str(module.config._attn_implementation)
        for name, module in model.named_modules()
        if name.endswith("self_attn") and hasattr(module, "config")
    )
    return {
        "model_class": type(model).__name__,
        "model_module": type(model).__module__,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "parameter_dtypes": dict(dtypes),
        "parameter_devices": dict(devices),
        "local_shapes": _local_shapes(model),
        "linear_classes": dict(linears),
        "head_class": type(model.get_output_embeddings()).__name__,
        "decoder_layers": decoder_layers(model),
        "identity_layers": sum(type(module).__name__ == "PipelineIdentityLayer" for module in model.modules()),
        "footprint_bytes": int(model.get_memory_footprint()),
        "device": str(model.device),
        "gpu_uuids": gpu_uuids(),
        "device_map": describe(getattr(model, "hf_device_map", None)),
        "hooked_modules": Counter(
            type(module._hf_hook).__name__ for module in model.modules() if hasattr(module, "_hf_hook")
        ),
        "attention_implementation": dict(attention),
        "quantized_layer": _quantized_layer(model),
        "quantization_method": _method(model),
        "compiled_forward": hasattr(vars(model).get("forward"), "_torchdynamo_orig_callable"),
        "ending_ids": _ending_ids(model.generation_config.eos_token_id),
        "name_or_path": str(model.config._name_or_path),
        "weight_files": list(loaded.weight_files),
        "commit": hub_snapshot(loaded.weight_files),
        "tensor_parallel_size": getattr(model, "_tp_size", None),
        "pid": os.getpid(),
        "threads": torch.get_num_threads(),
    }


def _ending_ids(ending: int | list[int] | None) -> list[JSON]:
    """The ids that end an output, as a generation config has them: none, one or several."""
    return [] if ending is None else [*sorted({ending} if isinstance(ending, int) else set(ending))]


def _method(model: Any) -> JSON:
    quantizer = getattr(model, "hf_quantizer", None)
    return None if quantizer is None else type(quantizer).__name__


def _local_shapes(model: Any) -> dict[str, JSON]:
    """Class and shape, here and as a whole, of each kind of matrix."""
    return of_each_kind((name, _share(weight)) for name, weight in model.named_parameters() if weight.dim() == 2)


def _share(parameter: Any) -> JSON:
    local = parameter.to_local() if hasattr(parameter, "to_local") else parameter
    return {
        "class": type(parameter.data).__name__,
        "local": list(local.shape),
        "whole": list(parameter.shape),
    }


def _quantized_layer(model: Any) -> JSON:
    """What the layers of bitsandbytes have in common: how their weights are stored and what they compute in.

    Double quantisation shows in `nested` and `absmax_dtype` only: the footprint leaves
    quantisation statistics out. Some CPUs repack weights in the first forward, so read this
    before it.
    """
    each = [_stored(module) for module in model.modules() if type(module).__module__.startswith("bitsandbytes")]
    fields = dict.fromkeys(field for seen in each for field in seen)
    return {field: in_common(seen.get(field) for seen in each) for field in fields} or None


def _stored(module: Any) -> dict[str, JSON]:
    weight = module.weight
    seen: dict[str, JSON] = {
        "class": type(module).__name__,
        "weight_class": type(weight).__name__,
        "weight_dtype": str(weight.dtype),
        "compute_dtype": describe(getattr(module, "compute_dtype", None)),
    }
    state = getattr(weight, "quant_state", None)
    if state is not None:
        seen["quant_type"] = state.quant_type
        seen["nested"] = bool(state.nested)
        seen["absmax_dtype"] = str(state.absmax.dtype)
        seen["blocksize"] = int(state.blocksize)
        seen["code"] = [round(float(value), 4) for value in state.code[:16]]
    scales = getattr(weight, "SCB", None)
    if scales is not None:
        seen["scale_of_each_row"] = bool(scales.numel() == module.out_features)
    return seen
