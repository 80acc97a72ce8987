"""Upstream made deaf, for the audit: a table a backend, and the source files that its patches are functions of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from harness.declare import Column, Deaf, Parameter, label

Patches = Mapping[str, Mapping[str, Deaf]]
"""Parameter to the label of a value to what makes upstream deaf to it."""


def deafened(parameters: Iterable[Parameter], backend: str, patches: Patches) -> tuple[Parameter, ...]:
    """The parameters with a backend's patches in its columns.

    Raises:
        ValueError: a patch is of no parameter or value that the backend tests.
    """
    listed = tuple(parameters)
    tested = {parameter.path: _labels(parameter, backend) for parameter in listed}
    for path, own in patches.items():
        if strangers := sorted(set(own) - tested.get(path, set())):
            raise ValueError(f"deaf patch of {path}={strangers[0]}: {backend} tests no such value")
    return tuple(_with(parameter, backend, patches.get(parameter.path, {})) for parameter in listed)


def _labels(parameter: Parameter, backend: str) -> set[str]:
    return {
        value.label or label(value.value)
        for value in parameter.values
        if value.backends is None or backend in value.backends
    }


def _with(parameter: Parameter, backend: str, patches: Mapping[str, Deaf]) -> Parameter:
    column = parameter.columns.get(backend)
    if not patches or not isinstance(column, Column):
        return parameter
    return replace(parameter, columns={**parameter.columns, backend: replace(column, deaf=patches)})
