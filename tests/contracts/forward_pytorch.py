"""Hands runs to the PyTorch adapter over the real library, which checks what it can, and tells what arrived.

Run by the backend's own interpreter. Nothing is loaded and nothing generated: `from_pretrained` and `generate`
take any keyword, so what reaches `generate` is checked by `GenerationConfig`. Reads and answers as
forward_tensorrt.py does.
"""

from __future__ import annotations

import inspect
import json
import os
import sys
import types
from collections.abc import Callable
from typing import Any

from transformers import GenerationConfig
from transformers.generation.utils import GenerationMixin

from harness.backends.base import Calls, Declared, LoadJob
from harness.backends.pytorch import compiling
from harness.backends.pytorch.arguments import generate_arguments
from harness.backends.pytorch.load import load_model
from tests.contracts.told import refusal, told

SIGNATURE = set(inspect.signature(GenerationMixin.generate).parameters)


class Loading(Exception):
    """All that a load takes has been handed over."""


class Checked(Calls):
    """Keeps what is handed over, and loads nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.given: list[dict[str, Any]] = []

    def __call__(self, name: str, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        self.given.append({"call": name, "given": told(kwargs, deep=False)})
        if name == "AutoModelForCausalLM.from_pretrained":
            raise Loading
        if name == "AutoTokenizer.from_pretrained":
            return types.SimpleNamespace(pad_token_id=0)
        if name == "torch.compile":
            self.given[-1]["given"]["model"] = "the model's forward"
        return super().__call__(name, function, *args, **kwargs)


def forward(run: dict[str, Any]) -> dict[str, Any]:
    """One load, up to the library's own, and the arguments of `generate`."""
    calls, error = Checked(), None
    engine, request = Declared(run["engine"]), Declared(run["request"])
    try:
        try:
            load_model(LoadJob(run["model"], None, engine, "/nowhere"), calls, {})
        except Loading:
            model = types.SimpleNamespace(forward=lambda: None)
            asked = compiling.compile_model(model, engine, calls).generate_arguments()
            arguments = {**asked, **generate_arguments(request, run["max_new_tokens"], calls)}
            calls.given.append({"call": "generate", "given": told(arguments, deep=False)})
            _taken(arguments)
    except Exception as raised:  # noqa: BLE001 - what upstream refuses is what is asked for
        error = refusal(raised)
    return {"given": calls.given, "error": error, "unread": []}


def _taken(arguments: dict[str, Any]) -> None:
    """Upstream's own check of what is no argument of `generate` itself.

    Raises:
        TypeError: it knows nothing of it.
    """
    config = GenerationConfig()
    for name in (unused := config.update(**arguments)):
        if name not in SIGNATURE:
            raise TypeError(f"transformers has no argument {name} ({sorted(unused)})")


if __name__ == "__main__":
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    with answer:
        json.dump([forward(run) for run in json.load(sys.stdin)], answer)
