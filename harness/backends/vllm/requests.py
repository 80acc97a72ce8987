"""From a job's settings to what upstream takes with each request."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from harness.backends.settings import seed_of, take
from harness.backends.vllm.arguments import beam_arguments, lora_paths, sampling_arguments, structured_arguments

if TYPE_CHECKING:
    from harness.backends.base import Calls, GenerateJob


@dataclass(frozen=True, slots=True)
class Requests:
    """What an engine's own settings mean for every request."""

    model: str
    streaming: bool | None
    defaults: dict[str, Any] = field(default_factory=dict)
    """Sampling parameters that the engine would give a request which says nothing."""
    seeded: bool = True
    """Whether requests bring the seed of the pass."""

    def sampling(self, job: GenerateJob, seed: int, calls: Calls) -> Any:
        """`SamplingParams` for a pass under `seed`."""
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams

        own = seed_of(job.settings, seed, calls) if self.seeded else None
        arguments = sampling_arguments(job.settings, job.max_new_tokens, own)
        if structure := structured_arguments(job.settings):
            arguments["structured_outputs"] = calls("StructuredOutputsParams", StructuredOutputsParams, **structure)
        if self.streaming is not None:
            arguments["output_kind"] = RequestOutputKind.DELTA if self.streaming else RequestOutputKind.FINAL_ONLY
        return calls("SamplingParams", SamplingParams, **{**self.defaults, **arguments})

    def beams(self, job: GenerateJob, calls: Calls) -> Any:
        """`BeamSearchParams`, or None when beams are not searched."""
        switch = take(job.settings, {"decoder.beam_search.enabled": "enabled"})
        arguments = calls.own("beams", lambda **_: beam_arguments(job.settings, job.max_new_tokens), **switch)
        if arguments is None:
            return None
        from vllm.sampling_params import BeamSearchParams

        return calls("BeamSearchParams", BeamSearchParams, **arguments)

    def others(self, job: GenerateJob, calls: Calls) -> dict[str, Any]:
        """Further arguments of `LLM.generate`."""
        arguments: dict[str, Any] = {}
        if "vllm.priority" in job.settings:
            arguments["priority"] = job.settings["vllm.priority"]
        if (paths := lora_paths(job.settings, self.model)) is not None:
            arguments["lora_request"] = _lora(paths, calls)
        return arguments


def _lora(paths: str | list[str], calls: Calls) -> Any:
    """An adapter, or one for each prompt: what is the same folder is the same adapter."""
    from vllm.lora.request import LoRARequest

    folders = list(dict.fromkeys([paths] if isinstance(paths, str) else paths))
    made = {
        path: calls(
            "LoRARequest",
            LoRARequest,
            lora_name="adapter" if number == 1 else f"adapter-{number}",
            lora_int_id=number,
            lora_path=path,
        )
        for number, path in enumerate(folders, 1)
    }
    return made[paths] if isinstance(paths, str) else [made[path] for path in paths]
