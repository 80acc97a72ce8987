"""What a worker's live objects say: the modules, tensors and counters that do the work.

Runs in the worker's process. Config objects are quoted only where nothing else knows, under
`config`, and never serve as evidence by themselves.
"""

from __future__ import annotations

import os
from collections import Counter
from typing import TYPE_CHECKING, Any

from harness.backends.describe import describe
from harness.backends.torchside import decoder_layers, gpu_uuids, hub_snapshot, of_each_kind
from harness.backends.vllm import devicememory, loading

if TYPE_CHECKING:
    from harness.jsontypes import JSON


def describe_worker(worker: Any) -> dict[str, JSON]:
    """Facts about weights, modules, attention, cache, compilation and this process."""
    import torch
    from vllm.compilation.counter import compilation_counter

    runner = worker.model_runner
    config = runner.vllm_config
    model = runner.model
    return {
        "pid": os.getpid(),
        "rank": int(worker.rank),
        "worker_class": type(worker).__name__,
        "runner_class": f"{type(runner).__module__}.{type(runner).__qualname__}",
        "executor_backend": str(config.parallel_config.distributed_executor_backend),
        "threads": torch.get_num_threads(),
        "torch_seed": int(torch.initial_seed()),
        "loads": loading.seen(),
        **_weights(model),
        **_modules(model),
        **_attention(config),
        **_cache(runner),
        "device_bytes": devicememory.total(),
        "gpu_uuids": gpu_uuids(),
        "compilation": {
            "counters": {k: int(v) for k, v in vars(compilation_counter).items() if isinstance(v, int) and v},
            "models": _compiled_models(model),
            "level": int(config.optimization_level),
            "mode": _name(config.compilation_config.mode),
            "cudagraph_mode": _name(config.compilation_config.cudagraph_mode),
            "backend": str(config.compilation_config.backend),
        },
        "lora": _lora(runner),
        "cascade_attention": bool(runner.cascade_attn_enabled),
        "config_module": type(config.model_config.hf_config).__module__,
        "commit": hub_snapshot(str(file) for load in loading.seen() for file in load["files"]),
        "sampler_class": f"{type(runner.sampler).__module__}.{type(runner.sampler).__qualname__}",
        **_drafter(getattr(runner, "drafter", None)),
        "max_model_len": int(runner.max_model_len),
    }


def _name(value: Any) -> str:
    return str(getattr(value, "name", value))


def _compiled_models(model: Any) -> list[JSON]:
    """The modules that run compiled code, by the very objects that their calls go to.

    Counters of dynamo would not do: small helpers of the sampler are compiled in every mode.
    """
    found: list[JSON] = []
    for module in model.modules():
        kept = {name: getattr(module, name, None) for name in ("aot_compiled_fn", "_compiled_call_impl")}
        ways = [name for name, function in kept.items() if function is not None]
        if getattr(module, "compiled", False):
            ways.append("compiled")
        if ways:
            found.append({"module": type(module).__name__, "by": list(ways)})
    return found


def _weights(model: Any) -> dict[str, JSON]:
    dtypes: Counter[str] = Counter()
    devices: Counter[str] = Counter()
    shapes: list[tuple[str, JSON]] = []
    count = size = placed = 0
    widened = _widened_biases(model)
    for name, parameter in model.named_parameters():
        if name not in widened:
            dtypes[str(parameter.dtype)] += 1
        devices[str(parameter.device)] += 1
        own = parameter.numel() * parameter.element_size()
        placed += own if parameter.device.type != "cpu" else 0
        count += parameter.numel()
        size += own
        if parameter.dim() == 2:
            shapes.append((name, [str(parameter.dtype), *parameter.shape]))
    return {
        "model_class": type(model).__name__,
        "model_module": type(model).__module__,
        "parameters": count,
        "weight_bytes": size,
        "weight_bytes_on_device": placed,
        "parameter_dtypes": dict(dtypes),
        "parameter_devices": dict(devices),
        "local_shapes": of_each_kind(shapes),
    }


def _widened_biases(model: Any) -> set[str]:
    """Biases that a CPU's kernel has in float32 whatever the weights have: dispatch_cpu_unquantized_gemm, vLLM 0.32."""
    import torch

    return {
        f"{path}.bias"
        for path, module in model.named_modules()
        if hasattr(module, "cpu_linear")
        and getattr(module, "bias", None) is not None
        and module.bias.dtype == torch.float32 != module.weight.dtype
    }


def _modules(model: Any) -> dict[str, JSON]:
    methods: Counter[str] = Counter()
    absent = 0
    partitions: list[tuple[str, JSON]] = []
    for path, module in model.named_modules():
        sizes = (getattr(module, f"{side}_size_per_partition", None) for side in ("input", "output"))
        if len(known := [int(size) for size in sizes if size is not None]) == 2:
            # a layer's weight may be packed out of sight, what it multiplies is not
            partitions.append((path, [*known]))
        method = getattr(module, "quant_method", None)
        if method is not None and hasattr(module, "weight") | hasattr(module, "qweight") | hasattr(
            module, "output_size"
        ):
            methods[type(method).__name__] += 1
        absent += type(module).__name__ == "PPMissingLayer"
    epsilons = {float(module.variance_epsilon) for module in model.modules() if hasattr(module, "variance_epsilon")}
    return {
        "norm_epsilons": sorted(epsilons),
        "quant_methods": dict(methods),
        "partitions": of_each_kind(partitions),
        "missing_layers": absent,
        "decoder_layers": decoder_layers(model),
    }


