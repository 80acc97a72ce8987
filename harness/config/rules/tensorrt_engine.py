"""Rules about TensorRT-LLM's steps, cache, graphs, quantisation and adapters."""

from __future__ import annotations

from typing import Any

from harness.config.rules._rule import Rule, Values
from harness.config.rules._tensorrt import BACKEND, inert, refused, within

__all__ = ["RULES"]

_GRAPH, _COMPILE, _CACHE = "tensorrt.cuda_graph", "tensorrt.torch_compile", "tensorrt.kv_cache"
_SIZES, _LARGEST = f"{_GRAPH}.batch_sizes", f"{_GRAPH}.max_batch_size"
_PIECEWISE, _TOKENS = f"{_COMPILE}.enable_piecewise_cuda_graph", f"{_COMPILE}.capture_num_tokens"
_REUSE, _PARTIAL = "tensorrt.enable_kv_cache_reuse", f"{_CACHE}.enable_partial_reuse"
_COPY, _SALT = f"{_CACHE}.copy_on_partial_reuse", "tensorrt.cache_salt"
_POLICY, _CHUNKED = "tensorrt.scheduler.context_chunking_policy", "tensorrt.enable_chunked_context"
_BATCH, _BUDGET = "tensorrt.max_batch_size", "tensorrt.max_num_tokens"
_METHOD = "tensorrt.quantization.method"
_GROUPED = ("int4_awq", "W4A8_AWQ")
_LORA, _ADAPTER = "tensorrt.lora", "tensorrt.lora_request"
_DP, _STRATEGY = "tensorrt.enable_attention_dp", "parallelism.strategy"


def _switched_off(section: str, name: str, value: Any) -> Rule:
    switch, other = f"{section}.enabled", f"{section}.{name}"

    def violated(values: Values) -> bool:
        return values.get(switch) is False and any(path.startswith(f"{section}.") and path != switch for path in values)

    return refused(
        f"{section.rpartition('.')[2]}.tensorrt_off",
        switch,
        section,
        violated=violated,
        combination=f"{switch}=False with other settings of {section}",
        expected=f"{switch} to be omitted, or nothing beside it",
        reason=f"The two contradict each other: off means that {section.rpartition('.')[2]}_config=None is handed over",
        resolution=f"Remove {switch}, or the rest of {section}",
        witness={switch: False, other: value},
        neighbour={other: value},
    )


def _without_reuse(path: str, value: Any, rule_id: str) -> Rule:
    return inert(
        rule_id,
        path,
        _REUSE,
        violated=lambda values: path in values and values.get(_REUSE) is False,
        combination=f"{path} with {_REUSE}=False",
        expected=f"{_REUSE}=True",
        reason="No block is reused",
        resolution=f"Remove {path}, or set {_REUSE}=True",
        witness={path: value, _REUSE: False},
        neighbour={path: value, _REUSE: True},
    )


def _of_a_method(name: str, value: Any, methods: tuple[str, ...], kind: str) -> Rule:
    path = f"tensorrt.quantization.{name}"
    return inert(
        f"quantization.tensorrt_{name}_inert",
        path,
        _METHOD,
        violated=lambda values: path in values and values.get(_METHOD) not in methods,
        combination=f"{path} without {kind} {_METHOD}",
        expected=f"{kind} method",
        reason="Other methods do not look at it",
        resolution=f"Set {_METHOD}='{methods[0]}', or remove {path}",
        witness={path: value, BACKEND: "tensorrt"},
        neighbour={path: value, _METHOD: methods[0], BACKEND: "tensorrt"},
    )


