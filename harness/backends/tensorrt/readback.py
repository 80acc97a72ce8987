"""What a loaded engine's live objects say: modules, tensors, cache, scheduler, graphs.

On the PyTorch path with one GPU the executor lives in this process and is asked itself. What upstream
resolved of its arguments is kept under `args`, for readers: it is an echo and no evidence by itself.
"""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import processes, snapshot
from harness.backends.base import describe
from harness.backends.tensorrt.reads import Reads

if TYPE_CHECKING:
    from collections.abc import Iterable

    from harness.jsontypes import JSON


def describe_engine(llm: Any, reads: Reads) -> dict[str, JSON]:
    """Facts about a loaded `LLM`."""
    executor = reads("executor", lambda: llm._executor)
    facts: dict[str, JSON] = {
        "pid": os.getpid(),
        "engine_class": f"{type(llm).__module__}.{type(llm).__qualname__}",
        "executor_class": type(executor).__name__,
        "args": reads("args", lambda: {"class": type(llm.args).__name__, **_plain(llm.args.model_dump(mode="python"))}),
        "commit": reads("commit", lambda: _commit(llm)),
        "workers": [{"pid": pid} for pid in sorted(processes.tree(os.getpid()) - {os.getpid()})],
        "gpus": [
            {name: gpu[name] for name in ("index", "memory_bytes", "free_bytes")}
            for gpu in snapshot.gpus()
            if isinstance(gpu, dict)
        ],
    }
    if hasattr(executor, "engine") and hasattr(executor.engine, "model_engine"):
        facts |= _live(executor.engine, reads)
    return facts


def _live(executor: Any, reads: Reads) -> dict[str, JSON]:
    """Facts about upstream's `PyExecutor`, where it runs in this process."""
    runner = executor.model_engine
    model = reads("model", lambda: runner.model)
    facts: dict[str, JSON] = {
        "executor": reads.group(
            "executor",
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
        "kv_cache": _cache(reads("kv_cache", lambda: _manager(executor, "KV_CACHE_MANAGER")), reads),
        "cuda_graph": _graphs(reads("cuda_graph", lambda: runner.cuda_graph_runner), reads),
        "torch_compile": reads("torch_compile", lambda: _compiled(runner)),
    }
    if model is not None:
        facts |= reads("model", lambda: _model(model)) or {}
    return facts


def _manager(executor: Any, kind: str) -> Any:
    """One of the resource managers, by the name of its kind; None where there is none."""
    managers = executor.resource_manager.resource_managers
    return next((item for key, item in managers.items() if getattr(key, "name", str(key)) == kind), None)


def _model(model: Any) -> dict[str, JSON]:
    """Facts about the modules and their weights."""
    dtypes: Counter[str] = Counter()
    shapes: dict[str, JSON] = {}
    count = size = 0
    for name, parameter in model.named_parameters():
        dtypes[str(parameter.dtype)] += 1
        count += parameter.numel()
        size += parameter.numel() * parameter.element_size()
        kind = ".".join(part for part in name.split(".") if not part.isdigit())
        if parameter.dim() == 2 and kind not in shapes:
            shapes[kind] = [str(parameter.dtype), *parameter.shape]
    modules = list(model.modules())
    linear = [module for module in modules if type(module).__name__.endswith("Linear")]
    attention = [module.attn for module in modules if hasattr(module, "attn")]
    config = getattr(getattr(model, "model_config", None), "pretrained_config", None) or getattr(model, "config", None)
    return {
        "model": {
            "class": type(model).__name__,
            "parameters": count,
            "weight_bytes": size,
            "local_shapes": shapes,
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
    if manager is None:
        return {}

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
    if runner is None:
        return {}
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


def _compiled(runner: Any) -> dict[str, JSON]:
    """What torch.compile made, {} where it was not asked."""
    if not runner._torch_compile_enabled:
        return {}
    import torch

    graphs = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    backend = runner._torch_compile_backend
    return {
        "graphs": int(graphs),
        "inductor": bool(backend.enable_inductor),
        "piecewise_sizes": [int(size) for size in backend.capture_num_tokens or ()],
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
    config = manager._lora_config
    return {
        "max_rank": int(config.max_lora_rank),
        "slots": None if config.max_loras is None else int(config.max_loras),
        "modules": sorted(str(name) for name in config.lora_target_modules),
    }


def _commit(llm: Any) -> str | None:
    """The snapshot of a hub cache that the model came from, None outside of one."""
    parts = Path(str(llm._hf_model_dir)).parts
    return parts[parts.index("snapshots") + 1] if "snapshots" in parts[:-1] else None


def _plain(fields: dict[str, Any]) -> dict[str, JSON]:
    """What of an arguments object can be told in a line: values, and config objects by their fields."""
    return {name: describe(value) for name, value in fields.items() if name not in {"tokenizer", "mpi_session"}}
