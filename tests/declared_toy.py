"""Declarations of a project whose backend is the toy: every outcome, at no cost."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from harness.declare import Column, Matrix, OutputRule, Parameter, Probe, Scope, Seen, Shown, Value, Workload
from harness.jsontypes import JSON

ROOT = Path(__file__).resolve().parent.parent


def _seen(run: Seen) -> JSON:
    told: JSON = json.loads(run.observation["outputs"][0]["text"])
    return told


def probe(path: str) -> Probe:
    """The toy tells what it was given."""

    def effect(run: Seen, control: Seen, value: JSON) -> Shown:
        del control
        settings = _seen(run)
        given = settings.get(path) if isinstance(settings, dict) else None
        return Shown(given == value, f"given {given!r}")

    return Probe(says="the toy was given the value", effect=effect)


def _never(run: Seen, control: Seen, value: JSON) -> Shown:
    del run, control, value
    return Shown(holds=False, saw="nothing")


NEVER = Probe(says="nothing can show it", effect=_never, decisive=False)


def column(path: str) -> Column:
    return Column(Scope.REQUEST, probe(path), OutputRule.FREE)


def parameter(path: str, *values: Value, section: str = "Decoder", on: Column | None = None) -> Parameter:
    return Parameter(path, section=section, values=values, columns={"pytorch": on or column(path)})


PASSES = parameter("decoder.top_k", Value(1), Value(5), Value(50, probe=NEVER))
FAILS = parameter(
    "passthrough_kwargs",
    Value({"toy": "raise:ValueError:no such | thing"}, label="raise"),
    section="Core",
)
LACKS = parameter("decoder.top_p", Value(0.5, needs=("cuda:99",)))
HANGS = parameter("passthrough_kwargs", Value({"toy": "hang-once"}, label="hang"))
FORGETS = parameter("decoder.min_p", Value(0.5))
MOODY_ONE = parameter("passthrough_kwargs", Value({"toy": "refuse-twice"}, label="moody"))
"""Refused by the first two engines that are asked, as the first pass asks two: the run, and its repetition."""
MISUNDERSTOOD = parameter("decoder.top_p", Value(0.5, needs=("tpu",)))

MATRIX = Matrix(
    parameters=(FAILS, PASSES, LACKS),
    excluded=(),
    sections=("Core", "Decoder"),
    base={},
    workload=Workload("one", ("one",)),
    shipped_model=ROOT / "models" / "tiny",
    accelerator_model=str(ROOT / "models" / "tiny"),
)
"""Three cells that end well (one of them uncertain), one ❌, one that lacks what it needs."""

ACROSS = replace(
    MATRIX, parameters=(replace(PASSES, columns=dict.fromkeys(("pytorch", "vllm"), column("decoder.top_k"))),)
)
"""The same cells in two columns."""


def _loaded(path: str) -> Probe:
    def effect(run: Seen, control: Seen, value: JSON) -> Shown:
        del control
        return Shown(run.read_back.get(path) == value, f"loaded with {run.read_back.get(path)!r}")

    return Probe(says="the toy was loaded with the value", effect=effect)


def engine(path: str, *values: Value) -> Parameter:
    """A parameter whose every value needs an engine of its own."""
    return parameter(path, *values, section="Core", on=Column(Scope.ENGINE, _loaded(path), OutputRule.FREE))


SPREAD = replace(
    MATRIX,
    parameters=(
        engine("fp_precision", Value("bfloat16"), Value("float16")),
        engine("pytorch.attn_implementation", Value("eager"), Value("sdpa")),
        PASSES,
        FAILS,
        LACKS,
    ),
)
"""Cells of five engines."""


ENGINES = engine("decoder.top_k", *[Value(count) for count in range(1, 7)])
MANY = replace(MATRIX, parameters=(FAILS, ENGINES, HANGS))
"""A ❌, six cells with an engine each, and one that hangs once."""
STUCK = replace(MATRIX, parameters=(ENGINES, parameter("passthrough_kwargs", Value({"toy": "hang"}, label="hang"))))
"""The last hangs whenever it is run."""
HANGING = replace(MATRIX, parameters=(PASSES, HANGS))
MOODY = replace(MATRIX, parameters=(PASSES, MOODY_ONE))
FAULTY = replace(MATRIX, parameters=(PASSES, FORGETS))
UNCLEAR = replace(MATRIX, parameters=(PASSES, MISUNDERSTOOD))
