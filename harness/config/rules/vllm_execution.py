"""Rules about how vLLM runs the model: compiled or not, and over which processes."""

from __future__ import annotations

from harness.config.rules._rule import Rule, Values
from harness.config.rules._vllm import inert, refused

__all__ = ["RULES"]

_EAGER, _MODE, _GRAPHS, _COMPILER = (
    "vllm.enforce_eager",
    "vllm.compilation.mode",
    "vllm.compilation.cudagraph_mode",
    "vllm.compilation.backend",
)
_STARTER, _DATA = "vllm.distributed_backend", "vllm.data_parallel_size"
_STRATEGY, _DEGREE = "parallelism.strategy", "parallelism.degree"


def _off(value: object) -> bool:
    """Whether a compilation or CUDA graph mode is none."""
    return value == 0 or (isinstance(value, str) and value.upper() == "NONE")


def _eager(path: str, value: str) -> Rule:
    return inert(
        f"compile.vllm_eager_{path.rpartition('.')[2]}",
        path,
        _EAGER,
        violated=lambda values: values.get(_EAGER) is True and path in values and not _off(values[path]),
        combination=f"{path} with {_EAGER}=True",
        expected=f"{_EAGER}=False",
        reason="enforce_eager sets both the compilation mode and the CUDA graph mode to NONE, whatever they were",
        resolution=f"Remove {_EAGER}, or remove {path}",
        witness={path: value, _EAGER: True},
        neighbour={path: value, _EAGER: False},
    )


def _two_spellings(strategy: str) -> Rule:
    path = f"vllm.{strategy}_size"
    return refused(
        f"parallelism.vllm_{strategy}_disagrees",
        path,
        _DEGREE,
        violated=lambda values: (
            values.get(_STRATEGY) == strategy
            and path in values
            and _DEGREE in values
            and values[path] != values[_DEGREE]
        ),
        combination=f"{path} differs from {_DEGREE} under {_STRATEGY}={strategy}",
        expected="equal values, or only one of the two",
        reason=f"Both set {strategy}_size of vLLM",
        resolution=f"Remove {path}, or set both to the same value",
        witness={_STRATEGY: strategy, _DEGREE: 2, path: 3},
        neighbour={_STRATEGY: strategy, _DEGREE: 2, path: 2},
    )


def _processes(values: Values, strategy: str) -> int:
    """Return how many processes a config splits the model over, in either spelling."""
    stated: int = values.get(f"vllm.{strategy}_size", 1)
    shared: int = values.get(_DEGREE, 1) if values.get(_STRATEGY) == strategy else 1
    return max(stated, shared)


def _one_process(strategy: str, reason: str) -> Rule:
    path = f"vllm.{strategy}_size"
    return refused(
        f"parallelism.vllm_uni_{strategy}",
        _STARTER,
        path,
        violated=lambda values: values.get(_STARTER) == "uni" and _processes(values, strategy) > 1,
        combination=f"{_STARTER}=uni with {path} > 1",
        expected=f"{_STARTER}=mp or ray",
        reason=reason,
        resolution=f"Set {_STARTER}='mp', or remove it",
        witness={_STARTER: "uni", path: 2},
        neighbour={_STARTER: "mp", path: 2},
    )


RULES: tuple[Rule, ...] = (
    _eager(_MODE, "VLLM_COMPILE"),
    _eager(_GRAPHS, "FULL"),
    _eager(_COMPILER, "eager"),
    inert(
        "compile.vllm_backend_inert",
        _COMPILER,
        _MODE,
        violated=lambda values: _COMPILER in values and _MODE in values and _off(values[_MODE]),
        combination=f"{_COMPILER} with {_MODE}=NONE",
        expected="a mode that compiles",
        reason="Nothing is compiled",
        resolution=f"Remove {_COMPILER}, or choose another {_MODE}",
        witness={_COMPILER: "eager", _MODE: "NONE"},
        neighbour={_COMPILER: "eager", _MODE: "STOCK_TORCH_COMPILE"},
    ),
    _two_spellings("tensor_parallel"),
    _two_spellings("pipeline_parallel"),
    _one_process(
        "tensor_parallel",
        "uni runs one process in the engine's own, which waits for the others for ever (on a CPU, an engine in a "
        "process of its own takes mp instead without saying so)",
    ),
    _one_process("pipeline_parallel", "vLLM raises NotImplementedError: pipeline stages are processes"),
    refused(
        "parallelism.vllm_data_size",
        _DATA,
        _STARTER,
        "streaming",
        violated=lambda values: (
            values.get(_DATA, 1) > 1 and values.get(_STARTER) != "external_launcher" and values.get("streaming") is None
        ),
        combination=f"{_DATA} > 1 without streaming",
        expected=f"{_DATA} to be 1 or omitted, or streaming to be set",
        reason="LLM raises ValueError: data parallelism is not supported for single-process usage. The async engine, "
        "which streams, starts the copies",
        resolution=f"Set streaming (true or false), or remove {_DATA}",
        witness={_DATA: 2},
        neighbour={_DATA: 1},
    ),
)
