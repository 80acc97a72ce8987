"""Runs jobs on the PyTorch backend, each engine in a forked process, in the backend's interpreter.

stdin: a JSON object, name → {"load": settings, "jobs": [settings, …], "model": folder}.
The last line of stdout: a JSON object, name → what happened.
"""

# ruff: noqa: BLE001 - whatever a job raises is its result

from __future__ import annotations

import json
import os
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Any

from harness.backends import create
from harness.backends.base import Backend, Calls, Declared, GenerateJob, LoadJob

PROMPTS = ("7 plus 8 is", "the cat", "3 plus 4 is")


def main() -> None:
    scenarios = json.load(sys.stdin)
    backend = create("pytorch")
    backend.preload()
    results = {name: run(backend, scenario) for name, scenario in scenarios.items()}
    print()
    print(json.dumps(results))


def run(backend: Backend, scenario: dict[str, Any]) -> Any:
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setpgid(0, 0)
            with tempfile.TemporaryDirectory() as scratch:
                result = inside(backend, scenario, scratch)
            with os.fdopen(writer, "w") as pipe:
                json.dump(result, pipe)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        text = pipe.read()
    os.waitpid(pid, 0)
    return json.loads(text)


def inside(backend: Backend, scenario: dict[str, Any], scratch: str) -> dict[str, Any]:
    calls, settings = Calls(), Declared(scenario.get("load", {}))
    result: dict[str, Any] = {"jobs": []}
    try:
        engine = backend.load(LoadJob(scenario["model"], None, settings, scratch), calls)
    except Exception as error:
        return {"raised": f"{type(error).__name__}: {error}", "calls": calls.entries}
    result |= {"calls": calls.entries, "unread": settings.unread(), "read_back": engine.read_back()}
    for job in scenario["jobs"]:
        result["jobs"].append(generate(engine, dict(job)))
    engine.close()
    result["orphans"] = [pid for pid in result["read_back"].get("other_pids", []) if Path(f"/proc/{pid}").exists()]
    return result


def generate(engine: Any, job: dict[str, Any]) -> dict[str, Any]:
    arguments = {
        "prompts": tuple(job.pop("_prompts", PROMPTS)),
        "max_new_tokens": job.pop("_tokens", 6),
        "seeds": tuple(job.pop("_seeds", (0,))),
        "instruments": frozenset(job.pop("_instruments", ())),
    }
    calls, settings = Calls(), Declared(job)
    try:
        observation = engine.generate(GenerateJob(settings=settings, **arguments), calls)
    except Exception as error:
        return {"raised": f"{type(error).__name__}: {error}", "calls": calls.entries, "unread": settings.unread()}
    return {"seen": observation, "calls": calls.entries, "unread": settings.unread()}


if __name__ == "__main__":
    main()
