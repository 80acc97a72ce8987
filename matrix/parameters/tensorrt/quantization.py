"""Quantisation while the engine is built, and the data it is calibrated on."""

from __future__ import annotations

from harness.declare import Parameter, Value
from harness.jsontypes import JSON
from matrix.parameters.declaring import FREE
from matrix.parameters.quantization import EIGHT_BITS, FOUR_BITS
from matrix.parameters.tensorrt.declaring import built
from matrix.probes import trt_build
from matrix.variants import CALIBRATION

_DATA: dict[str, JSON] = {"tensorrt.quantization.calibration.dataset": "texts"}
_SMOOTH: dict[str, JSON] = {"tensorrt.quantization.method": "int8_sq"}
_CALIBRATED: dict[str, JSON] = {**_SMOOTH, **_DATA}
_AWQ: dict[str, JSON] = {"tensorrt.quantization.method": "int4_awq", **_DATA}
_NO_DATA: dict[str, JSON] = dict.fromkeys(_DATA)
"""Without quantisation nothing is calibrated."""

PARAMETERS: tuple[Parameter, ...] = (
    built(
        "quantization.method",
        trt_build.method,
        Value("none", contrast="int8_weight_only"),
        Value("fp8", companions=_DATA, control=_NO_DATA, variant=CALIBRATION),
        Value("int8_sq", companions=_DATA, control=_NO_DATA, variant=CALIBRATION),
        Value("int8_weight_only"),
        Value("int4_weight_only", output=FOUR_BITS),
        Value("int4_awq", companions=_DATA, control=_NO_DATA, variant=CALIBRATION, output=FOUR_BITS),
        Value("W4A8_AWQ", companions=_DATA, control=_NO_DATA, variant=CALIBRATION, output=FOUR_BITS),
        Value("FP8_PER_CHANNEL_PER_TOKEN", companions=_DATA, control=_NO_DATA, variant=CALIBRATION),
        output=EIGHT_BITS,
        note="the PyTorch path takes quantised checkpoints instead",
    ),
    built(
        "quantization.kv_cache_quant_algo",
        trt_build.kv_cache_quant_algo,
        Value("FP8"),
        Value("INT8"),
        output=EIGHT_BITS,
        companions=_DATA,
        variant=CALIBRATION,
    ),
    built(
        "quantization.group_size",
        trt_build.group_size,
        Value(64),
        Value(128, contrast=64),
        output=FOUR_BITS,
        companions=_AWQ,
        variant=CALIBRATION,
    ),
    built(
        "quantization.smoothquant_val",
        trt_build.smoothquant_val,
        Value(0.25),
        Value(0.75),
        output=EIGHT_BITS,
        companions=_CALIBRATED,
        variant=CALIBRATION,
    ),
    built(
        "quantization.exclude_modules",
        trt_build.exclude_modules,
        Value(["*lm_head", "*mlp*"]),
        output=EIGHT_BITS,
        companions={"tensorrt.quantization.method": "int8_weight_only"},
    ),
    built(
        "quantization.calibration.dataset",
        trt_build.calibration_data,
        Value("texts"),
        output=FREE,
        companions=_SMOOTH,
        variant=CALIBRATION,
        note="upstream's default data set is downloaded",
    ),
    built(
        "quantization.calibration.num_batches",
        trt_build.calibration_batches,
        Value(2),
        Value(8),
        output=FREE,
        companions=_CALIBRATED,
        variant=CALIBRATION,
    ),
    built(
        "quantization.calibration.batch_size",
        trt_build.calibration_rows,
        Value(1, contrast=4),
        Value(4),
        output=FREE,
        companions=_CALIBRATED,
        variant=CALIBRATION,
    ),
    built(
        "quantization.calibration.max_seq_length",
        trt_build.calibration_width,
        Value(4),
        Value(8),
        output=FREE,
        companions=_CALIBRATED,
        variant=CALIBRATION,
    ),
    built(
        "quantization.calibration.device",
        trt_build.calibration_device,
        Value("cpu"),
        Value("cuda", contrast="cpu"),
        output=FREE,
        companions=_CALIBRATED,
        variant=CALIBRATION,
    ),
)
