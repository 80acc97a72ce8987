"""What runs the model: attention kernels, sampler, the executor's loop."""

from __future__ import annotations

from harness.declare import Parameter, Value
from harness.jsontypes import JSON
from matrix import workloads
from matrix.parameters.declaring import FREE, on_off
from matrix.parameters.tensorrt.declaring import engine
from matrix.probes import scheduling, trt_engine

_SPLIT: dict[str, JSON] = {"parallelism.strategy": "tensor_parallel", "parallelism.degree": 2}

PARAMETERS: tuple[Parameter, ...] = (
    engine(
        "attn_backend",
        trt_engine.attention,
        Value("TRTLLM", contrast="VANILLA"),
        Value("VANILLA"),
        Value("FLASHINFER"),
    ),
    engine(
        "sampler_type",
        trt_engine.sampler,
        Value("auto", contrast="TRTLLMSampler"),
        Value("TorchSampler", contrast="TRTLLMSampler"),
        Value("TRTLLMSampler"),
    ),
    engine("disable_flashinfer_sampling", trt_engine.sampling_kernels, *on_off()),
    engine("disable_overlap_scheduler", trt_engine.overlap, *on_off()),
    engine("enable_autotuner", trt_engine.autotuner, *on_off()),
    engine("enable_attention_dp", trt_engine.attention_dp, *on_off(), companions=_SPLIT, needs=("cuda:2",)),
    engine(
        "stream_interval",
        scheduling.stream_interval,
        Value(1, contrast=4),
        Value(4),
        companions={"streaming": True},
        workload=workloads.LOOPING,
    ),
    engine(
        "guided_decoding_backend",
        trt_engine.guide,
        Value("xgrammar", contrast="llguidance"),
        Value("llguidance", contrast="xgrammar"),
        output=FREE,
        companions={"tensorrt.guided_decoding.regex": " [0-9]{4} \\."},
    ),
)
