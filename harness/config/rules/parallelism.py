"""Rules about spreading work over devices, and placing modules on them."""

from __future__ import annotations

import re

from harness.config.rules._rule import Rule, Values

__all__ = ["RULES"]

_STRATEGY, _DEGREE = "parallelism.strategy", "parallelism.degree"
_PROCESSES, _PLACEMENT = "pytorch.num_processes", "pytorch.device_map"
_POLICIES = ("auto", "balanced", "balanced_low_0", "sequential")
_DEVICE = re.compile(r"^(cpu|cuda|mps|xpu|npu|hpu|mlu|musa|xla)(:\d+)?$")


def _bad_placement(values: Values) -> bool:
    name = values.get(_PLACEMENT)
    return isinstance(name, str) and name not in _POLICIES and not _DEVICE.match(name)


RULES: tuple[Rule, ...] = (
    # transformers 5.23 has DistributedConfig(pp_size=), which runs; the matrix measures what comes out.
    Rule(
        id="parallelism.pytorch_pipeline",
        backends=("pytorch",),
        parameters=("backend", _STRATEGY),
        violated=lambda values: values.get(_STRATEGY) == "pipeline_parallel",
        combination=f"{_STRATEGY}=pipeline_parallel",
        expected="tensor_parallel or data_parallel on pytorch",
        reason="PyTorch's generate() requires full model access for autoregressive generation: transformers "
        "splits the layers over processes all the same, and then may get tokens of padded batches wrong",
        resolution="Use backend='vllm' or backend='tensorrt' for pipeline parallel",
        versions="transformers 5.23",
        witness={_STRATEGY: "pipeline_parallel"},
        neighbour={"backend": "vllm", _STRATEGY: "pipeline_parallel"},
    ),
    Rule(
        id="parallelism.vllm_data",
        backends=("vllm",),
        parameters=("backend", _STRATEGY, "streaming"),
        violated=lambda values: (
            values.get(_STRATEGY) == "data_parallel" and values.get(_DEGREE) != 1 and values.get("streaming") is None
        ),
        combination=f"{_STRATEGY}=data_parallel",
        expected="tensor_parallel or pipeline_parallel on vllm, or streaming to be set",
        reason="vLLM manages multi-GPU internally via Ray/tensor parallel; LLM(data_parallel_size=2) raises "
        "ValueError, as it is for a single process. The async engine, which streams, starts the copies",
        resolution=f"Use {_STRATEGY}='tensor_parallel' or 'pipeline_parallel', or set streaming (true or false)",
        witness={_STRATEGY: "data_parallel"},
        neighbour={_STRATEGY: "tensor_parallel"},
    ),
    Rule(
        id="parallelism.degree_without_strategy",
        parameters=(_DEGREE, _STRATEGY),
        violated=lambda values: _DEGREE in values and _STRATEGY not in values,
        combination=f"{_DEGREE} without {_STRATEGY}",
        expected=f"{_STRATEGY} beside the degree",
        reason="The degree does not say what is to be split",
        resolution=f"Set {_STRATEGY}, or remove {_DEGREE}",
        witness={_DEGREE: 2},
        neighbour={_DEGREE: 2, _STRATEGY: "tensor_parallel"},
    ),
    Rule(
        id="parallelism.degree_one",
        severity="warning",
        parameters=(_STRATEGY, _DEGREE),
        violated=lambda values: values.get(_DEGREE) == 1 and _STRATEGY in values,
        combination=f"{_STRATEGY} with {_DEGREE}=1",
        expected="a degree of at least 2",
        reason="Nothing is split over one device: the strategy is inert",
        resolution=f"Set {_DEGREE} to 2 or more, or remove {_STRATEGY}",
        witness={_STRATEGY: "tensor_parallel", _DEGREE: 1},
        neighbour={_STRATEGY: "tensor_parallel", _DEGREE: 2},
    ),
    Rule(
        id="parallelism.num_processes_disagrees",
        backends=("pytorch",),
        parameters=(_PROCESSES, _DEGREE),
        violated=lambda values: (
            values.get(_STRATEGY) == "data_parallel"
            and _DEGREE in values
            and _PROCESSES in values
            and values[_DEGREE] != values[_PROCESSES]
        ),
        combination=f"{_PROCESSES} differs from {_DEGREE} under data_parallel",
        expected="equal values, or only one of the two",
        reason="Both set the number of processes that hold a copy of the model",
        resolution=f"Set only one of {_PROCESSES} and {_DEGREE}, or the same value for both",
        witness={_STRATEGY: "data_parallel", _DEGREE: 2, _PROCESSES: 3},
        neighbour={_STRATEGY: "data_parallel", _DEGREE: 2, _PROCESSES: 2},
    ),
    Rule(
        id="parallelism.num_processes_with_tensor_parallel",
        backends=("pytorch",),
        parameters=(_PROCESSES, _STRATEGY),
        violated=lambda values: _PROCESSES in values and values.get(_STRATEGY) == "tensor_parallel",
        combination=f"{_PROCESSES} with {_STRATEGY}=tensor_parallel",
        expected=f"{_PROCESSES} to be omitted",
        reason="Its processes hold whole copies of the model; tensor parallelism splits one copy",
        resolution=f"Remove {_PROCESSES} and set {_DEGREE}, or use {_STRATEGY}='data_parallel'",
        witness={_PROCESSES: 2, _STRATEGY: "tensor_parallel"},
        neighbour={_DEGREE: 2, _STRATEGY: "tensor_parallel"},
    ),
    Rule(
        id="parallelism.device_map_with_tensor_parallel",
        backends=("pytorch",),
        parameters=(_STRATEGY, _PLACEMENT),
        violated=lambda values: values.get(_STRATEGY) == "tensor_parallel" and _PLACEMENT in values,
        combination=f"{_STRATEGY}=tensor_parallel with {_PLACEMENT}",
        expected=f"{_PLACEMENT} to be omitted",
        reason="transformers raises ValueError: tensor parallelism and device_map are mutually exclusive",
        resolution=f"Remove {_PLACEMENT}, or remove {_STRATEGY}",
        versions="transformers 5.23",
        witness={_STRATEGY: "tensor_parallel", _PLACEMENT: "auto"},
        neighbour={_STRATEGY: "tensor_parallel"},
    ),
    Rule(
        id="placement.device_map_name",
        backends=("pytorch",),
        parameters=(_PLACEMENT,),
        violated=_bad_placement,
        combination=f"{_PLACEMENT} of an unknown name",
        expected=f"{', '.join(_POLICIES)}, or a device such as cpu or cuda:0",
        reason="from_pretrained() raises ValueError for any other string",
        resolution=f"Set {_PLACEMENT}='auto', or a device name",
        versions="transformers 5.23",
        witness={_PLACEMENT: "gpu"},
        neighbour={_PLACEMENT: "auto"},
    ),
    Rule(
        id="placement.max_memory_without_device_map",
        backends=("pytorch",),
        severity="warning",
        parameters=("pytorch.max_memory", _PLACEMENT),
        violated=lambda values: "pytorch.max_memory" in values and _PLACEMENT not in values,
        combination=f"pytorch.max_memory without {_PLACEMENT}",
        expected=f"{_PLACEMENT} beside the limits",
        reason="transformers ignores max_memory unless it is asked to place the modules",
        resolution=f"Set {_PLACEMENT}='auto', or remove pytorch.max_memory",
        versions="transformers 5.23",
        witness={"pytorch.max_memory": {"cpu": "1GiB"}},
        neighbour={"pytorch.max_memory": {"cpu": "1GiB"}, _PLACEMENT: "auto"},
    ),
)
