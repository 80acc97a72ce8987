"""What runs the model: attention kernels, compilation, processes."""

from __future__ import annotations

from harness.declare import Parameter, Value
from harness.jsontypes import JSON
from matrix import workloads
from matrix.parameters.columns import CUDA
from matrix.parameters.declaring import FREE, on_off
from matrix.parameters.parallelism import PIPELINED, TWO
from matrix.parameters.vllm.declaring import engine
from matrix.parameters.vllm.scheduling import ROOM
from matrix.probes import caches, kernels, loading, processes, scheduling

FREE_TO_COMPILE: dict[str, JSON] = {"vllm.enforce_eager": None}
"""The base runs eagerly, which switches all of this off."""
PARAMETERS: tuple[Parameter, ...] = (
    engine(
        "attention.backend",
        kernels.attention,
        Value("auto"),
        Value("CPU_ATTN"),
        Value("FLASH_ATTN", needs=CUDA),
        Value("FLASHINFER", needs=CUDA),
        Value("TRITON_ATTN", needs=CUDA),
        Value("FLEX_ATTENTION", needs=CUDA),
        Value("TORCH_SDPA"),
        # which kernels take float32 differs, all of those here take bfloat16
        companions={"fp_precision": "bfloat16"},
        note="the CPU platform of vLLM 0.32 takes every name and uses CPU_ATTN",
    ),
    engine("enforce_eager", kernels.enforce_eager, *on_off()),
    engine(
        "compilation.mode",
        kernels.compilation_mode,
        Value(0, contrast=2),
        Value(1, contrast=0),
        Value(2, contrast=0),
        Value(3, contrast=0),
        # dynamo alone: what mode is used is settled before a compiler is called
        companions={**FREE_TO_COMPILE, "vllm.compilation.backend": "eager"},
        note="the CPU platform of vLLM 0.32 turns mode 3 into 2 and leaves mode 1 uncompiled, without a word",
    ),
    engine(
        "compilation.backend",
        kernels.compiler,
        Value("inductor", contrast="eager"),
        Value("eager", contrast="inductor"),
        companions={**FREE_TO_COMPILE, "vllm.compilation.mode": 2},
    ),
    engine(
        "compilation.cudagraph_mode",
        kernels.cudagraph_mode,
        Value("NONE", contrast="PIECEWISE"),
        Value("PIECEWISE", contrast="NONE"),
        Value("FULL", contrast="NONE"),
        Value("FULL_AND_PIECEWISE", contrast="NONE"),
        companions=FREE_TO_COMPILE,
        needs=CUDA,
    ),
    engine(
        "optimization_level",
        kernels.optimization_level,
        Value(0, contrast=2),
        Value(1, contrast=2),
        Value(2, contrast=0),
        companions=FREE_TO_COMPILE,
        note="levels above 0 differ in CUDA graphs and fusions (vllm/config/vllm.py, 0.32), which a CPU has none of",
    ),
    engine(
        "performance_mode",
        scheduling.performance_mode,
        Value("balanced", contrast="throughput"),
        Value(
            "interactivity", contrast="balanced", companions=FREE_TO_COMPILE, probe=kernels.capture_sizes, needs=CUDA
        ),
        Value("throughput"),
        companions=ROOM,
        workload=workloads.CROWD,
        note="interactivity is about CUDA graphs alone (vllm/config/vllm.py, 0.32)",
    ),
    engine(
        "distributed_backend",
        processes.executor,
        Value("uni", contrast="mp"),
        Value("mp"),
        # "current platform cpu does not support ray"
        Value("ray", needs=(*CUDA, "package:ray")),
        note="on a CPU, vLLM 0.32 turns uni into mp unless VLLM_ENABLE_V1_MULTIPROCESSING=0, as it is here",
    ),
    engine(
        "tensor_parallel_size",
        processes.tensor_parallel,
        Value(1, contrast=2),
        Value(2),
        needs=TWO,
    ),
    engine(
        "pipeline_parallel_size",
        processes.pipeline_parallel,
        Value(1, contrast=2),
        Value(2),
        companions=PIPELINED,
        needs=TWO,
    ),
    engine(
        "data_parallel_size",
        processes.data_parallel,
        Value(2),
        # LLM refuses copies in a single process, the async engine takes them
        companions={"streaming": False},
        needs=TWO,
        note="copies of the engine behind one front end, which LLM refuses and the async engine has",
    ),
    engine(
        "cpu_offload_gb",
        caches.cpu_offload,
        Value(0.0, contrast=2.0),
        Value(2.0),
        needs=CUDA,
        note="moves weights from the accelerator to the host, so there has to be one",
    ),
    engine(
        "seed",
        loading.seed,
        Value(0, contrast=1),
        # without it requests are seeded one by one, which alone makes other tokens
        Value(7, contrast=1),
        output=FREE,
        companions={"decoder.do_sample": True},
        workload=workloads.OPEN,
    ),
)
