"""Rules about quantised weights."""

from collections.abc import Callable

from harness.config.rules._rule import Rule, Values, disagree, has, is_true

__all__ = ["RULES"]

_BNB_FIELDS = {
    "bnb_4bit_quant_type": ("nf4", "fp4"),
    "bnb_4bit_compute_dtype": ("bfloat16", "float16"),
    "bnb_4bit_use_double_quant": (True, False),
}
_SHARED, _NATIVE = "quantization", "pytorch"


def _both(first: str, second: str) -> Callable[[Values], bool]:
    return lambda values: values.get(first) is True and values.get(second) is True


def _exclusive(rule_id: str, four: str, eight: str, *, native: bool) -> Rule:
    return Rule(
        id=rule_id,
        backends=("pytorch",) if native else None,
        parameters=(four, eight),
        violated=_both(four, eight),
        combination=f"{four} + {eight}",
        expected="at most one of the two to be true",
        reason="Cannot use both 4-bit and 8-bit quantization simultaneously (BitsAndBytesConfig raises ValueError)",
        resolution="Choose one: load_in_4bit=True OR load_in_8bit=True",
        witness={four: True, eight: True},
        neighbour={four: True},
    )


def _disagreement(name: str, first: object, second: object) -> Rule:
    shared, native = f"{_SHARED}.{name}", f"{_NATIVE}.{name}"
    four_bit = {f"{_SHARED}.load_in_4bit": True, f"{_NATIVE}.load_in_4bit": True}
    extra = four_bit if name in _BNB_FIELDS else {}
    return Rule(
        id=f"quantization.{name}_disagrees",
        backends=("pytorch",),
        parameters=(shared, native),
        violated=disagree(shared, native),
        combination=f"{shared} differs from {native}",
        expected="equal values, or only one of the two",
        reason="Both set the same argument of BitsAndBytesConfig",
        resolution=f"Set only one of {shared} and {native}, or set both to the same value",
        witness={**extra, shared: first, native: second},
        neighbour={**extra, shared: first, native: first},
    )


def _needs_4bit(section: str, name: str, value: object) -> Rule:
    path, flag = f"{section}.{name}", f"{section}.load_in_4bit"
    native = section == _NATIVE
    return Rule(
        id=f"quantization.{'native_' if native else ''}{name}_needs_4bit",
        backends=("pytorch",) if native else None,
        parameters=(path, flag),
        violated=lambda values: path in values and values.get(flag) is not True,
        combination=f"{path} without {flag}=True",
        expected=f"{flag}=True",
        reason="The bnb_4bit_* fields only act on weights loaded in 4 bits; "
        "BitsAndBytesConfig takes them and does nothing",
        resolution=f"Set {flag}=True, or remove {path}",
        witness={path: value},
        neighbour={path: value, flag: True},
    )


def _flag_off(bits: str) -> Rule:
    flag, load = "quantization.quantization", f"quantization.load_in_{bits}"
    return Rule(
        id=f"quantization.off_with_{bits}",
        parameters=(flag, load),
        violated=lambda values: values.get(flag) is False and values.get(load) is True,
        combination=f"{flag}=False with {load}=True",
        expected="both to be true, or the flag to be omitted",
        reason="The two contradict each other",
        resolution=f"Remove {flag}, or set {load}=False",
        witness={flag: False, load: True},
        neighbour={load: True},
    )


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
_CALIBRATED = ("fp8", "int8_sq", "int4_awq")


def _calibrates(values: Values) -> bool:
    return any(path.startswith(_CALIBRATION + ".") for path in values)


RULES: tuple[Rule, ...] = (
    Rule(
        id="quantization.method_missing",
        parameters=(
            "quantization.quantization",
            "quantization.load_in_4bit",
            "quantization.load_in_8bit",
        ),
        violated=lambda values: (
            values.get("quantization.quantization") is True
            and values.get("quantization.load_in_4bit") is not True
            and values.get("quantization.load_in_8bit") is not True
        ),
        combination="quantization.quantization=True (without method)",
        expected="load_in_4bit=True or load_in_8bit=True beside it",
        reason="quantization flag alone doesn't specify which method to use",
        resolution="Set load_in_4bit=True or load_in_8bit=True",
        witness={"quantization.quantization": True},
        neighbour={"quantization.quantization": True, "quantization.load_in_4bit": True},
    ),
    _exclusive(
        "quantization.4bit_and_8bit",
        "quantization.load_in_4bit",
        "quantization.load_in_8bit",
        native=False,
    ),
    _exclusive(
        "quantization.native_4bit_and_8bit",
        "pytorch.load_in_4bit",
        "pytorch.load_in_8bit",
        native=True,
    ),
    _exclusive(
        "quantization.4bit_and_native_8bit",
        "quantization.load_in_4bit",
        "pytorch.load_in_8bit",
        native=True,
    ),
    _exclusive(
        "quantization.8bit_and_native_4bit",
        "pytorch.load_in_4bit",
        "quantization.load_in_8bit",
        native=True,
    ),
    _disagreement("load_in_4bit", first=True, second=False),
    _disagreement("load_in_8bit", first=True, second=False),
    *(_disagreement(name, *values) for name, values in _BNB_FIELDS.items()),
    *(_needs_4bit(_SHARED, name, values[0]) for name, values in _BNB_FIELDS.items()),
    *(_needs_4bit(_NATIVE, name, values[0]) for name, values in _BNB_FIELDS.items()),
    _flag_off("4bit"),
    _flag_off("8bit"),
    _unsupported(
        "vllm",
        "8bit",
        "vLLM does not support bitsandbytes 8-bit quantization",
        "vllm.quantization_method (awq, gptq, fp8) for quantized inference",
        "",
    ),
    _unsupported(
        "vllm",
        "4bit",
        "bitsandbytes is not among vLLM's quantization methods",
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
        violated=lambda values: _calibrates(values) and values.get(_METHOD) not in _CALIBRATED,
        combination=f"{_CALIBRATION} without a method that calibrates",
        expected=f"{_METHOD} to be one of {', '.join(_CALIBRATED)}",
        reason="Only these methods look at calibration data; it has no effect otherwise",
        resolution=f"Set {_METHOD}, or remove {_CALIBRATION}",
        witness={f"{_CALIBRATION}.dataset": "data"},
        neighbour={f"{_CALIBRATION}.dataset": "data", _METHOD: "int8_sq"},
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
        witness={_METHOD: "int8_sq"},
        neighbour={_METHOD: "int8_sq", f"{_CALIBRATION}.dataset": "data"},
    ),
)
