"""Declarations for several slots: cells that tell where they ran, that take them all, or that kill who judges them."""

from __future__ import annotations

import os
from dataclasses import replace

from harness.declare import Parameter, Value
from tests.declared_toy import MATRIX, PASSES, engine

ALL_CORES = (f"cpus:{len(os.sched_getaffinity(0))}",)


def loads(name: str, action: str = "note", needs: tuple[str, ...] = ()) -> Value:
    """A value that makes the toy's engine do `action` when it is loaded."""
    return Value({"toy": f"{action}:{name}"}, label=name, needs=needs)


def _of(*values: Value) -> tuple[Parameter, ...]:
    return (engine("passthrough_kwargs", *values), PASSES)


PLAIN = replace(MATRIX, parameters=_of(loads("a"), loads("b"), loads("c"), loads("wide", needs=ALL_CORES)))
"""Cells of four engines, one of which takes the whole machine, and of the engine that all others share."""

WIDE = replace(MATRIX, parameters=_of(*(loads(name, needs=ALL_CORES) for name in "abc"))[:1])
"""One after the other, whatever slots there are."""

FAULTS = replace(
    MATRIX,
    parameters=_of(
        loads("dies-once", "kill-worker-once"),
        loads("dies-always", "kill-worker"),
        loads("wide-dies-once", "kill-worker-once", ALL_CORES),
        loads("crashes", "segfault"),
        loads("hangs", "hang"),
        loads("a"),
        loads("wide", needs=ALL_CORES),
    ),
)
