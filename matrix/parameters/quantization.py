"""Quantisation: the shared spelling and PyTorch's own mean the same."""

from __future__ import annotations

from dataclasses import replace

from harness.declare import Bound, Column, NotApplicable, Parameter, Probe, Scope, Value
from harness.jsontypes import JSON
from matrix.probes import loading, state
from matrix.sections import PYTORCH, QUANTIZATION

FOUR_BITS = Bound(0.8)
EIGHT_BITS = Bound(0.25)
SAME_BITS = Bound(0.25)
"""Relative logit errors. Unrelated logits are about 1.4 apart; on the shipped model 4 bits cost 0.3 to
0.4, 8 bits 0.02, and another way of computing with the same bits 0.01. Larger models round more often."""


_ON_OFF = (
    Value(False, contrast=True, backends=("pytorch",)),
    # vLLM 0.32 has no bitsandbytes to contrast it with, TensorRT-LLM never had
    Value(False, backends=("vllm", "tensorrt")),
    Value(True),
)
_NO_DETAILS = NotApplicable(
    "vLLM takes the name of a quantisation method and no details of bitsandbytes', which 0.32 has dropped besides"
)


_NO_BITSANDBYTES = NotApplicable(
    "TensorRT-LLM has no bitsandbytes: none of its QuantAlgo (1.2) is; tensorrt.quantization.method chooses one of them"
)


def _parameter(prefix: str, section: str, name: str, probe: Probe, output: Bound, *values: Value) -> Parameter:
    companions: dict[str, JSON] = {f"{prefix}.load_in_4bit": True} if name.startswith("bnb_4bit_") else {}
    column = Column(Scope.ENGINE, probe, output, companions=companions)
    columns: dict[str, Column | NotApplicable] = {"pytorch": column}
    if section == QUANTIZATION:
        # vLLM knows the flags' method by name, and none of its details
        columns["vllm"] = _NO_DETAILS if companions else replace(column, probe=loading.bitsandbytes)
        columns["tensorrt"] = _NO_BITSANDBYTES
    return Parameter(f"{prefix}.{name}", section=section, values=values, columns=columns)


def _spelling(prefix: str, section: str) -> tuple[Parameter, ...]:
    return (
        _parameter(prefix, section, "load_in_4bit", state.load_in_4bit, FOUR_BITS, *_ON_OFF),
        _parameter(prefix, section, "load_in_8bit", state.load_in_8bit, EIGHT_BITS, *_ON_OFF),
        _parameter(
            prefix,
            section,
            "bnb_4bit_quant_type",
            state.quant_type,
            FOUR_BITS,
            Value("fp4", contrast="nf4"),
            Value("nf4", contrast="fp4"),
        ),
        _parameter(
            prefix,
            section,
            "bnb_4bit_compute_dtype",
            state.compute_dtype,
            SAME_BITS,
            Value("float32", contrast="bfloat16"),
            Value("float16", contrast="float32"),
            Value("bfloat16", contrast="float32"),
        ),
        _parameter(
            prefix,
            section,
            "bnb_4bit_use_double_quant",
            state.double_quant,
            SAME_BITS,
            Value(False, contrast=True),
            Value(True, contrast=False),
        ),
    )


PARAMETERS = (
    Parameter(
        "quantization.quantization",
        section=QUANTIZATION,
        values=(
            Value(False, contrast=True, backends=("pytorch",)),
            Value(True, contrast=False, backends=("pytorch",)),
            Value(False, backends=("vllm", "tensorrt")),
            Value(True, backends=("vllm", "tensorrt")),
        ),
        columns={
            "pytorch": Column(Scope.ENGINE, state.load_in_4bit, FOUR_BITS),
            "vllm": Column(Scope.ENGINE, loading.bitsandbytes, FOUR_BITS),
            "tensorrt": _NO_BITSANDBYTES,
        },
        note="names no method: transformers takes a bare BitsAndBytesConfig for 4 bits",
    ),
    *_spelling("quantization", QUANTIZATION),
    *_spelling("pytorch", PYTORCH),
)