RULES: tuple[Rule, ...] = (
    _switched_off(_GRAPH, "enable_padding", value=True),
    _switched_off(_COMPILE, "enable_inductor", value=True),
    refused(
        "cuda_graph.tensorrt_sizes",
        _SIZES,
        _LARGEST,
        violated=lambda values: _SIZES in values and _LARGEST in values and max(values[_SIZES]) != values[_LARGEST],
        combination=f"{_SIZES} whose largest is not {_LARGEST}",
        expected="only one of the two",
        reason="TorchLlmArgs raises: please don't set both cuda_graph_config.batch_sizes and max_batch_size",
        resolution=f"Remove {_LARGEST}, or remove {_SIZES}",
        witness={_SIZES: [1, 2], _LARGEST: 4},
        neighbour={_SIZES: [1, 2]},
    ),
    inert(
        "torch_compile.tensorrt_tokens_inert",
        _TOKENS,
        _PIECEWISE,
        violated=lambda values: _TOKENS in values and values.get(_PIECEWISE) is not True,
        combination=f"{_TOKENS} without {_PIECEWISE}=True",
        expected=f"{_PIECEWISE}=True",
        reason="Nothing is captured piece by piece",
        resolution=f"Set {_PIECEWISE}=True, or remove {_TOKENS}",
        witness={_TOKENS: [64]},
        neighbour={_TOKENS: [64], _PIECEWISE: True},
    ),
    _without_reuse(_PARTIAL, value=True, rule_id="cache.tensorrt_partial_inert"),
    _without_reuse(_SALT, "a", rule_id="cache.tensorrt_salt_inert"),
    inert(
        "cache.tensorrt_copy_inert",
        _COPY,
        _PARTIAL,
        _REUSE,
        violated=lambda values: _COPY in values and False in (values.get(_PARTIAL), values.get(_REUSE)),
        combination=f"{_COPY} without partial reuse",
        expected=f"{_PARTIAL}=True and {_REUSE}=True",
        reason="No block is reused in part",
        resolution=f"Remove {_COPY}, or allow partial reuse",
        witness={_COPY: True, _PARTIAL: False},
        neighbour={_COPY: True, _PARTIAL: True},
    ),
    inert(
        "scheduling.tensorrt_chunking_inert",
        _POLICY,
        _CHUNKED,
        violated=lambda values: _POLICY in values and values.get(_CHUNKED) is not True,
        combination=f"{_POLICY} without {_CHUNKED}=True",
        expected=f"{_CHUNKED}=True",
        reason="It says which prompts are split, and none is",
        resolution=f"Set {_CHUNKED}=True, or remove {_POLICY}",
        witness={_POLICY: "EQUAL_PROGRESS"},
        neighbour={_POLICY: "EQUAL_PROGRESS", _CHUNKED: True},
    ),
    inert(
        "scheduling.tensorrt_batch_above_tokens",
        _BATCH,
        _BUDGET,
        violated=lambda values: _BATCH in values and _BUDGET in values and values[_BATCH] > values[_BUDGET],
        combination=f"{_BATCH} > {_BUDGET}",
        expected="at least one token per request",
        reason="No step holds more requests than tokens; upstream warns of it",
        resolution=f"Raise {_BUDGET}, or lower {_BATCH}",
        witness={_BATCH: 64, _BUDGET: 32},
        neighbour={_BATCH: 32, _BUDGET: 32},
    ),
    refused(
        "parallelism.tensorrt_data",
        "backend",
        _STRATEGY,
        violated=lambda values: values.get(_STRATEGY) == "data_parallel",
        combination=f"{_STRATEGY}=data_parallel",
        expected="tensor_parallel or pipeline_parallel on tensorrt",
        reason="tensorrt_llm.LLM has no argument for copies of a model; its data parallelism is that of attention, "
        "within tensor parallelism",
        resolution=f"Use {_STRATEGY}='tensor_parallel' with {_DP}=True",
        witness={_STRATEGY: "data_parallel"},
        neighbour={_STRATEGY: "tensor_parallel", _DP: True},
    ),
    inert(
        "parallelism.tensorrt_attention_dp_inert",
        _DP,
        _STRATEGY,
        violated=lambda values: values.get(_DP) is True and values.get(_STRATEGY) != "tensor_parallel",
        combination=f"{_DP}=True without {_STRATEGY}=tensor_parallel",
        expected=f"{_STRATEGY}=tensor_parallel",
        reason="It copies attention to the processes of tensor parallelism, and there are none",
        resolution=f"Set {_STRATEGY}='tensor_parallel', or remove {_DP}",
        witness={_DP: True},
        neighbour={_DP: True, _STRATEGY: "tensor_parallel"},
    ),
    _of_a_method("group_size", 64, _GROUPED, "a group-wise"),
    _of_a_method("smoothquant_val", 0.5, ("int8_sq",), "a SmoothQuant"),
    refused(
        "lora.tensorrt_request_without_room",
        _ADAPTER,
        _LORA,
        violated=lambda values: _ADAPTER in values and not within(values, _LORA),
        combination=f"{_ADAPTER} without {_LORA}",
        expected=f"{_LORA} beside it",
        reason="Without a LoraConfig the engine has no place for adapters",
        resolution=f"Set {_LORA}.lora_dir or {_LORA}.max_lora_rank, or remove {_ADAPTER}",
        witness={_ADAPTER: "adapter"},
        neighbour={_ADAPTER: "adapter", f"{_LORA}.max_lora_rank": 8},
    ),
)
