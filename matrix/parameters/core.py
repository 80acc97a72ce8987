"""Core settings."""

from __future__ import annotations

from dataclasses import replace

from harness.declare import Bound, Column, OutputRule, Parameter, Scope, Value
from matrix import workloads
from matrix.parameters.columns import CUDA, everywhere
from matrix.probes import barred, outputs, requests, state, trt_results
from matrix.probes.told import if_told
from matrix.sections import CORE

PARAMETERS = (
    Parameter(
        "fp_precision",
        section=CORE,
        values=(
            Value("float32", contrast="bfloat16"),
            Value("bfloat16", contrast="float32", backends=("pytorch", "vllm")),
            Value("float16", contrast="float32", backends=("pytorch", "vllm")),
            # TensorRT-LLM's kernels have no float32 to contrast them with
            Value("bfloat16", contrast="float16", backends=("tensorrt",)),
            Value("float16", contrast="bfloat16", backends=("tensorrt",)),
        ),
        columns={
            **dict.fromkeys(("pytorch", "vllm"), Column(Scope.ENGINE, state.parameter_dtype, Bound(0.25))),
            "tensorrt": Column(
                Scope.ENGINE, if_told(state.parameter_dtype, "parameter_dtypes"), Bound(0.25), needs=CUDA
            ),
        },
    ),
    Parameter(
        "max_output_tokens",
        section=CORE,
        values=(Value(1), Value(4)),
        columns=everywhere(Column(Scope.REQUEST, outputs.longest, OutputRule.FREE, workload=workloads.LOOPING)),
    ),
    Parameter(
        "random_seed",
        section=CORE,
        values=(Value(0), Value(7)),
        columns=everywhere(
            Column(
                Scope.REQUEST,
                outputs.fixed_by_seed,
                OutputRule.FREE,
                companions={"decoder.do_sample": True},
                workload=replace(workloads.OPEN_SEEDS, seeds=(0, 7, 1)),
                # the control runs under these seeds as well: what differs is which one counts
                by_harness=True,
            ),
        ),
    ),
    Parameter(
        "passthrough_kwargs",
        section=CORE,
        values=(
            Value({"suppress_tokens": [5, 6, 7]}, backends=("pytorch",), label='{"suppress_tokens":[5,6,7]}'),
            Value({"logprob_token_ids": [5, 6, 7]}, backends=("vllm",), label='{"logprob_token_ids":[5,6,7]}'),
            Value({"return_perf_metrics": True}, backends=("tensorrt",), label='{"return_perf_metrics":true}'),
        ),
        columns={
            "pytorch": Column(Scope.REQUEST, barred.suppressed, OutputRule.FREE, workload=workloads.OPEN),
            "vllm": Column(Scope.REQUEST, requests.logprob_token_ids, OutputRule.LOSSLESS),
            "tensorrt": Column(Scope.REQUEST, trt_results.perf_metrics, OutputRule.LOSSLESS, needs=CUDA),
        },
        note="any keyword argument of upstream's generate or SamplingParams; shown with one",
    ),
)
