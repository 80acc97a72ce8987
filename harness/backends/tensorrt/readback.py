"""What a loaded engine's live objects say: modules, tensors, cache, scheduler, graphs.

On the PyTorch path with one GPU the executor lives in this process and is asked itself. What upstream
resolved of its arguments is kept under `args`, for readers: it is an echo and no evidence by itself.
"""

from __future__ import annotations

import os
from collections import Counter
from typing import TYPE_CHECKING, Any

from harness import processes
from harness.backends.describe import describe
from harness.backends.tensorrt.reads import Reads
from harness.backends.torchside import hub_snapshot, of_each_kind
from harness.gpus import gpus

if TYPE_CHECKING:
    from collections.abc import Iterable

    from harness.backends.tensorrt.building import Building
    from harness.jsontypes import JSON


def describe_engine(llm: Any, building: Building, reads: Reads) -> dict[str, JSON]:
    """Facts about a loaded `LLM`, whose load `building` saw."""
    executor: Any = reads("executor", lambda: llm._executor)
    facts: dict[str, JSON] = {
        "pid": os.getpid(),
        "engine_class": f"{type(llm).__module__}.{type(llm).__qualname__}",
        "executor_class": type(executor).__name__,
        "workers": [{"pid": pid} for pid in sorted(processes.tree(os.getpid()) - {os.getpid()})],
        "gpus": [
            {name: gpu[name] for name in ("index", "memory_bytes", "free_bytes")}
            for gpu in gpus()
            if isinstance(gpu, dict)
        ],
        **reads.group(
            "", args=lambda: _arguments(llm.args), commit=lambda: hub_snapshot([f"{llm._hf_model_dir}/config.json"])
        ),
    }
    if hasattr(executor, "engine") and hasattr(executor.engine, "model_engine"):
        facts |= _live(executor.engine, building, reads)
    return facts


def _live(executor: Any, building: Building, reads: Reads) -> dict[str, JSON]:
    """Facts about upstream's `PyExecutor`, where it runs in this process."""
    runner = executor.model_engine
    facts: dict[str, JSON] = {
        "executor": reads.group(
            "executor",
            model_engine=lambda: type(runner).__name__,
            event_loop=lambda: executor.event_loop.__name__,
            sampler=lambda: type(executor.sampler).__name__,
            scheduler=lambda: type(executor.scheduler).__name__,
            drafter=lambda: None if executor.drafter is None else type(executor.drafter).__name__,
            guided_decoder=lambda: _guided(executor.guided_decoder),
            sampling_kernels=lambda: _kernels(executor.sampler),
            max_batch_size=lambda: int(runner.batch_size),
            max_num_tokens=lambda: int(runner.max_num_tokens),
            max_seq_len=lambda: int(runner.max_seq_len),
            max_beam_width=lambda: int(runner.max_beam_width),
            autotuned=_autotuned,
            peft=lambda: _peft(_manager(executor, "PEFT_CACHE_MANAGER")),
        ),
        **reads.group("", torch_compile=lambda: _compiled(runner, building.fullgraph)),
    }
    if manager := reads("kv_cache", lambda: _manager(executor, "KV_CACHE_MANAGER")):
        facts["kv_cache"] = _cache(manager, reads)
    if graphs := reads("cuda_graph", lambda: runner.cuda_graph_runner):
        facts["cuda_graph"] = _graphs(graphs, reads)
    return facts | (reads("model", lambda: _model(runner.model)) or {})


def _manager(executor: Any, kind: str) -> Any:
    """One of the resource managers, by the name of its kind; None where there is none."""
    managers = executor.resource_manager.resource_managers
    return next((item for key, item in managers.items() if getattr(key, "name", str(key)) == kind), None)


