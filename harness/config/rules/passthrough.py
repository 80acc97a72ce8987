"""The rule that passthrough arguments may not shadow declared fields."""

from __future__ import annotations

from functools import cache

from harness.config.rules._rule import Rule, Values

__all__ = ["RULES", "shadowed_field"]

_KEY = "passthrough_kwargs"

# Upstream's names of arguments that a declared field sets under another name.
_ALIASES: dict[str, dict[str, str]] = {
    "pytorch": {
        "dtype": "fp_precision",
        "torch_dtype": "fp_precision",
        "max_new_tokens": "max_output_tokens",
        "max_length": "max_output_tokens",
        "quantization_config": "quantization",
        "distributed_config": "parallelism",
        "tp_plan": "parallelism",
        "tp_size": "parallelism",
        "streamer": "streaming",
    },
    "vllm": {
        "dtype": "fp_precision",
        "max_tokens": "max_output_tokens",
        "beam_width": "decoder.beam_search.num_beams",
        "quantization": "vllm.quantization_method",
        "distributed_executor_backend": "vllm.distributed_backend",
        "attention_backend": "vllm.attention.backend",
        "spec_method": "vllm.speculative.method",
        "spec_model": "vllm.speculative.model",
        "spec_tokens": "vllm.speculative.num_speculative_tokens",
    },
    "tensorrt": {
        "dtype": "fp_precision",
        "max_tokens": "max_output_tokens",
        "seed": "random_seed",
        "max_beam_width": "decoder.beam_search.num_beams",
        "use_beam_search": "decoder.beam_search.enabled",
        "tensor_parallel_size": "parallelism",
        "pipeline_parallel_size": "parallelism",
        "quant_config": "tensorrt.quantization.method",
        "quant_algo": "tensorrt.quantization.method",
        "calib_config": "tensorrt.quantization.calibration",
        "plugin_config": "tensorrt.build",
        "enable_build_cache": "tensorrt.force_rebuild",
        "enable_chunked_prefill": "tensorrt.enable_chunked_context",
        "free_gpu_memory_fraction": "tensorrt.gpu_memory_utilization",
        "enable_block_reuse": "tensorrt.enable_kv_cache_reuse",
    },
}
_SHARED = ("decoder.", "quantization.")
_NOT_UPSTREAM = ("decoder.preset", "decoder.beam_search.enabled", "quantization.quantization")


@cache
def _reserved(backend: str) -> dict[str, str]:
    """Map each upstream argument name that a declared field sets to that field."""
    from harness.config.schema import leaf_paths  # here, as the schema imports the rules

    names: dict[str, str] = {}
    for path in leaf_paths(backend):
        section, _, _ = path.rpartition(".")
        if section.startswith(f"{backend}."):
            # upstream groups such arguments, as in compilation_config=
            inner = section.rpartition(".")[2]
            names |= {inner: section, f"{inner}_config": section}
        own = path.startswith(f"{backend}.") and path.count(".") == 1
        if own or (path.startswith(_SHARED) and path not in _NOT_UPSTREAM):
            names.setdefault(path.rpartition(".")[2], path)
        names[path] = path
    return names | _ALIASES[backend]


def shadowed_field(key: str, backend: str) -> str | None:
    """Return the declared field that the passthrough ``key`` would collide with, if any."""
    return _reserved(backend).get(key)


def _collisions(values: Values) -> list[tuple[str, str]]:
    backend = values.get("backend", "pytorch")
    keys = values.get(_KEY)
    if backend not in _ALIASES or not isinstance(keys, dict):
        return []
    found = ((key, shadowed_field(key, backend)) for key in keys if isinstance(key, str))
    return [(key, path) for key, path in found if path is not None]


def _detail(values: Values) -> str:
    return ", ".join(f"`{_KEY}.{key}` shadows `{path}`" for key, path in _collisions(values))


RULES: tuple[Rule, ...] = (
    Rule(
        id="passthrough.collision",
        parameters=(_KEY,),
        violated=lambda values: bool(_collisions(values)),
        detail=_detail,
        combination=f"{_KEY} that names a declared field",
        expected="only arguments that no field of the config sets",
        reason="The same argument would be set twice, past the validation of the field",
        resolution="Set the declared field instead of the passthrough key",
        witness={_KEY: {"temperature": 0.5}},
        neighbour={"decoder.temperature": 0.5, "decoder.do_sample": True},
    ),
)
