"""From a job's settings to what upstream takes with each request."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.backends.settings import beside, seed_of, take
from harness.backends.tensorrt.arguments import GUIDED, sampling_arguments, vocabulary_bias
from harness.backends.tensorrt.configs import find

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.backends.base import Calls, GenerateJob
    from harness.jsontypes import JSON


class Bias:
    """`embedding_bias` as it is handed over: upstream makes a tensor of any sequence that it is given.

    Whoever looks at the call sees the biased tokens, not a number for each of the vocabulary.
    """

    def __init__(self, size: int, **tokens: float) -> None:
        self.tokens = tokens
        self._values = vocabulary_bias(tokens, size)

    def __len__(self) -> int:
        return len(self._values)

    def __getitem__(self, token: int) -> float:
        return self._values[token]

    def to_dict(self) -> Mapping[str, JSON]:
        """The tokens that are biased."""
        return dict(self.tokens)


@dataclass(frozen=True, slots=True)
class Requests:
    """What an engine's own settings mean for every request."""

    model: str
    beam_width: int | None
    """Beams that the engine was loaded for; None where nothing was said of beams."""

    def sampling(self, job: GenerateJob, seed: int, calls: Calls, llm: Any) -> Any:
        """`SamplingParams` for a pass under `seed`."""
        seed = seed_of(job.settings, seed, calls)
        arguments = sampling_arguments(job.settings, job.max_new_tokens, seed, beam_width=self.beam_width)
        if guide := take(job.settings, GUIDED):
            arguments["guided_decoding"] = calls("GuidedDecodingParams", find("GuidedDecodingParams"), **guide)
        if "embedding_bias" in arguments:
            arguments["embedding_bias"] = calls("embedding_bias", Bias, vocabulary(llm), **arguments["embedding_bias"])
        if job.instruments & {"scores", "logits"}:
            arguments["return_generation_logits"] = True
        return calls("SamplingParams", find("SamplingParams"), **arguments)

    def others(self, job: GenerateJob, calls: Calls) -> dict[str, Any]:
        """Further arguments of `LLM.generate` and `LLM.generate_async`."""
        arguments: dict[str, Any] = {}
        if "tensorrt.cache_salt" in job.settings:
            arguments["cache_salt"] = job.settings["tensorrt.cache_salt"]
        if (path := job.settings.get("tensorrt.lora_request")) is not None:
            arguments["lora_request"] = calls(
                "LoRARequest",
                find("LoRARequest"),
                lora_name="adapter",
                lora_int_id=1,
                lora_path=beside(self.model, str(path)),
            )
        return arguments


def vocabulary(llm: Any) -> int:
    """Number of tokens that the model gives logits of, from its config."""
    config = json.loads((Path(str(llm._hf_model_dir)) / "config.json").read_text())
    return int(config["vocab_size"])
