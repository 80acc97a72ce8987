"""What is loaded, and how much of it: path, formats, code, lengths."""

from __future__ import annotations

from harness.declare import Parameter, Value
from matrix import workloads
from matrix.parameters.declaring import FREE, on_off
from matrix.parameters.tensorrt.declaring import ENGINE_PATH, WITH_GRAPHS, engine
from matrix.probes import loading, requests, state, trt_engine, trt_results
from matrix.probes.told import if_told
from matrix.variants import FORMATS, HUB, REMOTE_CODE, SHIPPED

PARAMETERS: tuple[Parameter, ...] = (
    engine(
        "backend",
        trt_engine.backend,
        Value("pytorch", contrast="_autodeploy"),
        Value("tensorrt", companions=ENGINE_PATH),
        Value("_autodeploy"),
        companions=WITH_GRAPHS,
        note="tensorrt is the engine path, which versions after the 1.2 line have lost; _autodeploy is a prototype",
    ),
    engine(
        "load_format",
        trt_engine.load_format,
        Value("auto", contrast="dummy"),
        Value("dummy"),
        output=FREE,
        variant=FORMATS,
    ),
    engine(
        "model_kwargs",
        if_told(loading.hf_overrides, "norm_epsilons"),
        Value({"rms_norm_eps": 0.5}, label='{"rms_norm_eps":0.5}'),
        output=FREE,
        note="upstream ignores keys that the model's config does not know",
    ),
    engine("revision", if_told(state.revision, "commit"), Value("alt"), variant=HUB, output=FREE),
    engine(
        "skip_tokenizer_init",
        requests.skip_tokenizer,
        *on_off(contrast_on=False),
        # without a tokenizer nothing else says where an output ends
        companions={"tensorrt.end_id": 0},
        variant=SHIPPED,
    ),
    engine("trust_remote_code", if_told(loading.remote_code, "config_module"), *on_off(), variant=REMOTE_CODE),
    engine("max_seq_len", trt_results.max_seq_len, Value(24), Value(32), output=FREE, workload=workloads.LOOPING),
)
