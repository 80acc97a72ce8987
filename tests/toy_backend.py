"""A backend that does as its settings say: {"load": what} at loading, {"generate": what} at generating."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from harness.backends.base import Calls, Declared, GenerateJob, LoadJob, Observation
from harness.backends.pytorch import arguments as pytorch
from harness.backends.tensorrt import arguments as tensorrt
from harness.backends.upstream import Interface, Tables
from harness.backends.vllm import arguments as vllm
from harness.jsontypes import JSON
from tests import toy_faults, toy_leftovers


def _segfault() -> None:
    ctypes.string_at(0)


def behave(what: str) -> None:  # noqa: C901, PLR0912 - one line a way to fail
    name, _, rest = what.partition(":")
    match name:
        case "fine":
            return
        case "raise":
            kind, _, text = rest.partition(":")
            exec(f"raise {kind}({text!r})", {"__name__": "toylib"})  # noqa: S102 - a frame outside the harness
        case "hang":
            Path(os.environ["TOY_FOLDER"], "hanging").write_text(str(os.getpid()), encoding="ascii")
            time.sleep(600)
        case "segfault":
            _segfault()
        case "kill":
            os.kill(os.getpid(), signal.Signals[rest])
        case "exit":
            sys.exit(int(rest))
        case "print":
            print(rest)
            print(rest, file=sys.stderr)
            os.write(1, rest.encode())
        case "stray":
            toy_leftovers.stray(new_session=False)
        case "stray-session":
            toy_leftovers.stray(new_session=True)
        case "stray-segfault":
            toy_leftovers.stray(new_session=True)
            _segfault()
        case "die-later":
            if os.fork() == 0:
                time.sleep(0.1)
                os.kill(os.getppid(), signal.SIGKILL)
                os._exit(0)
        case "hang-once":
            flag = Path(os.environ["TOY_FOLDER"], "hanging")
            if not flag.exists():
                flag.write_text(str(os.getpid()), encoding="ascii")
                time.sleep(600)
        case "kill-host":
            os.kill(os.getppid(), signal.SIGKILL)
            time.sleep(600)
        case "kill-host-once":
            flag = Path(os.environ["TOY_FOLDER"], "killed")
            if not flag.exists():
                flag.touch()
                os.kill(os.getppid(), signal.SIGKILL)
                time.sleep(600)
        case _:
            {**toy_leftovers.ACTIONS, **toy_faults.ACTIONS}[name](rest)


UNREAD = "decoder.min_p"
"""The one setting that this adapter accepts and forgets."""


def _read(settings: Declared, verb: str) -> dict[str, JSON]:
    """Every setting but one; what `verb` says is done."""
    found = {key: settings[key] for key in settings if key != UNREAD}
    extra = found.get("passthrough_kwargs")
    told = extra.get("toy") if isinstance(extra, Mapping) else found.get(verb)
    if told is not None:
        behave(str(told))
    return found


def named(settings: Mapping[str, JSON]) -> dict[str, JSON]:
    """Arguments by every name that they have upstream; others by the last word of their path."""
    known: dict[str, set[str]] = {}
    for tables in (pytorch.UPSTREAM, vllm.UPSTREAM, tensorrt.UPSTREAM):
        for path, name in (pair for table in tables.values() for pair in table.items()):
            known.setdefault(path, set()).add(name)
    return {name: value for path, value in settings.items() for name in known.get(path, {path.rpartition(".")[2]})}


class ToyEngine:
    def __init__(self, model: str, settings: dict[str, JSON]) -> None:
        self.model = model
        self.settings = settings

    def read_back(self) -> dict[str, JSON]:
        return {"applied": True, "model": self.model, "pid": os.getpid(), "gpu_uuids": [], **self.settings}

    def generate(self, job: GenerateJob, calls: Calls) -> Observation:
        settings = _read(job.settings, "generate")
        calls("toy.generate", dict, **named(settings))
        if "inside" in settings:
            calls("toy.inside", behave, str(settings["inside"]))
        text = json.dumps(settings)  # the toy does what it was told: it says so
        observation: Observation = {
            "outputs": [
                {"prompt": prompt, "seed": seed, "token_ids": [1, 2], "text": text, "ended": True, "prompt_tokens": 3}
                for prompt in range(len(job.prompts))
                for seed in job.seeds
            ],
            "memory": [{"pid": os.getpid(), "host_peak": 1 << 20}],
            "resolved": {"settings": settings},
        }
        match settings.get("observe"):
            case "nan":
                observation["logits"] = [[float("nan")]]
            case "object":
                observation["resolved"] = {"object": object()}  # type: ignore[dict-item]
            case "surrogate":
                observation["resolved"] = {"text": "a\udc80b"}
            case "absent":
                return job.settings["absent"]  # type: ignore[return-value]  # raises in a frame of the harness
            case "big":
                observation["resolved"] = {"text": "x" * (8 << 20)}
        return observation

    def synchronise(self) -> None:
        pass

    def close(self) -> None:
        pass


class ToyBackend:
    name = "toy"
    distributions = ("pytest",)
    libraries: ClassVar[Mapping[str, Sequence[str]]] = {"pytest": ("pytest",)}
    upstream: ClassVar[Tables] = {}

    def preload(self) -> None:
        if os.environ.get("TOY_IMPORT"):
            behave(os.environ["TOY_IMPORT"])

    def interface(self) -> Interface:
        self.preload()
        found: Interface = json.loads(Path(os.environ["TOY_INTERFACE"]).read_text(encoding="utf-8"))
        return found

    def load(self, job: LoadJob, calls: Calls) -> ToyEngine:
        settings = _read(job.settings, "load")
        calls("toy.load", dict, **{"model": job.model, **named(settings)})
        return ToyEngine(job.model, settings)


def create() -> ToyBackend:
    return ToyBackend()
