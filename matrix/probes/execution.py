"""How the model is run: attention kernels, compiled graphs, caches, speculation, processes."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

from harness.backends.base import Attended
from harness.declare import Probe, Seen, Shown
from harness.jsontypes import JSON
from matrix.probes.layers import Process, dealt, unlike
from matrix.probes.readback import listed
from matrix.probes.scores import number
from matrix.probes.state import names
from matrix.variants import WINDOW

OPERATORS = frozenset({"operators"})


def _count(run: Seen, *parts: str) -> int:
    operators = run.observation.get("operators", {})
    return sum(count for name, count in operators.items() if any(part in name for part in parts))


def _attention(run: Seen, control: Seen, value: JSON) -> Shown:  # noqa: ARG001 - every effect has this shape
    fused, plain, seen = _kernels(run)
    # sdpa may itself fall back to a kernel that has a softmax; eager has nothing but
    fine = fused == 0 and plain > 0 if value == "eager" else fused > 0 and seen == "sdpa_attention_forward"
    return Shown(fine, f"{fused} fused attention and {plain} softmax operators; layers call {seen}")


def _named_attention(run: Seen, control: Seen, value: JSON) -> Shown:  # noqa: ARG001
    """No attention operator of torch's runs but the function's own.

    One function serves all flash versions, so the live config tells which.
    """
    _, plain, seen = _kernels(run)
    fused = _count(run, "scaled_dot_product")
    function = "flash_attention_forward" if str(value).startswith("flash_attention") else f"{value}_forward"
    versions = names(run.read_back.get("attention_implementation"))
    return Shown(
        function in seen and versions == [value] and fused == plain == 0,
        f"layers call {seen} as {', '.join(versions)}; {fused} scaled_dot_product and {plain} softmax operators",
    )


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
    fine = _all_compiled(run) if value else runs == 0
    return Shown(fine, f"compiled graphs ran {_times(run)} ({_made_by(compilers)})")


def _all_compiled(run: Seen) -> bool:
    """Whether a compiled graph at least ran for each call of the model: a compiler may give up after some."""
    return 0 < len(run.observation["forwards"]) <= _compiled(run)[0]


def _times(run: Seen) -> str:
    return f"{_compiled(run)[0]} times in {len(run.observation['forwards'])} forward calls"


def _compiler(run: Seen, control: Seen, value: JSON) -> Shown:  # noqa: ARG001
    _, compilers = _compiled(run)
    fine = _all_compiled(run) and [item.get("compiler") for item in compilers] == [value]
    return Shown(fine, f"graphs made by {_made_by(compilers)} ran {_times(run)}")


_MODE_OPTION = {
    "default": {},
    "reduce-overhead": {"triton.cudagraphs": True},
    "max-autotune": {"max_autotune": True, "triton.cudagraphs": True, "coordinate_descent_tuning": True},
    "max-autotune-no-cudagraphs": {"max_autotune": True, "coordinate_descent_tuning": True},
}
"""What each mode sets in the compiler's options: torch._inductor.list_mode_options(), torch 2.13."""


def _mode(run: Seen, control: Seen, value: JSON) -> Shown:  # noqa: ARG001
    _, compilers = _compiled(run)
    wanted = _MODE_OPTION[str(value)]
    fine = _all_compiled(run) and bool(compilers) and all(item.get("options") == wanted for item in compilers)
    options = compilers[0].get("options") if compilers else "none"
    return Shown(fine, f"graphs compiled with options {options} ran {_times(run)}")


def _cached(run: Seen, control: Seen, value: JSON) -> Shown:  # noqa: ARG001
    """With a cache every step after a prompt takes in one id; without, all of them again."""
    widths = [shape[1] for shape in run.observation["forwards"]]
    ones = sum(width == 1 for width in widths)
    again = sum(before > 1 < width for before, width in itertools.pairwise(widths))
    fine = ones > 0 and again == 0 if value else ones == 0
    return Shown(fine, f"{ones} of {len(widths)} forward calls took in a single id, {again} all of them again")


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


@dataclass(frozen=True, slots=True)
class _Attended:
    """What the attention layers were given at the steps that take in one id."""

    grew: int
    """Layers whose keys were one more at each step, in memory of their own each time."""
    stayed: int
    """Layers whose keys were as many at each step, always in the same memory."""
    indexed: int
    """Layers that looked keys up in a cache themselves."""
    longest: int
    """Most keys of a step."""


def _attended(run: Seen) -> _Attended:
    layers: dict[int, list[Attended]] = {}
    for call in run.observation.get("attended", []):
        layers.setdefault(call["layer"], []).append(call)
    pairs = {
        layer: [(a, b) for a, b in itertools.pairwise(calls) if a["queries"] == b["queries"] == 1]
        for layer, calls in layers.items()
    }
    return _Attended(
        grew=sum(
            bool(own) and all(b["keys"] == a["keys"] + 1 and not b["kept"] for a, b in own) for own in pairs.values()
        ),
        stayed=sum(bool(own) and all(b["keys"] == a["keys"] and b["kept"] for a, b in own) for own in pairs.values()),
        indexed=sum(all(call["indexed"] for call in calls) for calls in layers.values()),
        longest=max((b["keys"] for own in pairs.values() for _, b in own), default=0),
    )


def _works_as(value: str, at: _Attended, layers: int) -> bool:
    """Whether attention got its keys as from a cache of that kind.

    One that offloads or quantises hands the keys over like the plain one: of these the class alone tells.
    """
    if value == "paged":
        return at.indexed == layers
    if at.indexed:
        return False
    if value in {"static", "offloaded_static"}:
        return at.stayed == layers
    if value == "sliding_window":
        return at.stayed == layers and at.longest <= WINDOW
    if value == "hybrid":
        return at.stayed == layers and at.longest > WINDOW
    return at.grew == layers