def _attention(config: Any) -> dict[str, JSON]:
    backends: Counter[str] = Counter()
    implementations: Counter[str] = Counter()
    windows: Counter[str] = Counter()
    formats: Counter[str] = Counter()
    for layer in config.compilation_config.static_forward_context.values():
        if not hasattr(layer, "impl"):
            continue
        backend = getattr(layer, "attn_backend", None)
        backends[backend.get_name() if backend is not None else "unknown"] += 1
        implementations[type(layer.impl).__name__] += 1
        windows[str(getattr(layer, "sliding_window", None))] += 1
        formats[str(getattr(layer.impl, "kv_cache_dtype", None))] += 1
    return {
        "attention_backends": dict(backends),
        "attention_implementations": dict(implementations),
        "sliding_windows": dict(windows),
        "cache_formats": dict(formats),
    }


def _cache(runner: Any) -> dict[str, JSON]:
    tensors = [item for item in runner.kv_caches if hasattr(item, "shape")]
    kinds = Counter(str(describe(item)).split("[", 1)[1] for item in tensors)
    blocks = getattr(runner, "kv_cache_config", None)
    groups = getattr(blocks, "kv_cache_groups", None) or []
    specs = [group.kv_cache_spec for group in groups]
    return {
        "kv_cache": {
            "tensors": dict(kinds),
            "dtypes": sorted({str(item.dtype) for item in tensors}),
            "bytes": sum(int(item.numel()) * int(item.element_size()) for item in tensors),
            "blocks": int(getattr(blocks, "num_blocks", 0) or 0),
            "block_size": sorted({int(spec.block_size) for spec in specs}),
            "specs": sorted({type(spec).__name__ for spec in specs}),
            "spec_dtypes": sorted({str(getattr(spec, "dtype", None)) for spec in specs}),
        }
    }


def _drafter(drafter: Any) -> dict[str, JSON]:
    """The part that drafts, and the shortest and longest n-gram that each of its look-ups is given."""
    return {
        "drafter_class": None if drafter is None else type(drafter).__name__,
        "drafter_ngrams": [int(drafter.min_n), int(drafter.max_n)] if hasattr(drafter, "min_n") else None,
    }


def _lora(runner: Any) -> JSON:
    manager = getattr(runner, "lora_manager", None)
    if manager is None:
        return None
    layers = getattr(getattr(manager, "_adapter_manager", None), "modules", {})
    stacked = [getattr(layer, "lora_a_stacked", ()) for layer in layers.values()]
    # a layer made of several has a tensor for each
    shapes = {tuple(tensor.shape) for own in stacked for tensor in ([own] if hasattr(own, "shape") else own)}
    return {
        "manager": type(manager).__name__,
        "modules": dict(Counter(type(layer).__name__ for layer in layers.values())),
        # slots, 1, rank, width
        "stacked": [list(shape) for shape in sorted(shapes)],
    }


def describe_core(engine: Any) -> dict[str, JSON]:
    """The engine core's own parts, where it lives in this process, and the settled config."""
    config = getattr(engine, "llm_engine", engine).vllm_config
    facts: dict[str, JSON] = {
        "engine_class": type(engine).__name__,
        "core_pid": os.getpid(),
        "ending_ids": _ending_ids(getattr(engine, "llm_engine", engine).input_processor),
        "config": {
            "cache": _plain(config.cache_config),
            "scheduler": _plain(config.scheduler_config),
            "parallel": _plain(config.parallel_config),
            "model": {
                name: describe(getattr(config.model_config, name, None))
                for name in ("dtype", "quantization", "max_model_len", "seed", "revision", "generation_config")
            },
        },
    }
    client = getattr(getattr(engine, "llm_engine", None), "engine_core", None)
    core = getattr(client, "engine_core", None)
    facts["core_client"] = type(client).__name__
    if core is not None:
        scheduler = core.scheduler
        facts["executor_class"] = type(core.model_executor).__name__
        facts["scheduler"] = {
            "class": type(scheduler).__name__,
            "max_num_running_reqs": int(scheduler.max_num_running_reqs),
            "max_num_scheduled_tokens": int(scheduler.max_num_scheduled_tokens),
            "waiting": type(scheduler.waiting).__name__,
            "async": bool(core.async_scheduling),
            "block_hash": _block_hash(core),
            "connector": type(scheduler.connector).__name__,
        }
    return facts


def _ending_ids(processor: Any) -> list[JSON]:
    """The ids that end an output, from where each request gets them: the tokenizer's, and those of the defaults."""
    listed = processor.generation_config_fields.get("eos_token_id")
    ids = {listed} if isinstance(listed, int) else set(listed or ())
    return [*sorted({*ids, processor.renderer.get_eos_token_id()} - {None})]


def _block_hash(core: Any) -> str | None:
    """The function that hashes cache blocks: the block hasher holds it in its closure."""
    cell = hash_cell(core)
    return getattr(cell.cell_contents, "__name__", None) if cell else None


def hash_cell(core: Any) -> Any:
    """Where the block hasher holds its function, or None."""
    hasher = getattr(core, "request_block_hasher", None)
    cells = getattr(hasher, "__closure__", None) or ()
    return next((cell for cell in cells if callable(cell.cell_contents)), None)


def _plain(config: Any) -> dict[str, JSON]:
    """The fields of a config object that are plain values."""
    kinds = (bool, int, float, str, type(None))
    return {name: value for name, value in vars(config).items() if isinstance(value, kinds)}
