"""How the model is run: attention kernels, compiled graphs, caches, speculation, processes."""

from __future__ import annotations

from harness.declare import Probe, Seen, Shown
from harness.jsontypes import JSON
from matrix.probes.scores import number
from matrix.probes.state import names

OPERATORS = frozenset({"operators"})


def _count(run: Seen, *parts: str) -> int:
    operators = run.observation.get("operators", {})
    return sum(count for name, count in operators.items() if any(part in name for part in parts))


def _attention(run: Seen, control: Seen, value: JSON) -> Shown:  # noqa: ARG001 - every effect has this shape
    fused, plain, seen = _kernels(run)
    # sdpa may itself fall back to a kernel that has a softmax; eager has nothing but
    fine = fused == 0 and plain > 0 if value == "eager" else fused > 0 and "sdpa" in seen
    return Shown(fine, f"{fused} fused attention and {plain} softmax operators; layers call {seen}")


def _named_attention(run: Seen, control: Seen, value: JSON) -> Shown:  # noqa: ARG001
    """The function that the layers fetched; one of them serves all flash versions, so the live config tells which."""
    _, _, seen = _kernels(run)
    function = "flash_attention_forward" if str(value).startswith("flash_attention") else f"{value}_forward"
    versions = names(run.read_back.get("attention_implementation"))
    return Shown(function in seen and versions == [value], f"layers call {seen} as {', '.join(versions)}")


def _kernels(run: Seen) -> tuple[int, int, str]:
    functions = run.observation.get("resolved", {}).get("attention_functions")
    seen = ", ".join(sorted(name.rsplit(".", 1)[-1] for name in functions)) if isinstance(functions, dict) else "none"
    fused = _count(run, "scaled_dot_product", "flash_fwd", "flash_attn")
    return fused, _count(run, "aten::softmax", "aten::_softmax"), seen


def _compiled(run: Seen) -> tuple[int, list[dict[str, JSON]]]:
    """How often compiled graphs ran, and the distinct compilers that had made them."""
    facts = run.observation.get("compiled", {})
    runs, compilers = facts.get("graph_runs"), facts.get("compilers")
    listed = compilers if isinstance(compilers, list) else []
    return runs if isinstance(runs, int) else 0, [item for item in listed if isinstance(item, dict)]


def _made_by(compilers: list[dict[str, JSON]]) -> str:
    return ", ".join(str(item.get("compiler")) for item in compilers) or "no compiler"


def _compiles(run: Seen, control: Seen, value: JSON) -> Shown:  # noqa: ARG001
    runs, compilers = _compiled(run)
    return Shown((runs > 0) is bool(value), f"compiled graphs ran {runs} times ({_made_by(compilers)})")


def _compiler(run: Seen, control: Seen, value: JSON) -> Shown:  # noqa: ARG001
    runs, compilers = _compiled(run)
    fine = runs > 0 and [item.get("compiler") for item in compilers] == [value]
    return Shown(fine, f"graphs made by {_made_by(compilers)} ran {runs} times")


_MODE_OPTION = {
    "default": {},
    "reduce-overhead": {"triton.cudagraphs": True},
    "max-autotune": {"max_autotune": True, "triton.cudagraphs": True, "coordinate_descent_tuning": True},
    "max-autotune-no-cudagraphs": {"max_autotune": True, "coordinate_descent_tuning": True},
}
"""What each mode sets in the compiler's options: torch._inductor.list_mode_options(), torch 2.13."""


def _mode(run: Seen, control: Seen, value: JSON) -> Shown:  # noqa: ARG001
    runs, compilers = _compiled(run)
    wanted = _MODE_OPTION[str(value)]
    fine = runs > 0 and bool(compilers) and all(item.get("options") == wanted for item in compilers)
    options = compilers[0].get("options") if compilers else "none"
    return Shown(fine, f"graphs compiled with options {options} ran {runs} times")


def _cached(run: Seen, control: Seen, value: JSON) -> Shown:  # noqa: ARG001
    """With a cache every step after the first takes in one id; without, all of them again."""
    widths = [shape[1] for shape in run.observation["forwards"]]
    ones = sum(width == 1 for width in widths)
    return Shown((ones > 0) is bool(value), f"{ones} of {len(widths)} forward calls took in a single id")