def _model(model: Any) -> dict[str, JSON]:
    """Facts about the modules and their weights."""
    dtypes: Counter[str] = Counter()
    shapes: list[tuple[str, JSON]] = []
    count = size = 0
    for name, parameter in model.named_parameters():
        dtypes[str(parameter.dtype)] += 1
        count += parameter.numel()
        size += parameter.numel() * parameter.element_size()
        if parameter.dim() == 2:
            shapes.append((name, [str(parameter.dtype), *parameter.shape]))
    modules = list(model.modules())
    linear = [module for module in modules if type(module).__name__.endswith("Linear")]
    attention = [module.attn for module in modules if hasattr(module, "attn")]
    config = getattr(getattr(model, "model_config", None), "pretrained_config", None) or getattr(model, "config", None)
    return {
        "model": {
            "class": type(model).__name__,
            "parameters": count,
            "weight_bytes": size,
            "local_shapes": of_each_kind(shapes),
            "modules": dict(Counter(type(module).__name__ for module in modules)),
            "linear_classes": dict(Counter(type(module).__name__ for module in linear)),
            "linear_methods": dict(Counter(type(getattr(module, "quant_method", None)).__name__ for module in linear)),
            "linear_bytes": sum(_bytes(module.parameters()) for module in linear),
        },
        "parameter_dtypes": dict(dtypes),
        "norm_epsilons": sorted({float(m.variance_epsilon) for m in modules if hasattr(m, "variance_epsilon")}),
        "config_module": type(config).__module__,
        "attention_backends": dict(Counter(_backend_of(type(layer).__name__) for layer in attention)),
    }


def _bytes(tensors: Iterable[Any]) -> int:
    return sum(int(tensor.numel()) * int(tensor.element_size()) for tensor in tensors)


def _backend_of(name: str) -> str:
    """`TrtllmAttention` is TRTLLM: the classes are called after the backends."""
    return name.removesuffix("Attention").upper() or name


def _cache(manager: Any, reads: Reads) -> dict[str, JSON]:
    def buffers() -> list[Any]:
        return [manager.get_buffers(layer) for layer in manager.layer_offsets]

    return reads.group(
        "kv_cache",
        **{"class": lambda: type(manager).__name__},
        tokens_per_block=lambda: int(manager.tokens_per_block),
        blocks=lambda: int(manager.blocks_in_primary_pool),
        host_blocks=lambda: int(manager.blocks_in_secondary_pool),
        max_seq_len=lambda: int(manager.max_seq_len),
        enable_block_reuse=lambda: bool(manager.impl.enable_block_reuse),
        windows=lambda: [int(size) for size in manager.max_attention_window_vec],
        dtype=lambda: str(buffers()[0].dtype),
        pool_bytes=lambda: _bytes(buffers()),
    )


def _graphs(runner: Any, reads: Reads) -> dict[str, JSON]:
    return reads.group(
        "cuda_graph",
        enabled=lambda: bool(runner.enabled),
        padding=lambda: bool(runner.padding_enabled),
        batch_sizes=lambda: sorted(int(size) for size in runner.supported_batch_sizes),
        captured=lambda: sorted({batch_size(key) for key in runner.graphs}),
    )


def batch_size(key: Any) -> int:
    """Of a captured graph's key, which is the size, or begins with it."""
    return int(key[0] if isinstance(key, tuple) else key)


def _compiled(runner: Any, fullgraph: bool | None) -> dict[str, JSON]:
    """What torch.compile made, {} where it was not asked."""
    if not runner._torch_compile_enabled:
        return {}
    import torch

    graphs = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    backend = runner._torch_compile_backend
    return {
        "graphs": int(graphs),
        "fullgraph": fullgraph,
        "inductor": bool(backend.enable_inductor),
        # upstream hands over the sizes of CUDA graphs whether pieces are captured or not
        "piecewise_sizes": [int(size) for size in backend.capture_num_tokens if backend.piecewise_cuda_graph],
    }


def _guided(decoder: Any) -> str | None:
    return None if decoder is None else type(decoder.grammar_matcher_factory).__name__


def _kernels(sampler: Any) -> str:
    """`flashinfer` or `torch`, by the class that draws."""
    return "flashinfer" if "flashinfer" in sampler._grouped_sampler_cls.__name__.lower() else "torch"


def _autotuned() -> list[str]:
    """Operators that the autotuner keeps a tactic for."""
    from tensorrt_llm._torch.autotuner import AutoTuner

    return sorted({str(key[0]) for key in AutoTuner.get().profiling_cache.cache})


def _peft(manager: Any) -> dict[str, JSON] | None:
    if manager is None:
        return None
    # that of the arguments: evidence only of what upstream itself filled in
    return {"modules": sorted(str(name) for name in manager._lora_config.lora_target_modules)}


def _arguments(args: Any) -> dict[str, JSON]:
    """What upstream made of the arguments: values, and config objects by their fields."""
    fields = args.model_dump(mode="python", exclude={"tokenizer", "mpi_session"})
    return {"class": type(args).__name__, **{name: describe(value) for name, value in fields.items()}}
