"""The engine: `vllm.LLM`, or `AsyncLLM` where the config says how output is delivered."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any

from harness.backends import torchside
from harness.backends.hub import use_cache
from harness.backends.vllm.arguments import engine_arguments
from harness.backends.vllm.generate import Run
from harness.backends.vllm.hashing import Hashes
from harness.backends.vllm.readback import describe_core
from harness.backends.vllm.requests import Requests
from harness.backends.vllm.witness import QUALIFIED_NAME

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.backends.base import Calls, GenerateJob, LoadJob, Observation
    from harness.jsontypes import JSON


class VLLMEngine:
    """A loaded engine that can be asked to generate."""

    def __init__(self, engine: Any, requests: Requests, loop: asyncio.AbstractEventLoop | None) -> None:
        self.engine = engine
        self.requests = requests
        self.loop = loop
        workers = self.ask("paramatrix_read_back")
        shared = ("pid", "rank", "local_shapes", "partitions", "decoder_layers", "missing_layers")
        each: list[JSON] = [{name: worker[name] for name in shared} for worker in workers]
        used = torchside.all_gpu_uuids(workers)
        self._read_back = {**workers[0], "workers": each, "gpu_uuids": used, **describe_core(engine)}

    @classmethod
    def load(cls, job: LoadJob, calls: Calls) -> VLLMEngine:
        """Load in this process, and in those that the settings ask for."""
        settings = job.settings
        if job.cache_dir is not None:
            use_cache(job.cache_dir, calls)
        arguments = {
            "model": job.model,
            **engine_arguments(settings, job.model),
            "worker_extension_cls": QUALIFIED_NAME,
        }
        _spread_threads(arguments, calls)
        streaming = settings.get("streaming")
        if streaming is None:
            import vllm

            engine = calls("LLM", vllm.LLM, **arguments)
            loop = None
        else:
            loop = asyncio.new_event_loop()
            engine = loop.run_until_complete(_asynchronous(arguments, calls))
        defaults = {} if not settings.keys() & _DEFAULTS else engine.model_config.get_diff_sampling_param()
        requests = Requests(
            model=job.model,
            streaming=None if streaming is None else bool(streaming),
            defaults=defaults,
            # an engine-wide seed shows only where requests bring none of their own
            seeded="vllm.seed" not in settings,
        )
        return cls(engine, requests, loop)

    def read_back(self) -> dict[str, JSON]:
        """Facts taken right after loading."""
        return dict(self._read_back)

    def generate(self, job: GenerateJob, calls: Calls) -> Observation:
        """Run the job while every worker notes what it is given."""
        run = Run(self.engine, self.loop, self.requests, job, calls)
        # what an earlier job left in the cache must not show in this one
        self._reset_prefix_cache()
        self.ask("paramatrix_watch", sorted(job.instruments))
        hashes = Hashes(self.engine)
        try:
            with hashes:
                run.all()
        finally:
            noted = self.ask("paramatrix_seen")
        return {**run.observation(noted), "hashed": dict(hashes.calls)}

    def ask(self, method: str, *args: Any) -> Sequence[dict[str, Any]]:
        """Call a method of the witness in every worker; each engine core's first one is marked `lead`."""
        if self.loop is None:
            cores = [self.engine.collective_rpc(method, args=args)]
        else:
            cores = self.loop.run_until_complete(self._ask_cores(method, args))
        return [{**(answer or {}), "lead": place == 0} for answers in cores for place, answer in enumerate(answers)]

    async def _ask_cores(self, method: str, args: tuple[Any, ...]) -> list[Any]:
        """As `AsyncLLM.collective_rpc`, which answers for the first of several engine cores only."""
        client = self.engine.engine_core
        calls = (
            client._call_utility_async("collective_rpc", method, None, args, None, engine=core)
            for core in client.core_engines
        )
        return list(await asyncio.gather(*calls))

    def _reset_prefix_cache(self) -> None:
        answer = self.engine.reset_prefix_cache()
        if self.loop is not None:
            self.loop.run_until_complete(answer)

    def synchronise(self) -> None:
        """Wait for this process's accelerators; workers elsewhere have waited for the tokens that they returned."""
        torchside.synchronise()

    def close(self) -> None:
        """End the other processes."""
        if self.loop is not None:
            self.engine.shutdown()


_DEFAULTS = {"vllm.generation_config", "vllm.override_generation_config"}
"""Settings that change what a request has where it says nothing, so requests must start from that."""


async def _asynchronous(arguments: dict[str, Any], calls: Calls) -> Any:
    from vllm import AsyncEngineArgs
    from vllm.v1.engine.async_llm import AsyncLLM

    made = calls("AsyncEngineArgs", AsyncEngineArgs, **arguments)
    return calls("AsyncLLM.from_engine_args", AsyncLLM.from_engine_args, made)


def _spread_threads(arguments: dict[str, Any], calls: Calls) -> None:
    """Give each worker process on CPU cores of its own, as upstream demands of more than one."""
    import torch

    workers = 1
    for name in ("tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size"):
        workers *= int(arguments.get(name) or 1)
    if workers == 1 or torch.cuda.is_available():
        return
    cores = sorted(os.sched_getaffinity(0))
    shares = [cores[index::workers] or cores for index in range(workers)]
    calls.environment(VLLM_CPU_OMP_THREADS_BIND="|".join(",".join(map(str, share)) for share in shares))
