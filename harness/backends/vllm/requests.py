"""From a job's settings to what upstream takes: prompts in batches, sampling parameters, times."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from harness.backends.batching import Batching, form_batches
from harness.backends.pacing import schedule, traffic
from harness.backends.settings import take
from harness.backends.vllm.arguments import beam_arguments, lora_path, sampling_arguments, structured_arguments

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.backends.base import Calls, GenerateJob

BATCHING = {
    "batching.batch_size": "size",
    "batching.strategy": "strategy",
    "batching.max_tokens_per_batch": "token_budget",
}
"""Request scope: `harness.backends.batching.Batching`. vLLM batches whatever is in flight."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Which prompts are handed over together, and when."""

    batches: tuple[tuple[int, ...], ...]
    moments: tuple[float, ...] | None
    """Seconds after the start at which each batch is due; then they share the engine in flight."""


@dataclass(frozen=True, slots=True)
class Requests:
    """What an engine's own settings mean for every request."""

    model: str
    streaming: bool | None
    defaults: dict[str, Any] = field(default_factory=dict)
    """Sampling parameters that the engine would give a request which says nothing."""
    seeded: bool = True
    """Whether requests bring the seed of the pass."""

    def plan(self, job: GenerateJob, lengths: Sequence[int], *, beams: bool) -> Plan:
        """Group the prompts; without any setting all go together, beams apart."""
        settings = job.settings
        given = take(settings, BATCHING)
        grouping = Batching(**given) if given else Batching(size=1 if beams else len(lengths))
        paced = traffic(settings)
        if paced is not None and not given:
            grouping = Batching(size=1)
        batches = form_batches(lengths, grouping)
        moments = None if paced is None else tuple(schedule(len(batches), paced))
        return Plan(tuple(tuple(batch) for batch in batches), moments)

    def sampling(self, job: GenerateJob, seed: int, calls: Calls) -> Any:
        """`SamplingParams` for a pass under `seed`."""
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams

        arguments = sampling_arguments(job.settings, job.max_new_tokens, seed if self.seeded else None)
        if structure := structured_arguments(job.settings):
            arguments["structured_outputs"] = calls("StructuredOutputsParams", StructuredOutputsParams, **structure)
        if self.streaming is not None:
            arguments["output_kind"] = RequestOutputKind.DELTA if self.streaming else RequestOutputKind.FINAL_ONLY
        return calls("SamplingParams", SamplingParams, **{**self.defaults, **arguments})

    def beams(self, job: GenerateJob, calls: Calls) -> Any:
        """`BeamSearchParams`, or None when beams are not searched."""
        arguments = beam_arguments(job.settings, job.max_new_tokens)
        if arguments is None:
            return None
        from vllm.sampling_params import BeamSearchParams

        return calls("BeamSearchParams", BeamSearchParams, **arguments)

    def others(self, job: GenerateJob, calls: Calls) -> dict[str, Any]:
        """Further arguments of `LLM.generate`."""
        arguments: dict[str, Any] = {}
        if "vllm.priority" in job.settings:
            arguments["priority"] = job.settings["vllm.priority"]
        if (path := lora_path(job.settings, self.model)) is not None:
            from vllm.lora.request import LoRARequest

            arguments["lora_request"] = calls(
                "LoRARequest", LoRARequest, lora_name="adapter", lora_int_id=1, lora_path=path
            )
        return arguments
