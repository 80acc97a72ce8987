"""Loaded state, read back from the live objects that do the work."""

from __future__ import annotations

from harness.declare import Level, Probe, Seen, Shown
from harness.jsontypes import JSON


def _dtypes(run: Seen, control: Seen, value: JSON) -> Shown:
    del control
    found = run.read_back.get("parameter_dtypes")
    names = sorted(found) if isinstance(found, dict) else []
    return Shown(names == [f"torch.{value}"] or names == [value], f"parameters are {', '.join(names) or 'unknown'}")


parameter_dtype = Probe(says="every parameter of the live model has the dtype", effect=_dtypes, level=Level.STATE)
