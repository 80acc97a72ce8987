"""The whole experiment config."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from harness.config._section import Section
from harness.config._types import INT32_MAX, SEED_MAX, Backend, Passthrough, opt
from harness.config.pytorch import PyTorchConfig
from harness.config.shared import (
    BatchingConfig,
    DecoderConfig,
    ParallelismConfig,
    QuantizationConfig,
    TrafficSimulationConfig,
)
from harness.config.tensorrt import TensorRTConfig
from harness.config.vllm import VLLMConfig

__all__ = ["ExperimentConfig"]


def _not_blank(value: str) -> str:
    if not value.strip():
        raise ValueError(f"model is {value!r}; give a local path or a hub id")
    return value


class ExperimentConfig(Section):
    """One experiment: a model, a backend and the settings stated for it.

    Raises pydantic's ``ValidationError``, listing every problem at once.
    """

    model: Annotated[str, AfterValidator(_not_blank)] = Field(description="Local path or hub id of the model.")
    backend: Backend = Field(default="pytorch", description="The backend that runs it.")
    fp_precision: Literal["float32", "float16", "bfloat16"] | None = opt(
        "Data type of the weights. Default: the checkpoint's own (dtype='auto')."
    )
    max_output_tokens: int | None = opt(
        "Most tokens to generate per prompt. Upstream's default is small: 20 in all in "
        "transformers, 16 new ones in vLLM.",
        ge=1,
        le=INT32_MAX,
    )
    random_seed: int | None = opt("Seed of everything random. No default: runs differ.", ge=0, le=SEED_MAX)
    batching: BatchingConfig | None = opt("How prompts are batched.")
    decoder: DecoderConfig | None = opt("How the next token is chosen.")
    parallelism: ParallelismConfig | None = opt("How work is spread over devices.")
    quantization: QuantizationConfig | None = opt("Weight quantisation with bitsandbytes.")
    streaming: bool | None = opt("Deliver tokens as they are made. Default false.")
    traffic_simulation: TrafficSimulationConfig | None = opt("When requests arrive.")
    pytorch: PyTorchConfig | None = opt("Settings of the PyTorch backend.")
    vllm: VLLMConfig | None = opt("Settings of the vLLM backend.")
    tensorrt: TensorRTConfig | None = opt("Settings of the TensorRT-LLM backend.")
    passthrough_kwargs: Passthrough | None = opt(
        "Keyword arguments handed to upstream unchanged; none may name a declared field."
    )
