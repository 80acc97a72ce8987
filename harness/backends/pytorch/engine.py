"""The engine: one replica here, others in processes of their own where parallelism asks for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.backends import torchside
from harness.backends.batching import batches
from harness.backends.pacing import schedule, traffic
from harness.backends.pytorch.arguments import BATCHING, generate_arguments
from harness.backends.pytorch.generate import Replica, Request, Work
from harness.backends.pytorch.readback import describe_model
from harness.backends.settings import seed_of, take

if TYPE_CHECKING:
    from harness.backends.base import Calls, GenerateJob, Observation
    from harness.backends.pytorch.parallel import Group
    from harness.jsontypes import JSON


class PyTorchEngine:
    """A loaded model that can be asked to generate."""

    def __init__(self, replica: Replica, group: Group) -> None:
        self._replica = replica
        self._group = group
        own = describe_model(replica.loaded)
        self._read_back = {**own, **group.read_back(own)}

    def read_back(self) -> dict[str, JSON]:
        """Facts taken right after loading, before a first forward could repack weights."""
        return dict(self._read_back)

    def generate(self, job: GenerateJob, calls: Calls) -> Observation:
        """Run the job, on every process of the engine."""
        request = self._request(job, calls)
        observation = self._group.run(self._replica, request, calls)
        planned: list[JSON] = [work.at for work in request.work]
        observation["resolved"] = {**observation["resolved"], "planned_arrivals": planned}
        return observation

    def synchronise(self) -> None:
        """Wait for this process's accelerators; the other ranks have waited for theirs before they answered."""
        torchside.synchronise()

    def close(self) -> None:
        """End the other processes."""
        self._group.close()

    def _request(self, job: GenerateJob, calls: Calls) -> Request:
        settings = job.settings
        lengths = [len(ids) for ids in self._replica.loaded.tokenizer(list(job.prompts))["input_ids"]]
        formed = calls.own("batches", batches, lengths, **take(settings, BATCHING))
        paced = traffic(settings, calls)
        moments: list[float | None] = [None] * len(formed)
        if paced is not None:
            moments = list(schedule(len(formed), paced))
        streaming = settings.get("streaming")
        return Request(
            prompts=job.prompts,
            work=tuple(Work(tuple(batch), at) for batch, at in zip(formed, moments, strict=True)),
            passes=tuple((seed, seed_of(settings, seed, calls)) for seed in job.seeds),
            arguments=generate_arguments(settings, job.max_new_tokens, calls),
            streaming=None if streaming is None else bool(streaming),
            instruments=job.instruments,
        )
