"""Room for LoRA adapters, and an adapter that speaks."""

from __future__ import annotations

from harness.declare import Parameter, Value
from harness.jsontypes import JSON
from matrix.parameters.tensorrt.declaring import engine, request
from matrix.probes import outputs, trt_engine
from matrix.variants import ADAPTERS

_ROOM: dict[str, JSON] = {"tensorrt.lora.lora_dir": ["adapter"], "tensorrt.lora.max_lora_rank": 8}

PARAMETERS: tuple[Parameter, ...] = (
    engine(
        "lora.lora_dir",
        trt_engine.lora_dir,
        Value(["adapter"], companions={"tensorrt.lora.max_lora_rank": 8}),
        variant=ADAPTERS,
        note="without it, and without lora_target_modules, upstream makes room for every module it knows",
    ),
    engine(
        "lora.lora_target_modules",
        trt_engine.lora_room,
        Value(["attn_q", "attn_k", "attn_v"]),
        Value(["mlp_h_to_4h", "mlp_4h_to_h", "mlp_gate"]),
        companions={"tensorrt.lora.max_lora_rank": 8},
    ),
    engine(
        "lora.max_lora_rank",
        trt_engine.lora_room,
        Value(8),
        Value(16),
        companions={"tensorrt.lora.lora_target_modules": ["attn_q"]},
    ),
    engine("lora.max_loras", trt_engine.lora_room, Value(1), Value(4, contrast=1), companions=_ROOM, variant=ADAPTERS),
    request("lora_request", outputs.differs, Value("adapter"), companions=_ROOM, variant=ADAPTERS),
)
