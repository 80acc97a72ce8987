"""Put on PYTHONPATH, makes vLLM's Qwen2 misbehave as `max_num_seqs` says; see `FAULTS`.

So a fault belongs to one value of one parameter, in every process that an engine has, and a control is free of it.
"""

from __future__ import annotations

import ctypes
import functools
import importlib.abc
import importlib.machinery
import importlib.util
import os
import sys
import time
from pathlib import Path
from typing import Any

MODULE = "vllm.model_executor.models.qwen2"
FAULTS = {
    101: ("load", "segfault"),
    102: ("load", "hang"),
    103: ("load", "raise"),
    104: ("forward", "segfault"),
    105: ("forward", "hang"),
    106: ("forward", "hang once"),
}


def misbehave(how: str) -> None:
    told = Path(os.environ["TOY_FOLDER"], "hanging")
    if how == "segfault":
        ctypes.string_at(0)
    elif how == "raise":
        raise ValueError("this model cannot be loaded")
    elif not (how.endswith("once") and told.exists()):
        part = told.with_suffix(f".{os.getpid()}")
        part.write_text(f"{os.getpid()} {os.getppid()}", encoding="ascii")
        part.rename(told)
        time.sleep(600)


def patch(module: Any) -> None:
    model = module.Qwen2ForCausalLM
    load, forward = model.__init__, model.forward

    @functools.wraps(load)  # vLLM reads signatures
    def new_load(self: Any, *, vllm_config: Any, **rest: Any) -> None:
        self.fault = FAULTS.get(vllm_config.scheduler_config.max_num_seqs, ("", ""))
        if self.fault[0] == "load":
            misbehave(self.fault[1])
        fault = self.fault
        load(self, vllm_config=vllm_config, **rest)
        self.fault = fault

    @functools.wraps(forward)
    def new_forward(self: Any, input_ids: Any, *args: Any, **kwargs: Any) -> Any:
        # a run to measure memory or to warm up has zeros for ids
        if self.fault[0] == "forward" and input_ids is not None and bool(input_ids.any()):
            misbehave(self.fault[1])
        return forward(self, input_ids, *args, **kwargs)

    model.__init__, model.forward = new_load, new_forward


class Finder(importlib.abc.MetaPathFinder):
    """Patches the module right after its import."""

    def find_spec(self, fullname: str, path: object, target: object = None) -> importlib.machinery.ModuleSpec | None:
        del path, target
        if fullname != MODULE:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        assert spec is not None
        assert spec.loader is not None
        run = spec.loader.exec_module

        def exec_module(module: Any) -> None:
            run(module)
            patch(module)

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


sys.meta_path.insert(0, Finder())
