"""More than one process: tensor and pipeline parallelism by upstream, data parallelism by us.

Rank 0 is the engine process itself; the other ranks are forked from it before it loads, and
the kernel kills them when it ends. They share a folder, not a network port: the rendezvous
is a file.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import traceback
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from harness.backends import torchside
from harness.backends.base import Calls, Declared, LoadJob, Observation
from harness.backends.pytorch.generate import Replica, Request
from harness.backends.pytorch.load import Loaded, load_model
from harness.backends.pytorch.readback import describe_model
from harness.backends.settings import ConflictingSettingsError, take
from harness.processes import die_with_parent

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.connection import Connection

    from harness.jsontypes import JSON

SIZE_ARGUMENT = {"tensor_parallel": "tp_size", "pipeline_parallel": "pp_size"}
"""`parallelism.strategy` → the argument of `DistributedConfig` that `parallelism.degree` is."""


PROCESSES = {
    "parallelism.strategy": "strategy",
    "parallelism.degree": "degree",
    "pytorch.num_processes": "processes",
}
"""Engine scope: how many processes there are, and what they share."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How many processes, and what they share."""

    strategy: str = "single"
    size: int = 1

    @property
    def sharded(self) -> bool:
        """Whether the ranks hold parts of one model and must move together."""
        return self.strategy in SIZE_ARGUMENT


def plan(settings: Declared, calls: Calls) -> Plan:
    """The processes that the settings ask for."""
    return calls.own("processes", _plan, **take(settings, PROCESSES))


def _plan(*, strategy: JSON = None, degree: JSON = None, processes: JSON = None) -> Plan:
    if strategy is None:
        if degree is not None:
            raise ConflictingSettingsError(f"parallelism.degree={degree!r} needs parallelism.strategy")
        return Plan("data_parallel", int(cast("int", processes))) if processes is not None else Plan()
    if strategy != "data_parallel" and strategy not in SIZE_ARGUMENT:
        known = ", ".join([*SIZE_ARGUMENT, "data_parallel"])
        raise ConflictingSettingsError(f"parallelism.strategy={strategy!r}: expected one of {known}")
    if degree is None:
        degree = processes if strategy == "data_parallel" and processes is not None else _visible_devices()
    if processes not in (None, degree):
        raise ConflictingSettingsError(f"pytorch.num_processes={processes!r} contradicts parallelism.degree={degree!r}")
    return Plan(str(strategy), int(cast("int", degree)))


def _visible_devices() -> int:
    """What a strategy without a degree is spread over."""
    import torch

    if count := int(torch.cuda.device_count()):
        return count
    raise ConflictingSettingsError(
        "parallelism.strategy without parallelism.degree means all visible accelerators, and there is none"
    )


def load_group(job: LoadJob, calls: Calls) -> tuple[Replica, Group]:
    """Fork the other ranks, load in all of them, and wait until each has."""
    wanted = plan(job.settings, calls)
    workers = [_fork(rank, lambda rank, pipe: _serve(job, wanted, rank, pipe)) for rank in range(1, wanted.size)]
    group = Group(wanted, workers)
    try:
        replica = Replica(_load(job, wanted, 0, calls), 0)
        group.wait_until_loaded(calls)
    except BaseException:
        group.close()
        raise
    return replica, group


