"""Builds upstream's own objects from accepted settings, in the backend's interpreter; loads no model.

stdin: a flat settings object a line. stdout: an answer object a line, among whatever the library says:
what raised (`refused`, `generation`, `strict`, `bitsandbytes`), and what was `unread` or `changed`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from harness.backends.base import Declared
from harness.backends.batching import Batching
from harness.backends.pacing import traffic
from harness.backends.pytorch import arguments, parallel
from harness.backends.pytorch.compiling import compile_model
from harness.backends.pytorch.quantize import FLAGS, quantization_arguments
from harness.backends.settings import seed_of, take


class Recorded:
    """Stands in for `Calls`: objects are really built, nothing is compiled."""

    def __init__(self) -> None:
        self.kwargs: dict[str, dict[str, Any]] = {}

    def __call__(self, name: str, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        self.kwargs[name] = kwargs
        return args[0] if name == "torch.compile" else function(*args, **kwargs)

    def own(self, _name: str, function: Callable[..., Any], /, *args: Any, **given: Any) -> Any:
        return function(*args, **given)


def main() -> None:
    answers = [answer(json.loads(line)) for line in sys.stdin]
    for item in answers:
        print(json.dumps(item))


def answer(settings: dict[str, Any]) -> dict[str, Any]:
    engine = Declared({path: value for path, value in settings.items() if path in arguments.ENGINE_PATHS})
    request = Declared({path: value for path, value in settings.items() if path not in arguments.ENGINE_PATHS})
    calls: Any = Recorded()
    try:
        loading, quantising = load(engine, calls)
        generating = generate(request, calls)
    except Exception as error:  # noqa: BLE001 - whatever is raised is the answer
        return {"refused": f"{type(error).__name__}: {error}"}
    if quantising == {"quantization_config": None}:
        quantising = dict.fromkeys(FLAGS, False)  # which is how upstream is told so
    return {
        "generation": raised(lambda: validated(generating, strict=False)),
        "strict": raised(lambda: validated(generating, strict=True)),
        "unread": [*engine.unread(), *request.unread()],
        "changed": [
            *changed(settings, arguments.MODEL, loading),
            *changed(settings, arguments.GENERATE, generating),
            *changed(settings, arguments.COMPILE, calls.kwargs.get("torch.compile", {})),
            *changed(settings, arguments.BITSANDBYTES, calls.kwargs.get("BitsAndBytesConfig", quantising)),
            *(f"passthrough_kwargs.{key}" for key in settings.get("passthrough_kwargs", {}) if key not in generating),
        ],
    }


def load(settings: Declared, calls: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Everything that loading reads, as `load_group` and `load_model` read it."""
    parallel.plan(settings, calls)
    take(settings, arguments.TOKENIZER)
    loading = arguments.model_arguments(settings, calls)
    quantising = quantization_arguments(settings, calls)
    compile_model(SimpleNamespace(forward=print), settings, calls)
    return loading, quantising


def generate(settings: Declared, calls: Any) -> dict[str, Any]:
    """Everything that generating reads, as `PyTorchEngine` reads it."""
    calls.own("batches", Batching, **take(settings, arguments.BATCHING))
    traffic(settings, calls)
    settings.get("streaming")
    seed_of(settings, 0, calls)
    return arguments.generate_arguments(settings, 16, calls)


def validated(kwargs: dict[str, Any], *, strict: bool) -> None:
    from transformers import GenerationConfig

    GenerationConfig(**kwargs).validate(strict=strict)


def raised(call: Callable[[], None]) -> str | None:
    try:
        call()
    except Exception as error:  # noqa: BLE001 - whatever is raised is the answer
        return f"{type(error).__name__}: {error}"
    return None


def changed(settings: dict[str, Any], table: dict[str, str], forwarded: dict[str, Any]) -> list[str]:
    """Declared paths whose upstream argument is missing or has another value."""
    found = []
    for path, name in table.items():
        if path in settings and (name not in forwarded or plain(forwarded[name]) != plain(settings[path])):
            found.append(path)
    return found


def plain(value: Any) -> Any:
    """JSON's view of a value: keys of mappings are strings."""
    return json.loads(json.dumps(value))


if __name__ == "__main__":
    main()
