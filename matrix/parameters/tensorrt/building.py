"""How the engine of the engine path is built, kept and run."""

from __future__ import annotations

from harness.declare import Parameter, Value
from harness.jsontypes import JSON
from matrix import workloads
from matrix.parameters.declaring import on_off
from matrix.parameters.quantization import EIGHT_BITS
from matrix.parameters.tensorrt.declaring import REUSE, built
from matrix.probes import inflight, trt_build
from matrix.variants import CALIBRATION

_FP8: dict[str, JSON] = {
    "tensorrt.quantization.method": "fp8",
    "tensorrt.quantization.calibration.dataset": "texts",
}

PARAMETERS: tuple[Parameter, ...] = (
    built(
        "builder_opt_level",
        trt_build.builder_opt_level,
        Value(2),
        Value(3),
        Value(4),
        Value(5),
        note="no class of the LLM API of 1.2 has such a field, and LLM() refuses it by name",
    ),
    built("force_rebuild", trt_build.force_rebuild, *on_off(), note="stands for enable_build_cache upstream"),
    built(
        "fast_build",
        trt_build.managed_weights,
        *on_off(),
        output=EIGHT_BITS,
        companions=_FP8,
        variant=CALIBRATION,
        note="acts on FP8 engines alone",
    ),
    built(
        "kv_cache_type",
        trt_build.kv_cache_type,
        Value("paged", contrast="continuous"),
        Value("continuous"),
        Value("disabled"),
    ),
    built("multiple_profiles", trt_build.profiles, *on_off()),
    built("strongly_typed", trt_build.strongly_typed, *on_off()),
    built(
        "batching_type",
        inflight.batching_type,
        Value("STATIC", contrast="INFLIGHT"),
        Value("INFLIGHT", contrast="STATIC"),
        # a sum that is done makes room for the next beside a song that goes on
        companions={"tensorrt.max_batch_size": 2},
        workload=workloads.UNEVEN,
    ),
    built("build.opt_batch_size", trt_build.opt_batch_size, Value(2), Value(4)),
    built("build.opt_num_tokens", trt_build.opt_num_tokens, Value(64), Value(128)),
    built("build.force_num_profiles", trt_build.profiles, Value(2), Value(3)),
    built(
        "build.profiling_verbosity",
        trt_build.profiling_verbosity,
        Value("layer_names_only", contrast="detailed"),
        Value("detailed"),
        Value("none"),
    ),
    built("build.use_refit", trt_build.use_refit, *on_off()),
    built("build.weight_streaming", trt_build.weight_streaming, *on_off()),
    built(
        "build.use_paged_context_fmha",
        trt_build.reuse,
        *on_off(),
        companions=REUSE,
        workload=workloads.REPEATED,
    ),
)
