"""`pytorch.*`: attention, compilation, caches, speculation, and where the model comes from."""

from __future__ import annotations

from harness.declare import Bound, Column, OutputRule, Parameter, Probe, Scope, Value, Workload
from harness.jsontypes import JSON
from matrix import variants, workloads
from matrix.probes import execution, state
from matrix.sections import PYTORCH

_HALF: dict[str, JSON] = {"fp_precision": "bfloat16"}
"""The flash kernels exist for 16-bit types only; there, two kernels agree within rounding."""
_COMPILED: dict[str, JSON] = {"pytorch.torch_compile": True}
FEW_PAGES: dict[str, JSON] = {
    "passthrough_kwargs": {"continuous_batching_config": {"num_blocks": 16, "page_size": 16, "max_batch_tokens": 64}}
}
"""Left alone, the paged cache takes most of the machine's memory."""

_ON_DISK: JSON = {
    "model.embed_tokens": "cpu",
    "model.layers": "disk",
    "model.norm": "cpu",
    "model.rotary_emb": "cpu",
    "lm_head": "cpu",
}
_LITTLE: JSON = {"cpu": "1MB"}
"""Less than the shipped model takes, so that something has to go to disk."""
_CUDA = ("cuda",)


def _parameter(
    name: str,
    probe: Probe,
    scope: Scope,
    *values: Value,
    work: Workload | None = None,
    companions: dict[str, JSON] | None = None,
    output: OutputRule = OutputRule.LOSSLESS,
) -> Parameter:
    column = Column(scope, probe, output, companions=companions or {}, workload=work)
    return Parameter(f"pytorch.{name}", section=PYTORCH, values=values, columns={"pytorch": column})


PARAMETERS = (
    _parameter(
        "attn_implementation",
        execution.attention,
        Scope.ENGINE,
        Value("eager"),
        Value("sdpa", contrast="eager"),
        *(
            Value(f"flash_attention_{number}", companions=_HALF, output=Bound(0.25), probe=execution.named_attention)
            for number in (2, 3, 4)
        ),
        Value("flex_attention", probe=execution.named_attention),
    ),
    _parameter(
        "torch_compile",
        execution.torch_compile,
        Scope.ENGINE,
        Value(False, contrast=True),
        Value(True),
    ),
    _parameter(
        "torch_compile_mode",
        execution.torch_compile_mode,
        Scope.ENGINE,
        Value("default", contrast="max-autotune-no-cudagraphs"),
        # both are about CUDA graphs, which torch skips elsewhere
        Value("reduce-overhead", needs=_CUDA),
        Value("max-autotune", needs=_CUDA),
        Value("max-autotune-no-cudagraphs"),
        companions=_COMPILED,
    ),
    _parameter(
        "torch_compile_backend",
        execution.torch_compile_backend,
        Scope.ENGINE,
        Value("inductor", contrast="eager"),
        # against each other, so that a missing C++ compiler takes neither with it
        Value("eager", contrast="aot_eager"),
        Value("aot_eager", contrast="eager"),
        Value("cudagraphs", needs=_CUDA),
        Value("onnxrt"),
        companions=_COMPILED,
    ),
    _parameter(
        "use_cache",
        execution.use_cache,
        Scope.REQUEST,
        Value(False),
        Value(True, contrast=False),
    ),
    _parameter(
        "cache_implementation",
        execution.cache_implementation,
        Scope.REQUEST,
        Value("dynamic", contrast="static"),
        Value("static"),
        Value("offloaded"),
        Value("offloaded_static"),
        Value("quantized", output=OutputRule.FREE),
        Value("sliding_window", variant=variants.SLIDING, workload=workloads.LONG),
        Value("hybrid", variant=variants.HALF_SLIDING, workload=workloads.LONG),
        Value("paged", companions=FEW_PAGES),
    ),
    _parameter(
        "prompt_lookup_num_tokens",
        execution.prompt_lookup,
        Scope.REQUEST,
        Value(2),
        Value(5),
        work=workloads.LOOPING_ONE,
    ),
    _parameter(
        "device_map",
        state.device_map,
        Scope.ENGINE,
        # without a map upstream ignores max_memory: then nothing goes to disk
        *(Value(policy, companions={"pytorch.max_memory": _LITTLE}) for policy in ("auto", "balanced", "sequential")),
        Value("cpu", contrast=_ON_DISK),
        Value(_ON_DISK),
    ),
    _parameter(
        "max_memory",
        state.max_memory,
        Scope.ENGINE,
        Value(_LITTLE),
        Value({"cpu": "1GiB"}, contrast=_LITTLE),
        companions={"pytorch.device_map": "auto"},
    ),
    _parameter(
        "revision",
        state.revision,
        Scope.ENGINE,
        Value("main", contrast="alt", variant=variants.HUB),
        Value("alt", variant=variants.HUB),
        output=OutputRule.FREE,
    ),
    _parameter(
        "trust_remote_code",
        state.remote_code,
        Scope.ENGINE,
        Value(False, contrast=True, variant=variants.REMOTE_CODE),
        Value(True, variant=variants.REMOTE_CODE),
        output=OutputRule.FREE,
    ),
)
