"""What the contracts say of a run, held against what arrived."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from harness.plan import Run

BY_HARNESS = ("batching.", "traffic_simulation.")
"""Settings that the harness itself carries out: upstream has no argument for them."""
Places = Mapping[str, list[Any]]
"""class.field to all the values that arrived there."""


@cache
def contract(backend: str) -> Mapping[str, Any]:
    """The contract of a backend."""
    found: Mapping[str, Any] = json.loads((Path(__file__).parent / f"expected_{backend}.json").read_text())
    return found


def places(arrived: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Where what arrived. Of several loads the last counts: those before it prepare it."""
    found: dict[str, list[Any]] = {}
    calls = arrived["given"]
    loads = [place for place, call in enumerate(calls) if call["call"].endswith("LLM")]
    for number, call in enumerate(calls):
        if number in loads[:-1]:
            continue
        name = "LLM" if number in loads else call["call"].removeprefix("LLM.")
        for field, value in call["given"].items():
            for shown in {name, call["call"]}:
                found.setdefault(f"{shown}.{field}", []).append(value)
            _inside(field, value, found)
    found["call"] = [calls[number]["call"] for number in loads]
    return found


def _inside(argument: str, value: Any, found: dict[str, list[Any]]) -> None:
    """An object by its class and by the argument that takes it, a plain mapping by the argument."""
    if not isinstance(value, dict):
        return
    names = {argument, value["class"]} if "class" in value else {argument}
    for field, item in (value["fields"] if "class" in value else value).items():
        for name in names:
            found.setdefault(f"{name}.{field}", []).append(item)
        _inside(field, item, found)


def wrong(run: Run, found: Places, *, refused: bool) -> Iterator[str]:
    """Each setting of a run that did not arrive where and as it should, in words."""
    for path, value in run.settings.items():
        if path in run.request and refused:
            continue  # nothing was asked of an engine that was refused
        alternatives = wanted(run, path, value)
        if alternatives and not any(all(_holds(found, *item) for item in each.items()) for each in alternatives):
            got = {place: found.get(place, []) for each in alternatives for place in each}
            yield f"{path}={value!r}: expected {' or '.join(map(str, alternatives))}, got {got}"


def wanted(run: Run, path: str, value: Any) -> list[Mapping[str, Any]]:
    """Alternatives, each of places and what has to be there. None where nothing arrives as an argument."""
    terms, settings = contract(run.backend), run.settings
    rule = terms["parameters"].get(path, {})
    if path.startswith(BY_HARNESS) or path == "decoder.preset" or "elsewhere" in rule:
        return []
    if path == "passthrough_kwargs":
        return [_passed_through(terms, value)]
    if path.startswith("parallelism."):
        return [{terms["parallel"][settings["parallelism.strategy"]]: settings["parallelism.degree"]}]
    if "values" in rule:
        stated = rule["values"][json.dumps(value)]
        return stated if isinstance(stated, list) else [stated]
    return _by_rule(run, rule, path, value)


def _passed_through(terms: Mapping[str, Any], value: Mapping[str, Any]) -> dict[str, Any]:
    stated: dict[str, Any] = {}
    for name, item in value.items():
        made = terms.get("passthrough_objects", {}).get(name)
        stated |= (
            {f"{made}.{field}": each for field, each in item.items()}
            if made
            else {f"{terms['passthrough']}.{name}": item}
        )
    return stated


def _by_rule(run: Run, rule: Mapping[str, Any], path: str, value: Any) -> list[Mapping[str, Any]]:
    settings = run.settings
    width: Any = settings.get("decoder.beam_search.num_beams")
    searched = width is not None and settings.get("decoder.beam_search.enabled") is not False
    if path == "decoder.beam_search.num_beams" and not searched:
        return [dict.fromkeys(rule["at"], 1)]
    where = rule["beams"] if searched and "beams" in rule and (width > 1 or not rule["at"]) else rule["at"]
    return [dict.fromkeys(where, _as_it_arrives(rule, value, run))] if where else []


def _as_it_arrives(rule: Mapping[str, Any], value: Any, run: Run) -> Any:
    if value is None:
        return None
    if "member" in rule:
        return f"{rule['member']}.{value}"
    if rule.get("folder"):
        return _folders(rule, value, run.model)
    if rule.get("vocabulary"):
        size = int(json.loads((Path(run.model) / "config.json").read_text())["vocab_size"])
        bias = {int(token): float(item) for token, item in value.items()}
        return [bias.get(token, 0.0) for token in range(size)]
    if rule.get("by_prompt") and isinstance(value, list):
        return OneOf(value)
    return value


def _folders(rule: Mapping[str, Any], value: Any, model: str) -> Any:
    if not isinstance(value, list):
        return _folder(value, model)
    folders = [_folder(each, model) for each in value]
    return OneOf(folders) if rule.get("by_prompt") else folders


class OneOf:
    """One of several values is in a place: each request brings its own."""

    def __init__(self, values: list[Any]) -> None:
        self.values = values

    def __repr__(self) -> str:
        return f"one of {self.values}"


def _folder(value: str, model: str) -> str:
    inside = Path(model) / value
    return str(inside.resolve()) if inside.is_dir() else value


def _holds(found: Places, place: str, value: Any) -> bool:
    got = found.get(place, [])
    if isinstance(value, OneOf):
        return {json.dumps(item) for item in got} == {json.dumps(item) for item in value.values}
    if value == "absent":
        return not got
    return bool(got) and all(_same(item, value) for item in got)


def _same(got: Any, value: Any) -> bool:
    number = isinstance(got, (int, float)) and not isinstance(got, bool)
    if value == "given":
        return True
    if value == "above or at 0":
        return number and got >= 0
    if value == "above 1":
        return number and got > 1
    if isinstance(value, str) and value.startswith("a ") and value[2:].isidentifier():
        return isinstance(got, dict) and got.get("class") == value[2:]
    return type(got) is type(value) and bool(got == value)
