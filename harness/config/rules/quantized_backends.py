"""Rules about what each backend can do with quantised weights."""

from harness.config.rules._rule import Rule, Values, has, is_true

__all__ = ["RULES"]

_SHARED, _NATIVE = "quantization", "pytorch"


def _unsupported(backend: str, bits: str, reason: str, use: str, versions: str) -> Rule:
    path = f"quantization.load_in_{bits}"
    return Rule(
        id=f"quantization.{backend}_{bits}",
        backends=("vllm",) if backend == "vllm" else ("tensorrt",),
        parameters=("backend", path),
        violated=is_true(path),
        combination=f"{path}=True",
        expected=f"{path} to be omitted or false on {backend}",
        reason=reason,
        resolution=f"Use {use}",
        versions=versions,
        witness={path: True},
        neighbour={},
    )


def _computes_in_float16(section: str) -> Rule:
    path = f"{section}.load_in_8bit"
    native = section == _NATIVE
    return Rule(
        id=f"quantization.{'native_' if native else ''}8bit_computes_in_float16",
        backends=("pytorch",),
        severity="warning",
        parameters=("fp_precision", path),
        violated=lambda values: values.get(path) is True and values.get("fp_precision") in ("float32", "bfloat16"),
        combination=f"{path}=True with fp_precision=float32 or bfloat16",
        expected="fp_precision=float16 or none",
        reason="bitsandbytes multiplies 8-bit layers in float16 and casts their inputs",
        resolution="Use fp_precision='float16', or omit it",
        versions="bitsandbytes 0.50",
        witness={"fp_precision": "float32", path: True},
        neighbour={"fp_precision": "float16", path: True},
    )


def _offload(section: str, bits: str) -> Rule:
    path, placement = f"{section}.load_in_{bits}", "pytorch.device_map"
    native = section == _NATIVE

    def violated(values: Values) -> bool:
        devices = values.get(placement)
        if values.get(path) is not True or not isinstance(devices, dict):
            return False
        used = set(devices.values())
        return used != {"cpu"} and bool(used & {"cpu", "disk"})

    return Rule(
        id=f"quantization.{'native_' if native else ''}{bits}_offload",
        backends=("pytorch",),
        parameters=(path, placement),
        violated=violated,
        combination=f"{path}=True with modules on 'cpu' or 'disk' in {placement}",
        expected="every module on an accelerator, or every module on 'cpu'",
        reason="transformers refuses to offload part of a quantised model",
        resolution="Place all modules on accelerators, all on 'cpu', or do not quantise",
        versions="transformers 5.23",
        witness={path: True, placement: {"model": 0, "lm_head": "cpu"}},
        neighbour={path: True, placement: {"model": 0, "lm_head": 0}},
    )


_METHOD, _CALIBRATION = "tensorrt.quantization.method", "tensorrt.quantization.calibration"
_UNCALIBRATED = (None, "none", "int8_weight_only", "int4_weight_only")
_ENGINE_PATH = {"tensorrt.backend": "tensorrt"}


def _calibrates(values: Values) -> bool:
    return any(path.startswith(_CALIBRATION + ".") for path in values)


RULES: tuple[Rule, ...] = (
    _unsupported(
        "vllm",
        "8bit",
        "vLLM does not support bitsandbytes 8-bit quantization: the method is unknown to it",
        "vllm.quantization_method (awq, gptq, fp8) for quantized inference",
        "vLLM 0.32",
    ),
    _unsupported(
        "vllm",
        "4bit",
        "vLLM raises 'Unknown quantization method: bitsandbytes'",
        "vllm.quantization_method (awq, gptq, fp8) for quantized inference",
        "vLLM 0.32",
    ),
    _unsupported(
        "tensorrt",
        "4bit",
        "TensorRT does not support bitsandbytes quantization",
        "tensorrt.quantization.method (fp8, int8_sq, int4_awq)",
        "",
    ),
    _unsupported(
        "tensorrt",
        "8bit",
        "TensorRT does not support bitsandbytes quantization",
        "tensorrt.quantization.method (fp8, int8_sq, int8_weight_only)",
        "",
    ),
    *(_computes_in_float16(section) for section in (_SHARED, _NATIVE)),
    *(_offload(section, bits) for section in (_SHARED, _NATIVE) for bits in ("4bit", "8bit")),
    Rule(
        id="quantization.calibration_without_method",
        backends=("tensorrt",),
        severity="warning",
        parameters=(_CALIBRATION, _METHOD),
        violated=lambda values: _calibrates(values) and values.get(_METHOD) in _UNCALIBRATED,
        combination=f"{_CALIBRATION} without a method that calibrates",
        expected=f"{_METHOD}=fp8, int8_sq, int4_awq or another that calibrates",
        reason="Without quantisation, and for weights alone, no calibration data are looked at",
        resolution=f"Set {_METHOD}, or remove {_CALIBRATION}",
        versions="TensorRT-LLM 1.2 (read, not run)",
        witness={f"{_CALIBRATION}.dataset": "data", **_ENGINE_PATH},
        neighbour={f"{_CALIBRATION}.dataset": "data", _METHOD: "int8_sq", **_ENGINE_PATH},
    ),
    Rule(
        id="quantization.int8_sq_without_dataset",
        backends=("tensorrt",),
        severity="warning",
        parameters=(_METHOD, f"{_CALIBRATION}.dataset"),
        violated=lambda values: values.get(_METHOD) == "int8_sq" and not has(f"{_CALIBRATION}.dataset")(values),
        combination=f"{_METHOD}=int8_sq without {_CALIBRATION}.dataset",
        expected="a calibration dataset",
        reason="INT8 SmoothQuant requires a calibration dataset, and the default one is downloaded",
        resolution=f"Provide {_CALIBRATION}.dataset (a local path), or use fp8",
        versions="TensorRT-LLM 1.2 (read, not run)",
        witness={_METHOD: "int8_sq", **_ENGINE_PATH},
        neighbour={_METHOD: "int8_sq", f"{_CALIBRATION}.dataset": "data", **_ENGINE_PATH},
    ),
)
