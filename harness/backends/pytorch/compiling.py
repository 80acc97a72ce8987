"""torch.compile that is really in effect during `generate`, and counters that show it.

`torch.compile(model)` returns a wrapper whose `.generate` belongs to the wrapped, uncompiled
model, so nothing is compiled (pytorch/pytorch#141473, huggingface/transformers#34906).
Replacing `model.forward` is seen by `generate`, which calls `model(...)`.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from harness.backends.base import Calls, Declared
from harness.backends.describe import describe
from harness.backends.pytorch.arguments import COMPILE
from harness.backends.settings import ConflictingSettingsError, take

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.jsontypes import JSON


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
    enabled = settings.get("pytorch.torch_compile")
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


@dataclass(frozen=True, slots=True)
class Mark:
    """Where all counters stood at one moment."""

    counters: Counter[str]
    """Of dynamo and inductor, flat: `stats.unique_graphs` and the like."""
    graphs: int
    runs: Counter[int]

    @classmethod
    def take(cls, compilation: Compilation) -> Mark:
        """Copy the counters as they are now."""
        return cls(_counters(), len(compilation.graphs), Counter(compilation.runs))

    def change(self, compilation: Compilation) -> dict[str, JSON]:
        """What was compiled, and which compiled graphs ran, since the mark."""
        after = _counters()
        made = compilation.graphs[self.graphs :]
        return {
            "graphs_compiled": len(made),
            "graph_runs": sum((compilation.runs - self.runs).values()),
            "compilers": _distinct(compilation.graphs),
            "graph_nodes": [graph["nodes"] for graph in made],
            "counters": {
                name: after[name] - self.counters[name] for name in sorted(after) if after[name] != self.counters[name]
            },
        }


def _counters() -> Counter[str]:
    from torch._dynamo.utils import counters

    return Counter({f"{group}.{name}": count for group, names in counters.items() for name, count in names.items()})