_CACHES: dict[str, tuple[str, set[str], bool]] = {
    "dynamic": ("DynamicCache", {"DynamicLayer"}, False),
    "static": ("StaticCache", {"StaticLayer"}, False),
    "offloaded": ("DynamicCache", {"DynamicLayer"}, True),
    "offloaded_static": ("StaticCache", {"StaticLayer"}, True),
    "quantized": ("QuantizedCache", {"QuantoQuantizedLayer"}, False),
    "sliding_window": ("StaticCache", {"StaticSlidingWindowLayer"}, False),
    "hybrid": ("StaticCache", {"StaticLayer", "StaticSlidingWindowLayer"}, False),
    "paged": ("PagedAttentionCache", set(), False),
}
"""Value to the class of the cache, the classes of its layers, and whether it offloads them."""


def _cache(run: Seen, control: Seen, value: JSON) -> Shown:  # noqa: ARG001
    caches = run.observation.get("resolved", {}).get("caches")
    seen = [cache for cache in caches if isinstance(cache, dict)] if isinstance(caches, list) else []
    found = [(str(cache.get("class")), set(names(cache.get("layers"))), cache.get("offloading")) for cache in seen]
    fine = bool(found) and all(item == _CACHES[str(value)] for item in found)
    text = ", ".join(f"{name} of {'/'.join(sorted(layers)) or 'blocks'}" for name, layers, _ in found)
    return Shown(fine, f"generation filled {text or 'no cache'}")


def _speculates(run: Seen, control: Seen, value: JSON) -> Shown:
    """Drafts of up to n ids are checked at once, so the same output takes fewer forward calls."""
    widths = [shape[1] for shape in run.observation["forwards"]]
    widest = max(widths[1:], default=0)
    fewer = len(widths) < len(control.observation["forwards"])
    return Shown(
        fewer and widest == int(number(value)) + 1,
        f"{len(widths)} forward calls, up to {widest} ids at once after the prompt",
    )


def _processes(run: Seen, wanted: int) -> Shown:
    """That many processes generated, and each prompt went to one of them."""
    processes = run.observation.get("processes", [])
    pids = {process.get("pid") for process in processes}
    shares = [process.get("prompts") for process in processes]
    handled = sorted(index for share in shares if isinstance(share, list) for index in share)
    prompts = sorted({output["prompt"] for output in run.observation["outputs"]})
    fine = len(pids) == wanted and handled == prompts
    return Shown(fine, f"{len(pids)} processes generated, for prompts {shares}")


def _num_processes(run: Seen, control: Seen, value: JSON) -> Shown:  # noqa: ARG001
    return _processes(run, int(number(value)))


attention = Probe(says="the operators of that attention run, and no other's", effect=_attention, instruments=OPERATORS)
named_attention = Probe(says="the layers call the attention function of that name", effect=_named_attention)
torch_compile = Probe(says="compiled graphs run during generate (False: none)", effect=_compiles)
torch_compile_backend = Probe(says="graphs made by that compiler run during generate", effect=_compiler)
torch_compile_mode = Probe(says="graphs run that were compiled with the mode's options", effect=_mode)
use_cache = Probe(says="each step takes in one id (False: all of them again)", effect=_cached)
cache_implementation = Probe(says="the cache that generation fills is of that kind", effect=_cache)
prompt_lookup = Probe(says="drafts are checked n at a time, in fewer forward calls", effect=_speculates, decisive=False)
num_processes = Probe(says="that many processes generate, each prompt once", effect=_num_processes)


def _strategy(run: Seen, control: Seen, value: JSON) -> Shown:  # noqa: ARG001
    """Two processes: each with half of every weight, with half of the layers, or with half of the prompts."""
    count = len({process.get("pid") for process in run.observation.get("processes", [])})
    shapes = run.read_back.get("local_shapes")
    split = 0
    if isinstance(shapes, dict):
        facts = [shape for shape in shapes.values() if isinstance(shape, dict)]
        split = sum(shape.get("local") != shape.get("whole") for shape in facts)
    absent = run.read_back.get("identity_layers")
    layers = absent if isinstance(absent, int) else 0
    if value == "data_parallel":
        shown = _processes(run, 2)
        return Shown(shown.holds and not split and not layers, shown.saw)
    fine = split > 0 if value == "tensor_parallel" else layers > 0
    return Shown(
        count == 2 and fine, f"{count} processes; {split} kinds of weight are split, {layers} layers are elsewhere"
    )


def _degree(run: Seen, control: Seen, value: JSON) -> Shown:  # noqa: ARG001
    count = len({process.get("pid") for process in run.observation.get("processes", [])})
    return Shown(count == int(number(value)), f"{count} processes generated")


parallel_strategy = Probe(says="two processes share the weights, the layers or the prompts", effect=_strategy)
parallel_degree = Probe(says="that many processes generate", effect=_degree)
