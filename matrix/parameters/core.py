"""Core settings."""

from __future__ import annotations

from harness.declare import Bound, Column, Parameter, Scope, Value
from matrix.probes import state
from matrix.sections import CORE

PARAMETERS = (
    Parameter(
        "fp_precision",
        section=CORE,
        values=(
            Value("float32", contrast="bfloat16"),
            Value("bfloat16", contrast="float32"),
            Value("float16", contrast="float32"),
        ),
        columns={"pytorch": Column(Scope.ENGINE, state.parameter_dtype, Bound(0.05))},
    ),
)
