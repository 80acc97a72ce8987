"""What goes on record of an object: plain data as it is, everything else as data that says what it was."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest

from harness.backends.describe import describe
from harness.jsontypes import JSON


@dataclass
class Inner:
    names: tuple[str, ...] = ("a", "b")


@dataclass
class Params:
    temperature: float | None = 0.0
    stop: list[str] = dataclasses.field(default_factory=list)
    seed: int | None = None
    inner: Inner | None = None
    _private: int = 7


class Struct:
    """As msgspec's structs know their fields."""

    __struct_fields__: ClassVar[tuple[str, ...]] = ("n", "best_of", "_all_stop_token_ids", "flag")

    def __init__(self) -> None:
        self.n, self.best_of, self._all_stop_token_ids, self.flag = 3, None, {1}, False


class Config:
    def to_dict(self) -> dict[str, Any]:
        return {"bits": 4, "skip": None}


class Tensor:
    shape = (2, 3)
    dtype = "float32"


@pytest.mark.parametrize(
    "value", [None, True, False, 0, 1, "", "text", 0.0, -0.5, [], {}, [1, [None]], {"a": {"b": 1}}]
)
def test_plain_data_stays_as_it_is(value: JSON) -> None:
    assert describe(value) == value
    assert type(describe(value)) is type(value)


def test_a_dataclass_is_its_class_and_the_public_fields_that_say_something() -> None:
    assert describe(Params(stop=["x"], inner=Inner())) == {
        "class": "Params",
        "temperature": 0.0,
        "stop": ["x"],
        "inner": {"class": "Inner", "names": ["a", "b"]},
    }


def test_a_struct_is_its_class_and_its_public_fields_false_ones_included() -> None:
    assert describe(Struct()) == {"class": "Struct", "n": 3, "flag": False}


def test_a_config_that_knows_its_own_fields_is_asked_for_them() -> None:
    assert describe(Config()) == {"class": "Config", "bits": 4}


def test_a_class_is_not_taken_for_one_of_its_objects() -> None:
    assert describe(Params) == str(Params)


def test_a_tensor_is_its_shape_and_type() -> None:
    assert describe(Tensor()) == "Tensor[2, 3]:float32"


def test_an_object_that_says_nothing_is_its_class_and_no_address() -> None:
    assert describe(object()) == "<object>"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_numbers_that_json_lacks_are_text(value: float) -> None:
    assert describe(value) == repr(value)


def test_objects_that_hold_each_other_come_to_an_end() -> None:
    first, second = Params(), Params()
    first.inner = second  # type: ignore[assignment]
    second.inner = first  # type: ignore[assignment]
    assert len(json.dumps(describe(first))) < 10_000
