"""Slots as Ray actors. An actor holds GPUs or CPUs and keeps a supervisor; no backend runs inside it."""

from __future__ import annotations

import os
import select
import signal
import socket
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from harness.cluster.node import Setup, of_node
from harness.cluster.slot import PATIENCE_S, Slot
from harness.cluster.spread import Answered, ClusterError, Event, Lost, Placed
from harness.failure import one_line
from harness.gpus import VISIBLE
from harness.jsontypes import JSON
from harness.wire import Message

_REACH_S: Final = 10.0
"""Seconds in which a cluster's address has to answer. Ray itself tries for minutes."""


class RaySlot(Slot):
    """A slot as an actor's class."""

    def __init__(self, *, gpus: int) -> None:
        """`gpus`: how many its node has for Ray, where it holds some of these, and no CPUs."""
        # Ray's own variables are no business of a backend, nor is its idea of a thread for an actor without CPUs
        super().__init__(withheld=("RAY_", *(["OMP_NUM_THREADS"] if gpus else [])))
        self._gpus = gpus
        threading.Thread(target=self._end_with_node, daemon=True).start()

    def here(self) -> None:
        """Answers once the actor has its place."""

    def begin(self, setup: Message) -> JSON:
        """As `Slot.begin`. Ray has narrowed CUDA_VISIBLE_DEVICES to what the actor holds; a header is of the node.

        So the supervisor sees all that the node has for Ray, and confines its hosts itself.
        """
        if self._gpus:
            setup = {**setup, "gpus": os.environ.get(VISIBLE, "").split(",")}
            self.environment = {VISIBLE: of_node(_raylets(VISIBLE), self._gpus)}
        return super().begin(setup)

    def _end_with_node(self) -> None:
        """A worker that is busy outlives its killed raylet (seen with Ray 2.60), and would keep engine and GPU."""
        raylet = os.environ.get("RAY_RAYLET_PID")
        if raylet is None:
            return
        try:
            fd = os.pidfd_open(int(raylet))
            select.select([fd], [], [])
        except ProcessLookupError:
            pass
        self.end()
        os._exit(1)


class RayCluster:
    """A running Ray cluster, by its address."""

    def __init__(self, address: str | None) -> None:
        """Join it.

        Raises:
            ClusterError: nothing answers there.
        """
        address = address or os.environ.get("RAY_ADDRESS") or "auto"
        _reach(address)
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        terminated = signal.getsignal(signal.SIGTERM)
        try:
            ray.init(address=address, log_to_driver=False, logging_level="error", configure_logging=False)
        except (ConnectionError, RuntimeError, ValueError, RayError) as error:
            raise ClusterError(
                f"no Ray cluster at {address}: {one_line(str(error), 200)} Start one with `ray start --head`, "
                "or name it with RAY_ADDRESS=host:port"
            ) from None
        signal.signal(signal.SIGTERM, terminated)  # Ray has put a handler of its own there
        self._actors: dict[str, Any] = {}
        self._pending: dict[Any, tuple[str, type[Placed | Answered]]] = {}
        self._ending: dict[Any, Any] = {}
        self._count = 0
        self._unit = "GPU" if any(node["Resources"].get("GPU") for node in _living()) else "CPU"

    @property
    def unit(self) -> str:
        """What slots are made of."""
        return self._unit

    def nodes(self) -> Mapping[str, int]:
        """The nodes that live, with their units."""
        return {node["NodeID"]: int(node["Resources"].get(self._unit, 0)) for node in _living()}

    def free(self) -> float:
        """Units that nobody holds."""
        return float(ray.available_resources().get(self._unit, 0.0))

    def start(self, node: str, units: int, setup: Setup) -> str:
        """Ask for an actor on a node."""
        gpus = self.nodes().get(node, units) if self._unit == "GPU" else 0
        actor = (
            ray.remote(RaySlot)
            .options(
                num_gpus=units if gpus else 0,
                num_cpus=0 if gpus else units,
                # an actor that came again would know nothing of its cell, and a task that did would judge it twice
                max_restarts=0,
                max_task_retries=0,
                max_concurrency=2,  # to be ended while it judges
                scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False),
            )
            .remote(gpus=gpus)
        )
        self._count += 1
        slot = f"slot-{self._count}"
        self._actors[slot] = actor
        self._pending[actor.here.remote()] = slot, Placed
        self._pending[actor.begin.remote(_message(setup))] = slot, Answered
        return slot

    def judge(self, slot: str, cell: str, run: str) -> None:
        """Ask an actor for a record."""
        self._pending[self._actors[slot].judge.remote(cell, run)] = slot, Answered

    def end(self, slot: str) -> None:
        """End an actor, its supervisor first."""
        if (actor := self._actors.pop(slot, None)) is not None:
            self._pending = {ref: told for ref, told in self._pending.items() if told[0] != slot}
            self._ending[actor.end.remote()] = actor

    def events(self, timeout_s: float) -> list[Event]:
        """What happened, once something did or the time is over."""
        refs = [*self._pending, *self._ending]
        if not refs:
            time.sleep(timeout_s)
            return []
        done = ray.wait(refs, timeout=timeout_s)[0] and ray.wait(refs, num_returns=len(refs), timeout=0)[0]
        found: list[Event] = []
        for ref in done:
            if (actor := self._ending.pop(ref, None)) is not None:
                ray.kill(actor)
                continue
            slot, kind = self._pending.pop(ref)
            try:
                answer: JSON = ray.get(ref)
            except RayError as error:
                found.append(Lost(slot, _reason(error)))
                continue
            found.append(Placed(slot) if kind is Placed else Answered(slot, answer))
        return found

    def close(self) -> None:
        """End every actor and leave the cluster."""
        for slot in list(self._actors):
            self.end(slot)
        if self._ending:
            # the supervisors take their time to end engines; an actor that has no place yet never answers
            ray.wait(list(self._ending), num_returns=len(self._ending), timeout=PATIENCE_S + 5.0)
        for actor in self._ending.values():
            ray.kill(actor)
        ray.shutdown()


def _raylets(variable: str) -> str | None:
    """A variable as `ray start` saw it on this node; None where it has none, or where nobody may look."""
    try:
        block = Path(f"/proc/{os.environ['RAY_RAYLET_PID']}/environ").read_bytes()
    except (KeyError, OSError):
        return None
    told = dict(line.split("=", 1) for line in os.fsdecode(block).split("\0") if "=" in line)
    return told.get(variable)


def _living() -> list[dict[str, Any]]:
    return [node for node in ray.nodes() if node["Alive"]]


def _message(setup: Setup) -> Message:
    return setup.model_dump(mode="json")


def _reason(error: RayError) -> str:
    """The part of Ray's explanation that says what happened."""
    cause = getattr(error, "cause", None)
    text = str(cause or error)
    lines = [line.strip() for line in text.splitlines() if "node has died" in line or "terminated" in line]
    return one_line(" ".join(lines) or text.splitlines()[0] or type(error).__name__)


def _reach(address: str) -> None:
    """Whether anything listens at `host:port`.

    Raises:
        ClusterError: nothing does.
    """
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdigit() or "/" in host:
        return
    try:
        socket.create_connection((host, int(port)), timeout=_REACH_S).close()
    except OSError as error:
        raise ClusterError(
            f"no Ray cluster at {address}: {error.strerror or error}. Start one with `ray start --head`, "
            "or name it with RAY_ADDRESS=host:port"
        ) from None
