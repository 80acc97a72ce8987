"""The engine: `tensorrt_llm.LLM`, or the class that builds and runs a TensorRT engine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.backends import torchside
from harness.backends.hub import use_cache
from harness.backends.settings import passthrough
from harness.backends.tensorrt.arguments import llm_arguments, on_engine_path
from harness.backends.tensorrt.building import Building
from harness.backends.tensorrt.configs import config_arguments, find
from harness.backends.tensorrt.enginefiles import describe_files, engines_in
from harness.backends.tensorrt.generate import Run
from harness.backends.tensorrt.readback import describe_engine
from harness.backends.tensorrt.reads import Reads
from harness.backends.tensorrt.requests import Requests
from harness.backends.tensorrt.witness import Witness

if TYPE_CHECKING:
    from harness.backends.base import Calls, GenerateJob, LoadJob, Observation
    from harness.jsontypes import JSON


class TensorRTEngine:
    """A loaded engine that can be asked to generate."""

    def __init__(self, llm: Any, requests: Requests, read_back: dict[str, JSON]) -> None:
        self.llm = llm
        self.requests = requests
        self._read_back = read_back

    @classmethod
    def load(cls, job: LoadJob, calls: Calls) -> TensorRTEngine:
        """Load in this process, and in those that upstream starts for more than one GPU."""
        settings, scratch = job.settings, Path(job.scratch)
        if job.cache_dir is not None:
            use_cache(job.cache_dir, calls)
        plain = llm_arguments(settings)
        builds = on_engine_path(settings)
        if builds:
            from tensorrt_llm._tensorrt_engine import LLM

            name, path = "_tensorrt_engine.LLM", "tensorrt"
        else:
            from tensorrt_llm import LLM

            name, path = "LLM", str(plain.get("backend", "pytorch"))
        arguments = {
            "model": job.model,
            **_instruments(path),
            **plain,
            **config_arguments(settings, job.model, plain, calls),
            **passthrough(settings),
        }
        if builds and "lora_config" in arguments:
            # what puts the LoRA plugin into the engine; on the PyTorch path lora_config alone says so
            arguments.setdefault("enable_lora", True)
        if builds and "enable_build_cache" in arguments:
            arguments["enable_build_cache"] = _cached(name, LLM, arguments, scratch, calls)
        elif "enable_build_cache" in arguments:
            arguments["enable_build_cache"] = not arguments["enable_build_cache"]
        reads = Reads()
        known, building = engines_in(scratch), Building(reads)
        with building.watch(engine_path=builds):
            llm = calls(name, LLM, **arguments)
        facts = {"path": path, **describe_engine(llm, building, reads), **building.facts()}
        if builds:
            facts |= describe_files(llm, known, reads)
        width = plain.get("max_beam_width")
        return cls(llm, Requests(job.model, width), {**facts, "unread": reads.unread})

    def read_back(self) -> dict[str, JSON]:
        """Facts taken right after loading."""
        return dict(self._read_back)

    def generate(self, job: GenerateJob, calls: Calls) -> Observation:
        """Run the job while its steps are noted."""
        run = Run(self.llm, self.requests, job, calls)
        with Witness(self.llm, Reads()) as witness:
            witness.reads("memory", torchside.reset_peak_memory)
            run.all()
        return run.observation(witness)

    def synchronise(self) -> None:
        """Wait for this process's accelerators; workers elsewhere have waited for the tokens that they returned."""
        torchside.synchronise()

    def close(self) -> None:
        """End the other processes."""
        self.llm.shutdown()


def _instruments(path: str) -> dict[str, bool]:
    """What upstream is asked to tell besides: logits where a request wants them, and statistics of every step.

    The engine path tells its statistics unasked, and demands the first for log-probabilities.
    """
    if path == "_autodeploy":
        return {}
    told = {"gather_generation_logits": True}
    return told if path == "tensorrt" else {**told, "enable_iter_perf_stats": True, "enable_iter_req_stats": True}


def _cached(name: str, llm_class: Any, arguments: dict[str, Any], scratch: Path, calls: Calls) -> Any:
    """`enable_build_cache` for a load that has a built engine to find.

    `force_rebuild` says what becomes of an engine that was built before, so one is built first. Upstream
    has no such argument: an engine is taken from the cache where the cache is enabled, and built where it is not.
    """
    cache = calls("BuildCacheConfig", find("BuildCacheConfig"), cache_root=scratch / "build-cache")
    before = calls(name, llm_class, **{**arguments, "enable_build_cache": cache})
    before.shutdown()
    return False if arguments["enable_build_cache"] else cache
