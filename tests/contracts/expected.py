"""What the contract says of a run, held against what arrived."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from harness.plan import Run

EXPECTED = json.loads((Path(__file__).parent / "expected_tensorrt.json").read_text())
PARAMETERS: Mapping[str, Mapping[str, Any]] = EXPECTED["parameters"]
BY_HARNESS = ("batching.", "traffic_simulation.")
"""Settings that the harness itself carries out: upstream has no argument for them."""
PARALLEL = {"tensor_parallel": "tensor_parallel_size", "pipeline_parallel": "pipeline_parallel_size"}
ABSENT = "absent"


def places(arrived: Mapping[str, Any]) -> dict[str, list[Any]]:
    """class.field to the values that arrived there, over all calls."""
    found: dict[str, list[Any]] = {}
    loads = [call for call in arrived["given"] if call["call"] != "LLM.generate_async"]
    requests = [call for call in arrived["given"] if call["call"] == "LLM.generate_async"]
    for call in [*loads[-1:], *requests]:
        name = "generate_async" if call in requests else "LLM"
        for field, value in call["given"].items():
            found.setdefault(f"{name}.{field}", []).append(value)
            _inside(field, value, found)
    found["call"] = [call["call"] for call in loads]
    return found


def _inside(argument: str, value: Any, found: dict[str, list[Any]]) -> None:
    if not isinstance(value, dict) or "class" not in value:
        return
    for field, item in value["fields"].items():
        for name in (value["class"], argument):
            found.setdefault(f"{name}.{field}", []).append(item)
        _inside(field, item, found)


def wrong(run: Run, arrived: Mapping[str, Any]) -> Iterator[str]:
    """Each setting of a run that did not arrive where and as it should, in words."""
    found = places(arrived)
    refused = arrived["error"] is not None
    settings = run.settings
    for path, value in settings.items():
        if path in run.request and refused:
            continue  # nothing was asked of an engine that was refused
        for place, wanted in _wanted(path, value, settings, run.model):
            got = found.get(place, [])
            if wanted == ABSENT:
                if got:
                    yield f"{path}={value!r}: {place} should not be given, got {got}"
            elif not got or not all(_same(item, wanted) for item in got):
                yield f"{path}={value!r}: expected {place}={wanted!r}, got {got}"


def _wanted(path: str, value: Any, settings: Mapping[str, Any], model: str) -> Iterator[tuple[str, Any]]:
    if path.startswith(BY_HARNESS) or path == "decoder.preset":
        return
    if path == "passthrough_kwargs":
        yield from ((f"SamplingParams.{name}", item) for name, item in value.items())
        return
    if path == "parallelism.strategy":
        yield f"LLM.{PARALLEL[value]}", settings["parallelism.degree"]
        return
    if path == "parallelism.degree":
        return
    rule = PARAMETERS[path]
    beams = int(settings.get("decoder.beam_search.num_beams") or 1)
    if "values" in rule:
        for place, wanted in rule["values"][json.dumps(value)].items():
            if wanted == "1, or beams" and beams > 1:
                yield place, None
            else:
                yield place, 1 if wanted == "1, or beams" else wanted
        return
    switched_off = path == "decoder.beam_search.num_beams" and settings.get("decoder.beam_search.enabled") is False
    for place in rule["at"]:
        yield place, 1 if switched_off else _as_it_arrives(rule, value, model)
    if rule.get("also") == "beams" and beams > 1 and not switched_off:
        width = {"SamplingParams.best_of": beams, "SamplingParams.use_beam_search": True}
        yield from {**width, "SamplingParams.n": settings.get("tensorrt.n", beams)}.items()


def _as_it_arrives(rule: Mapping[str, Any], value: Any, model: str) -> Any:
    if value is None:
        return None
    if "member" in rule:
        return f"{rule['member']}.{value}"
    if rule.get("folder"):
        return [_folder(item, model) for item in value] if isinstance(value, list) else _folder(value, model)
    if rule.get("vocabulary"):
        size = int(json.loads((Path(model) / "config.json").read_text())["vocab_size"])
        bias = {int(token): float(item) for token, item in value.items()}
        return [bias.get(token, 0.0) for token in range(size)]
    return value


def _folder(value: str, model: str) -> str:
    inside = Path(model) / value
    return str(inside.resolve()) if inside.is_dir() else value


def _same(got: Any, wanted: Any) -> bool:
    if wanted == "above 0":
        return isinstance(got, (int, float)) and got > 0
    if isinstance(wanted, str) and wanted.startswith("a ") and wanted[2:].isidentifier():
        return isinstance(got, dict) and got.get("class") == wanted[2:]
    return type(got) is type(wanted) and bool(got == wanted)
