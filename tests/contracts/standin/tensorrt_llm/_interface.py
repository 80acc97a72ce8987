"""Classes and enumerations made of the contract: exactly upstream's fields, refusing what upstream refuses."""

from __future__ import annotations

import dataclasses
import enum
import json
import typing
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, NonNegativeInt, PositiveInt, create_model

CONTRACT = json.loads((Path(__file__).parents[2] / "tensorrt_llm-1.2.1.json").read_text())
TYPES: dict[str, Any] = {
    **{name: getattr(typing, name) for name in ("Any", "Dict", "List", "Literal", "Optional", "Set", "Union")},
    **{kind.__name__: kind for kind in (Path, bool, dict, float, int, object, str)},
    "NonNegativeFloat": NonNegativeFloat,
    "NonNegativeInt": NonNegativeInt,
    "PositiveInt": PositiveInt,
}
FACTORIES: dict[str, Any] = {"dict": dict, "list": list}


def _enumeration(name: str, facts: dict[str, Any]) -> Any:
    return enum.StrEnum(name, facts["members"])


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True, populate_by_name=True)


class _Lenient(BaseModel):
    """Upstream's `PluginConfig`: names that it does not know are dropped without a word."""

    model_config = ConfigDict(extra="ignore")


def _model(name: str, facts: dict[str, Any]) -> Any:
    base = TYPES.get(facts.get("base", ""), _Lenient if facts["kind"] == "lenient" else _Strict)
    fields: dict[str, Any] = {field: _field(given) for field, given in facts.get("fields", {}).items()}
    made: Any = create_model(name, __base__=base, **fields)
    for constant, value in facts.get("constants", {}).items():
        setattr(made, constant, value)
    return made


def _field(given: dict[str, Any]) -> tuple[Any, Any]:
    kind = eval(given["type"], {}, TYPES)  # noqa: S307 - types of our own contract
    alias = {"alias": given["alias"]} if "alias" in given else {}
    if "factory" in given:
        return kind, Field(default_factory=FACTORIES.get(given["factory"]) or TYPES[given["factory"]], **alias)
    default = given.get("default", ...)
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        default = kind[default]
    return kind, Field(default, **alias)


def _sampling(self: Any) -> None:
    """What upstream does of a request's parameters when they are made."""
    if self.pad_id is None:
        self.pad_id = self.end_id
    self.best_of = self.best_of or self.n
    if self.embedding_bias is not None:
        self.embedding_bias = [float(self.embedding_bias[token]) for token in range(len(self.embedding_bias))]
    if self.top_p is not None and not 0 <= self.top_p <= 1:
        raise ValueError(f"require 0 <= top_p <= 1, got top_p={self.top_p}")
    if self.top_k is not None and self.top_k < 0:
        raise ValueError(f"require top_k >= 0, got top_k={self.top_k}")
    if self.temperature is not None and self.temperature < 0:
        raise ValueError(f"require temperature >= 0, got temperature={self.temperature}")
    if self.best_of < self.n:
        raise ValueError(f"best_of ({self.best_of}) cannot be less than n ({self.n})")
    greedy = (
        (self.temperature is None and self.top_p is None and self.top_k is None)
        or self.top_k == 1
        or self.top_p == 0.0
        or self.temperature == 0
    )
    if self.best_of > 1 and greedy and not self.use_beam_search:
        raise ValueError("Greedy decoding in the LLM API does not allow multiple returns. Please set to best_of=1")


AFTERWARDS: dict[str, Any] = {"SamplingParams": {"__post_init__": _sampling}}


def _dataclass(name: str, facts: dict[str, Any]) -> Any:
    """Upstream's dataclasses check names, not types."""
    fields: list[Any] = []
    for field, given in facts.get("fields", {}).items():
        value = dataclasses.field(default=given["default"]) if "default" in given else dataclasses.field()
        fields.append((field, Any, value))
    return dataclasses.make_dataclass(name, fields, kw_only=True, namespace=AFTERWARDS.get(name))


def _plain(name: str, facts: dict[str, Any]) -> Any:
    """A class without pydantic: names are checked by its signature alone."""
    fields = facts.get("fields", {})

    def __init__(self: Any, **given: Any) -> None:  # noqa: N807
        if unknown := sorted(set(given) - set(fields)):
            raise TypeError(f"{name}.__init__() got an unexpected keyword argument {unknown[0]!r}")
        for field, stated in fields.items():
            setattr(self, field, given.get(field, stated.get("default")))

    return type(name, (), {"__init__": __init__})


MAKERS = {"model": _model, "lenient": _model, "dataclass": _dataclass, "class": _plain}

for _name, _facts in CONTRACT["enums"].items():
    TYPES[_name] = _enumeration(_name, _facts)
for _name in sorted(CONTRACT["classes"], key=lambda name: name in {"BaseLlmArgs", "TorchLlmArgs", "TrtLlmArgs"}):
    TYPES[_name] = MAKERS[CONTRACT["classes"][_name]["kind"]](_name, CONTRACT["classes"][_name])
    TYPES[_name].__module__ = CONTRACT["classes"][_name]["module"]