def _load(job: LoadJob, wanted: Plan, rank: int, calls: Calls) -> Loaded:
    import torch

    distribution: dict[str, Any] = {}
    if wanted.size > 1:
        # as torchrun does: ranks that each start a thread a core spend their time waiting
        torch.set_num_threads(max(1, torch.get_num_threads() // wanted.size))
    if wanted.sharded:
        from transformers.distributed import DistributedConfig

        os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(wanted.size))
        accelerated = torch.cuda.is_available()
        if accelerated:
            torch.cuda.set_device(rank)
        calls(
            "torch.distributed.init_process_group",
            torch.distributed.init_process_group,
            backend="nccl" if accelerated else "gloo",
            init_method=(Path(job.scratch) / "rendezvous").as_uri(),
            rank=rank,
            world_size=wanted.size,
        )
        size = {SIZE_ARGUMENT[wanted.strategy]: wanted.size}
        distribution["distributed_config"] = calls("DistributedConfig", DistributedConfig, **size)
    return load_model(job, calls, distribution, rank)


@dataclass(slots=True)
class Worker:
    """Another rank's process, seen from rank 0."""

    pid: int
    pipe: Connection


def _fork(rank: int, main: Callable[[int, Connection], None]) -> Worker:
    """A child that runs `main` and cannot outlive this process."""
    ours, theirs = multiprocessing.Pipe()
    parent = os.getpid()
    pid = os.fork()
    if pid:
        theirs.close()
        return Worker(pid, ours)
    try:
        die_with_parent()
        if os.getppid() == parent:
            ours.close()
            main(rank, theirs)
    finally:
        os._exit(0)


def _serve(job: LoadJob, wanted: Plan, rank: int, pipe: Connection) -> None:
    """What a rank other than 0 does: load, then generate as often as it is told."""
    try:
        loaded = _load(replace(job, settings=Declared(dict(job.settings))), wanted, rank, Calls())
        replica = Replica(loaded, rank)
        pipe.send(("loaded", describe_model(loaded)))
        while True:
            pipe.send(("done", replica.run(pipe.recv(), Calls())))
    except (EOFError, BrokenPipeError):
        return
    except BaseException as error:  # noqa: BLE001 - handed to rank 0, which raises it
        kind = "upstream" if _from_upstream(error) else "error"
        pipe.send((kind, f"{type(error).__name__}: {error}\n{traceback.format_exc()}"))


def _from_upstream(error: BaseException) -> bool:
    """Whether the error came out of a recorded call, rather than out of this harness."""
    frames = traceback.walk_tb(error.__traceback__)
    return any(frame.f_code is Calls.__call__.__code__ for frame, _ in frames)


class WorkerError(RuntimeError):
    """A rank other than 0 failed while rank 0 did not; its own traceback is the message."""


def _raise(message: str) -> None:
    raise WorkerError(message)


class Group:
    """The other ranks of an engine."""

    def __init__(self, wanted: Plan, workers: list[Worker]) -> None:
        self._plan = wanted
        self._workers = workers
        self._described: list[dict[str, JSON]] = []

    def wait_until_loaded(self, calls: Calls) -> None:
        """Collect what each rank has loaded."""
        self._described = [cast("dict[str, JSON]", self._receive(worker, calls)) for worker in self._workers]

    def read_back(self, own: dict[str, JSON]) -> dict[str, JSON]:
        """Ranks, what the other ones hold besides this one's `own`, and what all of them use."""
        return {
            "strategy": self._plan.strategy,
            "process_count": 1 + len(self._workers),
            "other_ranks": [dict(described) for described in self._described],
            "other_pids": [worker.pid for worker in self._workers],
            "gpu_uuids": torchside.all_gpu_uuids([own, *self._described]),
        }

    def run(self, replica: Replica, request: Request, calls: Calls) -> Observation:
        """Generate on all ranks and put together what they saw."""
        shares = [request] * self._plan.size
        if not self._plan.sharded:
            # batches are dealt out in turn, so that every prompt is generated once
            shares = [replace(request, work=request.work[rank :: self._plan.size]) for rank in range(self._plan.size)]
        for worker, share in zip(self._workers, shares[1:], strict=True):
            worker.pipe.send(share)
        own = replica.run(shares[0], calls)
        others = [cast("Observation", self._receive(worker, calls)) for worker in self._workers]
        if self._plan.sharded:
            return _agreed(own, others)
        return _merged(own, others)

    def close(self) -> None:
        """Kill the other ranks: they hold nothing worth saving."""
        for worker in self._workers:
            worker.pipe.close()
            try:
                os.kill(worker.pid, signal.SIGKILL)
                os.waitpid(worker.pid, 0)
            except (ProcessLookupError, ChildProcessError):
                continue
        self._workers = []

    def _receive(self, worker: Worker, calls: Calls) -> object:
        try:
            kind, content = worker.pipe.recv()
        except EOFError:
            raise WorkerError(f"process {worker.pid} of the engine ended without an answer") from None
        if kind == "upstream":
            calls(f"process {worker.pid}", _raise, str(content))
        if kind == "error":
            _raise(str(content))
        return content


def _agreed(own: Observation, others: list[Observation]) -> Observation:
    """Ranks of one model: rank 0 speaks for all, whether they agree is kept."""
    tokens = [output["token_ids"] for output in own["outputs"]]
    for other in others:
        own["memory"] += other["memory"]
        for process in other["processes"]:
            process["same_tokens"] = [output["token_ids"] for output in other["outputs"]] == tokens
            own["processes"].append(process)
    return own


def _merged(own: Observation, others: list[Observation]) -> Observation:
    """Replicas with a share each: everything that is a list is joined, prompts put in order."""
    for other in others:
        own["forwards"] += other["forwards"]
        own["batches"] += other["batches"]
        own["arrivals"] += other["arrivals"]
        own["processes"] += other["processes"]
        own["memory"] += other["memory"]
        own["outputs"] += other["outputs"]
        own["chunks"] += other["chunks"]
        for key in ("steps", "logits", "beams"):
            if key in other:
                cast("Any", own).setdefault(key, []).extend(cast("Any", other)[key])
        own["seconds"] = max(own["seconds"], other["seconds"])
    own["outputs"].sort(key=lambda output: (output["seed"], output["prompt"]))
    own["arrivals"].sort()
    return own