def _cache(run: Seen, control: Seen, value: JSON) -> Shown:  # noqa: ARG001
    """A cache of that class, and attention that gets its keys as from one."""
    caches = run.observation.get("resolved", {}).get("caches")
    seen = [cache for cache in caches if isinstance(cache, dict)] if isinstance(caches, list) else []
    found = [(str(cache.get("class")), set(names(cache.get("layers"))), cache.get("offloading")) for cache in seen]
    at = _attended(run)
    layers = len({call["layer"] for call in run.observation.get("attended", [])})
    fine = bool(found) and all(item == _CACHES[str(value)] for item in found)
    text = ", ".join(f"{name} of {'/'.join(sorted(layers)) or 'blocks'}" for name, layers, _ in found)
    return Shown(
        fine and layers > 0 and _works_as(str(value), at, layers),
        f"generation filled {text or 'no cache'}; of {layers} attention layers {at.grew} got one key more a step, "
        f"{at.stayed} the same memory, {at.indexed} places in a cache; at most {at.longest} keys",
    )


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
    """That many processes called their model, and each prompt was answered by one of them."""
    processes = [process for process in run.observation.get("processes", []) if process.get("forwards")]
    pids = {process.get("pid") for process in processes}
    shares = [process.get("prompts") for process in processes]
    handled = sorted(index for share in shares if isinstance(share, list) for index in share)
    prompts = sorted({output["prompt"] for output in run.observation["outputs"]})
    fine = len(pids) == wanted and handled == prompts
    return Shown(fine, f"{len(pids)} processes generated, for prompts {shares}")


def _num_processes(run: Seen, control: Seen, value: JSON) -> Shown:  # noqa: ARG001
    return _processes(run, int(number(value)))


attention = Probe(says="the operators of that attention run, and no other's", effect=_attention, instruments=OPERATORS)
named_attention = Probe(
    says="the layers call the attention function of that name, and no other attention runs",
    effect=_named_attention,
    instruments=OPERATORS,
)
torch_compile = Probe(says="compiled graphs run at every forward call (False: none)", effect=_compiles)
torch_compile_backend = Probe(says="graphs made by that compiler run during generate", effect=_compiler)
torch_compile_mode = Probe(says="graphs run that were compiled with the mode's options", effect=_mode)
use_cache = Probe(says="each step takes in one id (False: all of them again)", effect=_cached)
cache_implementation = Probe(
    says="the cache that generation fills is of that kind, and attention gets its keys as from one",
    effect=_cache,
    instruments=frozenset({"attention"}),
)
prompt_lookup = Probe(says="drafts are checked n at a time, in fewer forward calls", effect=_speculates, decisive=False)
num_processes = Probe(says="that many processes generate, each prompt once", effect=_num_processes)


def _ranks(run: Seen) -> list[Process]:
    """What was read back from each process."""
    others = listed(run.read_back.get("other_ranks"))
    return [run.read_back, *(other for other in others if isinstance(other, dict))]


def _split(rank: Process) -> set[str]:
    """Kinds of weight of which the process has a part."""
    shapes = rank.get("local_shapes")
    kinds = shapes.items() if isinstance(shapes, dict) else ()
    return {kind for kind, shape in kinds if isinstance(shape, dict) and shape.get("local") != shape.get("whole")}


def _exchanged(run: Seen) -> int:
    """Operators that hand over what a process has computed."""
    return _count(run, "c10d::")


def _working(run: Seen) -> int:
    return len({process.get("pid") for process in run.observation.get("processes", []) if process.get("forwards")})


def _strategy(run: Seen, control: Seen, value: JSON) -> Shown:
    """Two processes: each with half of every weight, with half of the layers, or with half of the prompts."""
    if value == "tensor_parallel":
        return _degree(run, control, 2)
    exchanged = _exchanged(run)
    if value == "pipeline_parallel":
        layers = dealt(_ranks(run), _ranks(control))
        fine = _working(run) == len(layers.held) == 2 and layers.once and exchanged > 0
        return Shown(fine, f"{_working(run)} processes, with {layers}; {exchanged} exchanges")
    shown = _processes(run, 2)
    parts = set().union(*map(_split, _ranks(run))), any(rank.get("identity_layers") for rank in _ranks(run))
    return Shown(shown.holds and not any(parts) and not exchanged, f"{shown.saw}; {exchanged} exchanges")


def _degree(run: Seen, control: Seen, value: JSON) -> Shown:
    """Of tensor parallelism: several processes exchange what each has computed with its part of the weights.

    LookupError where the control's layers of one kind are not alike.
    """
    wanted, count, exchanged = int(number(value)), _working(run), _exchanged(run)
    ranks = _ranks(run)
    if apart := unlike(ranks, _ranks(control), "local_shapes"):
        return Shown(False, f"{count} processes generated; not all layers have the same share of {', '.join(apart)}")
    split = _split(ranks[0])
    alike = all(_split(rank) == split for rank in ranks)
    fine = count == wanted == len(ranks) and alike and bool(split) is (exchanged > 0) is (wanted > 1)
    return Shown(
        fine,
        f"{count} processes generated; {len(split)} kinds of weight are split"
        f"{'' if alike else ', not the same everywhere'}, {exchanged} exchanges",
    )


parallel_strategy = Probe(
    says="two processes share the weights, the layers or the prompts, and exchange what they compute of the first two",
    effect=_strategy,
    instruments=OPERATORS,
)
parallel_degree = Probe(
    says="that many processes generate, each with its part of the weights", effect=_degree, instruments=OPERATORS
)
