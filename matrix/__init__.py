"""What is tested: the parameters, their values, and the effects that prove them."""

from __future__ import annotations

from pathlib import Path

from harness.declare import Matrix
from harness.jsontypes import JSON
from matrix import workloads
from matrix.capabilities import CAPABILITIES
from matrix.deaf import deafened
from matrix.deaf.pytorch import PYTORCH
from matrix.deaf.vllm import VLLM
from matrix.examples import examples
from matrix.excluded import EXCLUDED
from matrix.limitations import LIMITATIONS
from matrix.parameters import (
    batching,
    beams,
    core,
    parallelism,
    pytorch,
    quantization,
    sampling,
    streaming,
    tensorrt,
    vllm,
)
from matrix.parameters.tensorrt.declaring import SMALL_TENSORRT
from matrix.parameters.vllm.declaring import SMALL_ENGINE
from matrix.sections import SECTIONS
from matrix.usecases import USE_CASES

BASE: dict[str, JSON] = {"fp_precision": "float32", "decoder.do_sample": False}
"""float32 keeps greedy tokens comparable to the last bit; greedy keeps them comparable at all."""

_PARAMETERS = (
    *core.PARAMETERS,
    *batching.PARAMETERS,
    *sampling.PARAMETERS,
    *beams.PARAMETERS,
    *parallelism.PARAMETERS,
    *quantization.PARAMETERS,
    *streaming.PARAMETERS,
    *pytorch.PARAMETERS,
    *vllm.PARAMETERS,
    *tensorrt.PARAMETERS,
)

MATRIX = Matrix(
    parameters=deafened(deafened(_PARAMETERS, "pytorch", PYTORCH), "vllm", VLLM),
    excluded=EXCLUDED,
    sections=SECTIONS,
    base={"pytorch": BASE, "vllm": {**BASE, **SMALL_ENGINE}, "tensorrt": {**BASE, **SMALL_TENSORRT}},
    workload=workloads.SUMS,
    shipped_model=Path(__file__).resolve().parent.parent / "models" / "tiny",
    accelerator_model="Qwen/Qwen2.5-0.5B",
    examples=examples,
    capabilities=CAPABILITIES,
    limitations=LIMITATIONS,
    recommended=Path(__file__).resolve().parent / "recommended",
    use_cases=USE_CASES,
)
