"""torch.compile that is really in effect during `generate`, and counters that show it.

`torch.compile(model)` returns a wrapper whose `.generate` belongs to the wrapped, uncompiled
model, so nothing is compiled (pytorch/pytorch#141473, huggingface/transformers#34906).
Replacing `model.forward` is seen by `generate`, which calls `model(...)`.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, TYPE_CHECKING

from harness.backends.base import Calls, Declared, describe
from harness.backends.pytorch.arguments import COMPILE, ConflictingSettingsError, take

if TYPE_CHECKING:
    from harness.jsontypes import JSON
    from collections.abc import Callable


@dataclass(slots=True)
class Compilation:
    """What was asked of torch.compile, and the graphs it made, counted where they run."""

    enabled: bool | None
    graphs: list[dict[str, JSON]] = field(default_factory=list)
    """One entry a compiled graph: the compiler that made it and its nodes."""
    runs: Counter[int] = field(default_factory=Counter)
    """Executions of each entry of `graphs`."""

    def generate_arguments(self) -> dict[str, Any]:
        """`torch_compile=False` must also switch off what `generate` compiles by itself.

        On an accelerator it compiles the decoding step whenever the cache is static.
        """
        return {"disable_compile": True} if self.enabled is False else {}


def compile_model(model: Any, settings: Declared, calls: Calls) -> Compilation:
    """Apply the `pytorch.torch_compile*` settings to a loaded model."""
    enabled = settings["pytorch.torch_compile"] if "pytorch.torch_compile" in settings else None
    options = take(settings, COMPILE)
    compilation = Compilation(None if enabled is None else bool(enabled))
    if not enabled:
        if options:
            raise ConflictingSettingsError(
                f"torch_compile_{next(iter(options))}={next(iter(options.values()))!r} needs pytorch.torch_compile=True"
            )
        return compilation

    import torch

    _count_graphs(compilation)
    model.forward = calls("torch.compile", torch.compile, model.forward, **options)
    return compilation


def _count_graphs(compilation: Compilation) -> None:
    """Have every graph that dynamo hands to its compiler counted each time it runs."""
    from torch._dynamo.output_graph import OutputGraph

    original = OutputGraph.call_user_compiler

    def call_user_compiler(graph: Any, module: Any, *args: Any, **kwargs: Any) -> Callable[..., Any]:
        compiled = original(graph, module, *args, **kwargs)
        number = len(compilation.graphs)
        compilation.graphs.append({**_compiler(graph.compiler_fn), "nodes": len(module.graph.nodes)})

        def run(*inputs: Any) -> Any:
            compilation.runs[number] += 1
            return compiled(*inputs)

        return run

    OutputGraph.call_user_compiler = call_user_compiler


def _distinct(graphs: list[dict[str, JSON]]) -> list[JSON]:
    """The compilers that made the graphs, each with its options once."""
    seen: list[JSON] = []
    for graph in graphs:
        compiler: JSON = {name: value for name, value in graph.items() if name != "nodes"}
        if compiler not in seen:
            seen.append(compiler)
    return seen


def _compiler(compiler: Any) -> dict[str, JSON]:
    """Name and options of the compiler object that dynamo really calls."""
    inner = getattr(compiler, "_torchdynamo_orig_backend", compiler)
    for wrapper in (inner, getattr(inner, "_torchdynamo_orig_backend", None)):
        if wrapper is not None and hasattr(wrapper, "compiler_name"):
            inner = wrapper
    name = getattr(inner, "compiler_name", None) or getattr(inner, "__name__", type(inner).__name__)
    config = describe(getattr(inner, "config", {}))
    return {"compiler": str(name), "class": type(inner).__name__, "options": config}


def counters() -> Counter[str]:
    """A copy of dynamo's and inductor's counters, flat: `stats.unique_graphs` and the like."""
    from torch._dynamo.utils import counters as groups

    return Counter({f"{group}.{name}": count for group, names in groups.items() for name, count in names.items()})


def change(compilation: Compilation, before: Counter[str], graphs: int, runs: Counter[int]) -> dict[str, JSON]:
    """What was compiled and run since `before`, `graphs` and `runs` were taken."""
    after = counters()
    made = compilation.graphs[graphs:]
    executed = sum((compilation.runs - runs).values())
    return {
        "graphs_compiled": len(made),
        "graph_runs": executed,
        "compilers": _distinct(compilation.graphs),
        "graph_nodes": [graph["nodes"] for graph in made],
        "counters": {name: after[name] - before[name] for name in sorted(after) if after[name] != before[name]},
    }
