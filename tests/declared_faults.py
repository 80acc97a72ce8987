"""Declarations of a project in whose cells something goes wrong: once for each party that can be at fault."""

from __future__ import annotations

from dataclasses import replace

from harness.declare import Column, Matrix, OutputRule, Probe, Scope, Seen, Shown, Value
from harness.jsontypes import JSON
from tests import declared_toy
from tests.declared_toy import parameter

FAULTS = {
    "library": "missing-library",
    "disk": "full-disk",
    "cache": "make-folder:/dev/null",
    "network": "connect:9",
    "permission": "raise:PermissionError:[Errno 13] Permission denied: '/srv/cache'",
    "driver": "raise:RuntimeError:CUDA driver version is insufficient for CUDA runtime version",
    "value": "raise:ValueError:unsupported 'Permission denied': expected 'gcc not found' or 'fast'",
    "crash": "segfault",
    "memory": "out-of-memory",
    "hang": "hang",
}
"""Label of the cell to what the toy does in it."""
BUG = {"bug": "bug"}
BROKEN_CONTROL = {"both": "raise:ValueError:nothing works here"}


def _given(run: Seen, control: Seen, value: JSON) -> Shown:
    del control, value
    return Shown(run.read_back.get("never") is True, "nothing")


def matrix(faults: dict[str, str], control: str = "fine") -> Matrix:
    """One cell a fault; in the control the toy does what `control` says."""
    probe = Probe(says="never comes so far", effect=_given)
    values = [Value({"toy": what}, label=name, contrast={"toy": control}) for name, what in faults.items()]
    faulty = parameter("passthrough_kwargs", *values, on=Column(Scope.REQUEST, probe, OutputRule.FREE))
    return replace(declared_toy.MATRIX, parameters=(faulty,))


MATRIX = matrix(FAULTS)
WITH_A_BUG = matrix(BUG)
WITHOUT_CONTROL = matrix(BROKEN_CONTROL, control="raise:KeyError:not even this")
