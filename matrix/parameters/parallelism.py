"""Parallelism: several processes for one model, or for its prompts."""

from __future__ import annotations

from harness.declare import Column, OutputRule, Parameter, Scope, Value
from harness.jsontypes import JSON
from matrix import workloads
from matrix.probes import execution, processes, trt_engine
from matrix.sections import PARALLELISM, PYTORCH

TWO = ("devices:2",)
"""A GPU for each process, where there are GPUs."""
_TWO_GPUS = ("cuda:2",)
PIPELINED: dict[str, JSON] = {
    "vllm.enforce_eager": None,
    "vllm.compilation.mode": 2,
    "vllm.compilation.backend": "eager",
}
"""On a CPU an eager engine with a cache of given size skips its warm-up (vllm/v1/worker/cpu_worker.py, 0.32),
without which the second stage of a pipeline has nowhere to receive: so these are compiled, as little as can be."""
_ALONE: dict[str, JSON] = {"parallelism.degree": None}
"""A degree without a strategy would be refused, so the control has neither."""

PARAMETERS = (
    Parameter(
        "parallelism.strategy",
        section=PARALLELISM,
        values=(
            Value("tensor_parallel", control=_ALONE),
            Value("pipeline_parallel", control=_ALONE, backends=("pytorch", "tensorrt")),
            Value("pipeline_parallel", control=_ALONE, backends=("vllm",), companions=PIPELINED),
            Value("data_parallel", control=_ALONE, by_harness=True, backends=("pytorch",)),
            # vLLM's LLM refuses copies in a single process, its async engine takes them
            Value("data_parallel", control=_ALONE, backends=("vllm",), companions={"streaming": False}),
        ),
        columns={
            "pytorch": Column(
                Scope.ENGINE,
                execution.parallel_strategy,
                OutputRule.LOSSLESS,
                needs=TWO,
                # two padded batches: one for each process, and padding has to be right too
                companions={"parallelism.degree": 2, "batching.batch_size": 4},
                workload=workloads.SHUFFLED,
            ),
            "vllm": Column(
                Scope.ENGINE,
                processes.parallel_strategy,
                OutputRule.LOSSLESS,
                needs=TWO,
                companions={"parallelism.degree": 2},
                workload=workloads.SHUFFLED,
            ),
            "tensorrt": Column(
                Scope.ENGINE,
                trt_engine.devices,
                OutputRule.LOSSLESS,
                needs=_TWO_GPUS,
                companions={"parallelism.degree": 2},
                workload=workloads.SHUFFLED,
            ),
        },
        note="data_parallel is no strategy of tensorrt_llm.LLM: see tensorrt.enable_attention_dp",
    ),
    Parameter(
        "parallelism.degree",
        section=PARALLELISM,
        values=(Value(1, contrast=2), Value(2, contrast=1)),
        columns={
            "pytorch": Column(
                Scope.ENGINE,
                execution.parallel_degree,
                OutputRule.LOSSLESS,
                needs=TWO,
                companions={"parallelism.strategy": "tensor_parallel"},
            ),
            "vllm": Column(
                Scope.ENGINE,
                processes.tensor_parallel,
                OutputRule.LOSSLESS,
                needs=TWO,
                companions={"parallelism.strategy": "tensor_parallel"},
            ),
            "tensorrt": Column(
                Scope.ENGINE,
                trt_engine.devices,
                OutputRule.LOSSLESS,
                needs=_TWO_GPUS,
                companions={"parallelism.strategy": "tensor_parallel"},
            ),
        },
    ),
    Parameter(
        "pytorch.num_processes",
        section=PYTORCH,
        values=(Value(1, contrast=2), Value(2)),
        columns={
            "pytorch": Column(Scope.ENGINE, execution.num_processes, OutputRule.LOSSLESS, needs=TWO, by_harness=True)
        },
    ),
)
