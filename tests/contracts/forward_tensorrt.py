"""Hands runs to the TensorRT-LLM adapter over the stand-in, and tells what arrived. Run in a process of its own.

Reads a JSON list of runs from stdin; answers with a list of {"calls", "given", "error", "unread"} on stdout.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from typing import Any

from tensorrt_llm._llm import GIVEN

from harness.backends.base import Calls, Declared, GenerateJob, LoadJob
from harness.backends.tensorrt import create
from tests.contracts.told import refusal, told


def forward(run: dict[str, Any]) -> dict[str, Any]:
    """One load and one job."""
    GIVEN.clear()
    calls, error = Calls(), None
    engine, request = Declared(run["engine"]), Declared(run["request"])
    read_back: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as scratch:
        try:
            loaded = create().load(LoadJob(run["model"], None, engine, scratch), calls)
            read_back = loaded.read_back()
            job = GenerateJob(
                request,
                tuple(run["prompts"]),
                run["max_new_tokens"],
                tuple(run["seeds"]),
                frozenset(run["instruments"]),
            )
            loaded.generate(job, calls)
            loaded.close()
        except Exception as raised:  # noqa: BLE001 - what upstream refuses is what is asked for
            error = refusal(raised)
        unread = [*engine.unread(), *(request.unread() if error is None else ())]
    return {
        "given": told(GIVEN),
        "calls": calls.entries,
        "error": error,
        "unread": unread,
        "engine_built": read_back.get("engine_built"),
        "unread_facts": sorted(read_back.get("unread", {})),
    }


if __name__ == "__main__":
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    with answer:
        json.dump([forward(run) for run in json.load(sys.stdin)], answer)
