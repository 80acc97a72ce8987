"""Declarations of a small project that runs the real library: one cell for each outcome, and one engine more."""

from __future__ import annotations

from dataclasses import replace

from harness.declare import Column, Matrix, OutputRule, Probe, Scope, Seen, Shown, Value, Workload
from harness.jsontypes import JSON
from tests import declared_toy
from tests.declared_toy import NEVER, parameter


def _longest(run: Seen, control: Seen, value: JSON) -> Shown:
    del control
    longest = max(len(output["token_ids"]) for output in run.observation["outputs"])
    return Shown(longest == value, f"{longest} tokens")


def _dtype(run: Seen, control: Seen, value: JSON) -> Shown:
    del control
    found = str(run.read_back.get("parameter_dtypes"))
    return Shown(str(value) in found, found)


LONGEST = Probe(says="outputs are cut at this many tokens", effect=_longest)
DTYPE = Probe(says="parameters have the dtype", effect=_dtype)
FREE = OutputRule.FREE
SAMPLING: dict[str, JSON] = {"decoder.do_sample": True}

MATRIX: Matrix = replace(
    declared_toy.MATRIX,
    parameters=(
        parameter("fp_precision", Value("bfloat16"), section="Core", on=Column(Scope.ENGINE, DTYPE, FREE)),
        parameter("max_output_tokens", Value(1), on=Column(Scope.REQUEST, LONGEST, FREE)),
        parameter("decoder.temperature", Value(0.0), on=Column(Scope.REQUEST, NEVER, FREE, companions=SAMPLING)),
        parameter("decoder.top_p", Value(0.9), on=Column(Scope.REQUEST, NEVER, FREE, companions=SAMPLING)),
        parameter("decoder.top_k", Value(5), on=Column(Scope.REQUEST, NEVER, FREE, needs=("cuda:99",))),
        parameter("decoder.do_sample", on=Column(Scope.REQUEST, NEVER, FREE)),
    ),
    base={"pytorch": {"fp_precision": "float32"}},
    workload=Workload("sum", ("7 plus 8 is",), max_new_tokens=4),
)
