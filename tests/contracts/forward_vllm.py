"""Hands runs to the vLLM adapter over the real library, which checks each argument, and tells what arrived.

Run by the backend's own interpreter. Nothing is loaded: the last call before a load is checked against the
library's own class and stops there. Reads and answers as forward_tensorrt.py does.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from typing import Any

from harness.backends.base import Calls, Declared, GenerateJob, LoadJob
from harness.backends.vllm.engine import VLLMEngine
from harness.backends.vllm.requests import Requests
from tests.contracts.told import refusal, told


class Loading(Exception):
    """All that a load takes has been handed over."""


class Checked(Calls):
    """Keeps what is handed over; the class behind `LLM` takes it for `LLM`."""

    def __init__(self) -> None:
        super().__init__()
        self.given: list[dict[str, Any]] = []

    def __call__(self, name: str, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        engine = name in {"LLM", "AsyncEngineArgs"}
        self.given.append({"call": "LLM" if engine else name, "given": told(kwargs, deep=False)})
        if engine:
            from vllm import EngineArgs

            super().__call__(name, EngineArgs, **kwargs)
            raise Loading
        return super().__call__(name, function, *args, **kwargs)


def forward(run: dict[str, Any]) -> dict[str, Any]:
    """One load, up to the library's own, and the requests of one job."""
    calls, error = Checked(), None
    engine, request = Declared(run["engine"]), Declared(run["request"])
    try:
        try:
            VLLMEngine.load(LoadJob(run["model"], None, engine, "/nowhere"), calls)
        except Loading:
            streaming = engine.get("streaming")
            requests = Requests(run["model"], None if streaming is None else bool(streaming))
            seeds, instruments = tuple(run["seeds"]), frozenset[str](run["instruments"])
            job = GenerateJob(request, tuple(run["prompts"]), run["max_new_tokens"], seeds, instruments)
            if requests.beams(job, calls) is None:
                requests.sampling(job, seeds[0], calls)
            calls.given.append({"call": "LLM.generate", "given": told(requests.others(job, calls), deep=False)})
    except Exception as raised:  # noqa: BLE001 - what upstream refuses is what is asked for
        error = refusal(raised)
    return {"given": calls.given, "error": error, "unread": engine.unread()}


if __name__ == "__main__":
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    with answer:
        json.dump([forward(run) for run in json.load(sys.stdin)], answer)
