"""The code that a loaded engine runs: attention kernels, compiled modules, captured graphs."""

from __future__ import annotations

from harness.declare import Seen, Shown
from harness.jsontypes import JSON
from matrix.probes.readback import facts, listed, probe
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


def _compiler(run: Seen, control: Seen, value: JSON) -> Shown:
    """Inductor compiles the model ahead of its calls and keeps the artifact, eager runs dynamo's graph."""
    del control
    ahead = int(
        number(_counters(run).get("num_aot_compiles", 0)) + number(_counters(run).get("num_aot_artifacts_loaded", 0))
    )
    fine = _compiled(run) > 0 and (ahead > 0) is (value == "inductor")
    return Shown(fine, f"{_compiled(run)} modules run compiled code, {ahead} of it compiled ahead ({_told(run)})")


def _eager(run: Seen, control: Seen, value: JSON) -> Shown:
    """True: nothing was compiled. False: the model was."""
    del control
    count = _compiled(run)
    return Shown((count == 0) is bool(value), f"{count} modules run compiled code ({_told(run)})")


def _told(run: Seen) -> str:
    mode = facts(run, "compilation").get("mode")
    counters = ", ".join(f"{name} {count}" for name, count in _counters(run).items())
    return f"mode {mode}" + (f", {counters}" if counters else "")


MODES = ("NONE", "STOCK_TORCH_COMPILE", "DYNAMO_TRACE_ONCE", "VLLM_COMPILE")


def _mode(run: Seen, control: Seen, value: JSON) -> Shown:
    """The worker's mode is that one, and the model was compiled by it, or not at all."""
    del control
    wanted = MODES[int(number(value))] if isinstance(value, int) else str(value)
    fine = facts(run, "compilation").get("mode") == wanted and (_compiled(run) > 0) is (wanted != "NONE")
    return Shown(fine, _told(run))


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
    """0 compiles nothing, the levels above do."""
    del control
    count = _compiled(run)
    return Shown((count > 0) is (number(value) > 0), f"{count} modules run compiled code ({_told(run)})")


attention = probe("every layer's attention backend is that one (auto: all the same)", _attention)
cascade = probe("the worker's cascade attention is off (False: on)", _cascade)
enforce_eager = probe("nothing is compiled (False: the model is)", _eager)
compilation_mode = probe("the model is compiled in that mode", _mode)
compiler = probe("the model is compiled by that compiler", _compiler)
cudagraph_mode = probe("CUDA graphs are captured in that mode (NONE: none)", _graphs)
capture_sizes = probe("more CUDA graphs are captured than in the control", _sizes)
optimization_level = probe("the model is compiled (0: not)", _level)
