"""Runs jobs on a backend, each engine in a forked process: `python -m tests.scenario BACKEND`, by its interpreter.

stdin: a JSON object, name → {"load": settings, "jobs": [settings, …], "model": folder}.
The last line of stdout: a JSON object, name → what happened.
"""

# ruff: noqa: BLE001 - whatever a job raises is its result

from __future__ import annotations

import inspect
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
    backend = create(sys.argv[1])
    backend.preload()
    results = {name: run(backend, scenario) for name, scenario in scenarios.items()}
    print()
    print(json.dumps(results))


def run(backend: Backend, scenario: dict[str, Any]) -> Any:
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
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
    if (limit := scenario.get("memory")) is not None:
        contained(limit)
    result: dict[str, Any] = {"jobs": []}
    try:
        engine = backend.load(LoadJob(scenario["model"], None, settings, scratch), calls)
    except Exception as error:
        return {"raised": f"{type(error).__name__}: {error}", "calls": calls.entries}
    result |= {"calls": calls.entries, "unread": settings.unread(), "read_back": engine.read_back()}
    for job in scenario["jobs"]:
        result["jobs"].append(generate(engine, dict(job)))
    if backend.name == "vllm":
        result["replaced"] = replaced(engine)
    if scenario.get("odd"):
        result["odd"] = {"pytorch": odd_model, "vllm": odd_worker}[backend.name](engine)
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


def replaced(engine: Any) -> dict[str, Any]:
    """Which of vLLM's own functions stand replaced, while a job is watched and after that."""
    if engine.loop is not None:
        return {}  # the worker is in another process
    found = {}
    for when, method in (("watching", "paramatrix_watch"), ("afterwards", "paramatrix_seen")):
        engine.ask(method, *([["scores"]] if when == "watching" else []))
        (found[when],) = engine.engine.collective_rpc(_replaced)
    return found


def contained(limit: int) -> None:
    """As in a container that has so much of the machine's memory: there is no other on this machine to try."""
    from vllm.utils import cpu_resource_utils

    cpu_resource_utils.get_cgroup_memory_limit = lambda: limit
    cpu_resource_utils.get_cgroup_memory_usage = lambda: 0


def odd_model(engine: Any) -> Any:
    """What is read back when layers of the last block are no longer as those of the others."""
    from torch.nn import Linear

    from harness.backends.pytorch.readback import describe_model

    loaded = engine._replica.loaded
    last = loaded.model.model.layers[-1]
    last.self_attn.o_proj = Linear(4, 4)
    if hasattr(last.mlp.down_proj.weight, "quant_state"):
        last.mlp.down_proj.weight.quant_state.nested ^= True
    return describe_model(loaded)


def odd_worker(engine: Any) -> Any:
    """The same, from vLLM's worker."""
    engine.engine.collective_rpc(_odd)
    (told,) = engine.ask("paramatrix_read_back")
    return told


def _odd(worker: Any) -> None:
    import torch

    layers = worker.model_runner.model.model.layers
    for layer in layers:
        # the layers' own weights are packed out of sight on a CPU
        layer.mlp.told = torch.nn.Parameter(torch.zeros(2 if layer is layers[-1] else 4, 3))
    layers[-1].mlp.down_proj.base_layer.output_size_per_partition = 4
    adapted = list(worker.model_runner.lora_manager._adapter_manager.modules.values())[-1]
    adapted.lora_a_stacked = tuple(tensor[:1] for tensor in adapted.lora_a_stacked)


def _replaced(worker: Any) -> list[str]:
    from vllm.v1.sample.ops import topk_topp_sampler as drawing

    runner = worker.model_runner
    found = [name for name in ("forward", "greedy_sample") if name in vars(runner.sampler)]
    found += [name for name in ("execute_model",) if name in vars(runner)]
    return found + [name for name in ("apply_top_k_top_p",) if not inspect.isfunction(getattr(drawing, name))]


if __name__ == "__main__":
    main()
