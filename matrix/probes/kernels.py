"""The code that a loaded engine runs: attention kernels, compiled modules, captured graphs."""

from __future__ import annotations

from harness.declare import Seen, Shown
from harness.jsontypes import JSON
from matrix.probes.execution import OPERATORS
from matrix.probes.readback import MODULES, facts, listed, probe
from matrix.probes.scores import number
from matrix.probes.state import names


def _attention(run: Seen, control: Seen, value: JSON) -> Shown:
    """Every layer has that backend (auto: all have one and the same)."""
    del control
    found = names(run.read_back.get("attention_backends"))
    fine = len(found) == 1 if value == "auto" else found == [value]
    return Shown(fine, f"the layers' attention is {', '.join(found) or 'unknown'}")


def _cascade(run: Seen, control: Seen, value: JSON) -> Shown:
    del control
    enabled = run.read_back.get("cascade_attention")
    return Shown(enabled is (not value), f"cascade attention is {'on' if enabled else 'off'} in the worker")


def _counters(run: Seen) -> dict[str, JSON]:
    found = facts(run, "compilation").get("counters")
    return found if isinstance(found, dict) else {}


def _compiled(run: Seen) -> int:
    """Modules whose calls go to compiled code."""
    return len(listed(facts(run, "compilation").get("models")))


def _layers(run: Seen) -> int:
    """Calls of decoder layers while generating: a compiled graph runs in place of the layers that it was made of."""
    return sum(count for name, count in run.observation["modules"].items() if name.endswith("DecoderLayer"))


def _steps(run: Seen) -> int:
    return len(run.observation["forwards"])


def _graph_ran(run: Seen) -> bool:
    return _compiled(run) > 0 and _steps(run) > 0 and _layers(run) == 0


def _plainly_ran(run: Seen) -> bool:
    return _compiled(run) == 0 and _layers(run) >= _steps(run) > 0


def _compiler(run: Seen, control: Seen, value: JSON) -> Shown:
    """Inductor compiles the model ahead of its calls and fuses operators; eager runs dynamo's graph as it is."""
    ahead = _ahead(run)
    ours, theirs = (_elementwise(side) for side in (run, control))
    fused = ours < theirs if value == "inductor" else ours > theirs
    fine = _graph_ran(run) and (ahead > 0) is (value == "inductor") and fused
    return Shown(
        fine,
        f"{_ran(run)}, {ahead} of it compiled ahead; {ours} element-wise operators ran (control: {theirs})",
    )


def _ahead(run: Seen) -> int:
    """Models that were compiled ahead of their calls, now or earlier: upstream does that where inductor compiles."""
    counters = _counters(run)
    return int(number(counters.get("num_aot_compiles", 0)) + number(counters.get("num_aot_artifacts_loaded", 0)))


_ELEMENTWISE = ("aten::mul", "aten::add", "aten::neg", "aten::cat", "aten::pow", "aten::rsqrt", "aten::silu")
"""Operators between the products of matrices, which a compiler fuses."""


def _elementwise(run: Seen) -> int:
    return sum(run.observation["operators"].get(name, 0) for name in _ELEMENTWISE)


def _eager(run: Seen, control: Seen, value: JSON) -> Shown:
    """True: nothing was compiled. False: the model was."""
    del control
    return Shown(_plainly_ran(run) if value else _graph_ran(run), _ran(run))


def _ran(run: Seen) -> str:
    calls = f"decoder layers were called {_layers(run)} times in {_steps(run)} steps"
    return f"{_compiled(run)} modules hold compiled code ({_told(run)}), {calls}"


def _told(run: Seen) -> str:
    mode = facts(run, "compilation").get("mode")
    counters = ", ".join(f"{name} {count}" for name, count in _counters(run).items())
    return f"mode {mode}" + (f", {counters}" if counters else "")


MODES = ("NONE", "STOCK_TORCH_COMPILE", "DYNAMO_TRACE_ONCE", "VLLM_COMPILE")


def _mode(run: Seen, control: Seen, value: JSON) -> Shown:
    """The worker's mode is that one, and the model was compiled by it, or not at all; by dynamo alone, as asked.

    A platform that chooses the mode chooses the compiler with it.
    """
    del control
    wanted = MODES[int(number(value))] if isinstance(value, int) else str(value)
    works = _plainly_ran(run) if wanted == "NONE" else _graph_ran(run)
    fine = facts(run, "compilation").get("mode") == wanted and works and _ahead(run) == 0
    return Shown(fine, f"{_ran(run)}, {_ahead(run)} of it compiled ahead")


def _graphs(run: Seen, control: Seen, value: JSON) -> Shown:
    del control
    captured = int(number(_counters(run).get("num_cudagraph_captured", 0)))
    found = facts(run, "compilation").get("cudagraph_mode")
    fine = found == value and (captured > 0) is (value != "NONE")
    return Shown(fine, f"{captured} CUDA graphs were captured in mode {found}")


def _sizes(run: Seen, control: Seen, value: JSON) -> Shown:
    """For more sizes of a batch than in the control."""
    del value
    ours, theirs = (int(number(_counters(side).get("num_cudagraph_captured", 0))) for side in (run, control))
    return Shown(ours > theirs, f"{ours} CUDA graphs were captured (control: {theirs})")


def _level(run: Seen, control: Seen, value: JSON) -> Shown:
    """0 compiles nothing, the levels above do; the level that the worker settled on has to fit, and proves nothing.

    So a control of another level that does the same shows the effect too.
    """
    level = facts(run, "compilation").get("level")
    works = _graph_ran(run) if number(value) > 0 else _plainly_ran(run)
    return Shown(works and (run is control or level == value), f"at level {level} {_ran(run)}")


attention = probe("every layer's attention backend is that one (auto: all the same)", _attention)
cascade = probe("the worker's cascade attention is off (False: on)", _cascade)
enforce_eager = probe("layers are called one by one (False: a compiled graph runs)", _eager, instruments=MODULES)
compilation_mode = probe("a graph that dynamo alone made in that mode runs (0: none)", _mode, instruments=MODULES)
compiler = probe(
    "a graph compiled by that compiler runs, in which operators are fused (eager: are not)",
    _compiler,
    instruments=MODULES | OPERATORS,
)
cudagraph_mode = probe("CUDA graphs are captured in that mode (NONE: none)", _graphs)
capture_sizes = probe("more CUDA graphs are captured than in the control", _sizes)
optimization_level = probe("at that level a compiled graph runs (0: none)", _level, instruments=MODULES)
