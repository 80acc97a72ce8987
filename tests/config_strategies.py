"""Hypothesis strategies for configs, built from the schema, and the profiles tests run under."""

from __future__ import annotations

import os
from typing import Any

from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from harness.config import BACKENDS, LeafField, leaf_paths, schema_field
from harness.config.flat import nest
from harness.config.presets import expand_preset
from harness.config.rules import Rule, violations

hypothesis_settings.register_profile("ci", max_examples=200, derandomize=True, deadline=None)
hypothesis_settings.register_profile("nightly", max_examples=5_000, deadline=None)
hypothesis_settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))

_TEXT = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), min_size=1, max_size=12)
_TRICKY = st.sampled_from(
    ["yes", "null", "~", "1e3", "0x10", "<<", "- a", "a: b", "#x", "1.0", "é", "2024-01-01", "*a"]
)
_DEVICE = st.one_of(st.integers(0, 7), st.just("cpu"))
_SCALAR = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63) + 1, 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    _TEXT,
)

JSON_VALUES = st.recursive(
    _SCALAR, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXT, inner, max_size=3), max_leaves=6
)
"""Any JSON value of moderate size."""

ABUSE: tuple[Any, ...] = (
    float("nan"), float("inf"), float("-inf"), -1, 0, 1, 10**30, True, False, "", "true", "1", "none", 0.5, -0.5, 1e308,
    [], {}, [1], {"a": 1}, b"x", object(),
)  # fmt: skip
"""Values that sloppy validation takes for something else."""

_PLAIN = st.booleans() | st.integers(0, 9) | st.floats(0, 1)
_TOKEN = st.integers(0, 511) | st.just(2**31 - 1)
_TOKENS = st.lists(_TOKEN, max_size=3)
_COUNTS = st.lists(st.integers(1, 512), min_size=1, max_size=3)

_SPECIAL: dict[str, st.SearchStrategy[Any]] = {
    "passthrough_kwargs": st.dictionaries(_TEXT.map("x_".__add__), JSON_VALUES, max_size=3),
    "pytorch.max_memory": st.dictionaries(
        st.one_of(st.integers(0, 7), st.sampled_from(["cpu", "disk"])),
        st.one_of(st.integers(1, 2**40), st.sampled_from(["10GiB", "1.5GB", "512 MiB"])),
        max_size=3,
    ),
    "pytorch.device_map": st.one_of(
        st.sampled_from(["auto", "balanced", "balanced_low_0", "sequential", "cpu", "cuda:0"]),
        st.dictionaries(st.sampled_from(["", "model", "lm_head"]), _DEVICE, min_size=1, max_size=2),
    ),
    "vllm.attention.backend": st.sampled_from(["auto", "FLASH_ATTN", "TORCH_SDPA"]),
    "vllm.kv_cache_dtype": st.sampled_from(["auto", "fp8", "float16"]),
    "vllm.load_format": st.sampled_from(["auto", "safetensors", "pt"]),
    "vllm.max_model_len": st.sampled_from([-1, 1, 512, 4096]),
    "vllm.max_lora_rank": st.sampled_from([8, 16, 64]) | st.integers(1, 2**31 - 1),
    "vllm.compilation.mode": st.sampled_from(["NONE", "VLLM_COMPILE", "stock_torch_compile", 0, 3]),
    "vllm.compilation.cudagraph_mode": st.sampled_from(["NONE", "FULL", "PIECEWISE"]),
    "vllm.model_impl": st.sampled_from(["auto", "vllm", "transformers"]),
    "vllm.safetensors_load_strategy": st.sampled_from(["lazy", "eager", "prefetch"]),
    "vllm.override_generation_config": st.dictionaries(_TEXT, _PLAIN, max_size=2),
    "vllm.hf_overrides": st.dictionaries(_TEXT, _PLAIN, max_size=2),
    "vllm.stop": _TEXT | st.lists(_TEXT, max_size=2),
    "vllm.bad_words": st.lists(_TEXT, max_size=2),
    "vllm.stop_token_ids": _TOKENS,
    "vllm.allowed_token_ids": st.lists(_TOKEN, min_size=1, max_size=3),
    "vllm.logit_bias": st.dictionaries(_TOKEN.map(str), st.floats(-100, 100), max_size=3),
    "vllm.priority": st.lists(st.integers(-(2**63) + 1, 2**63 - 1), min_size=1, max_size=3),
    "vllm.structured_outputs.choice": st.lists(_TEXT, min_size=1, max_size=3),
    "vllm.structured_outputs.json": st.sampled_from(['{"type": "integer"}', {"type": "object"}, {}]),
    "vllm.structured_outputs.grammar": st.sampled_from(['root ::= "a" | "b"']),
    "vllm.speculative.method": st.sampled_from(["ngram", "draft_model", "suffix"]),
    "tensorrt.attn_backend": st.sampled_from(["TRTLLM", "VANILLA", "FLASHINFER"]),
    "tensorrt.sampler_type": st.sampled_from(["auto", "TorchSampler", "TRTLLMSampler"]),
    "tensorrt.load_format": st.sampled_from(["auto", "dummy"]),
    "tensorrt.model_kwargs": st.dictionaries(_TEXT, _PLAIN, max_size=2),
    "tensorrt.kv_cache.dtype": st.sampled_from(["auto", "fp8", "bfloat16"]),
    "tensorrt.kv_cache.max_attention_window": _COUNTS,
    "tensorrt.cuda_graph.batch_sizes": _COUNTS,
    "tensorrt.torch_compile.capture_num_tokens": _COUNTS,
    "tensorrt.quantization.exclude_modules": st.lists(_TEXT, min_size=1, max_size=2),
    "tensorrt.lora.lora_dir": st.lists(_TEXT, min_size=1, max_size=2),
    "tensorrt.lora.lora_target_modules": st.lists(_TEXT, min_size=1, max_size=2),
    "tensorrt.stop": _TEXT | st.lists(_TEXT, max_size=2),
    "tensorrt.bad": _TEXT | st.lists(_TEXT, max_size=2),
    "tensorrt.stop_token_ids": _TOKENS,
    "tensorrt.bad_token_ids": _TOKENS,
    "tensorrt.embedding_bias": st.dictionaries(_TOKEN.map(str), st.floats(-100, 100), max_size=3),
    "tensorrt.cache_salt": _TEXT | st.lists(_TEXT, min_size=1, max_size=3),
    "tensorrt.guided_decoding.regex": st.sampled_from(["[0-9]+"]),
    "tensorrt.guided_decoding.json": st.sampled_from(['{"type": "integer"}', {"type": "object"}, {}]),
    "tensorrt.guided_decoding.grammar": st.sampled_from(['root ::= "a" | "b"']),
}


def leaf_values(path: str) -> st.SearchStrategy[Any]:
    """Values that the schema accepts for one leaf."""
    if path in _SPECIAL:
        return _SPECIAL[path]
    leaf = schema_field(path)
    return st.one_of([_kind_values(leaf, kind) for kind in leaf.kinds])


def _kind_values(leaf: LeafField, kind: str) -> st.SearchStrategy[Any]:
    limits = leaf.constraints
    if kind == "bool":
        return st.booleans()
    if kind == "int":
        low, high = limits["ge"], limits["le"]
        return st.integers(low, min(high, low + 8)) | st.integers(low, high)
    if kind == "float":
        low = limits.get("ge", limits.get("gt", -1e6))
        return st.floats(low, limits.get("le", 1e6), exclude_min="gt" in limits, allow_nan=False)
    if leaf.choices:
        return st.sampled_from(leaf.choices)
    return _TEXT | _TRICKY


def _errors(flat: dict[str, Any], backends: tuple[str, ...]) -> list[Rule]:
    states = [expand_preset({"backend": backend, **flat}) for backend in backends]
    return [rule for state in states for rule in violations(state) if rule.severity == "error"]


def completed(flat: dict[str, Any], backend: str) -> dict[str, Any]:
    """Add the companions that violated rules ask for, once for each rule."""
    kept = dict(flat)
    tried: set[str] = set()
    while asking := [rule for rule in _errors(kept, (backend,)) if rule.id not in tried]:
        for rule in asking:
            tried.add(rule.id)
            added = {path: value for path, value in rule.neighbour.items() if path not in rule.witness}
            if not set(added) & {*kept, "backend"}:
                kept |= added
    return kept


def repaired(flat: dict[str, Any], *backends: str) -> dict[str, Any]:
    """Drop settings until no rule rejects the rest for any of the backends."""
    kept = dict(flat)
    while broken := _errors(kept, backends):
        for rule in broken:
            named = [path for path in rule.parameters if path in kept]
            inside = [path for path in kept if any(path.startswith(f"{name}.") for name in rule.parameters)]
            preset = [path for path in kept if path == "decoder.preset"]
            for path in (named or inside or preset)[:1]:
                del kept[path]
    return kept


@st.composite
def flat_settings(draw: st.DrawFn, backend: str | None = None, *, every: bool = False) -> tuple[str, dict[str, Any]]:
    """A backend and settings that are valid for it; with ``every``, drawn for every leaf."""
    chosen: str = draw(st.sampled_from(BACKENDS)) if backend is None else backend
    paths = leaf_paths(chosen)
    if not every:
        paths = tuple(draw(st.lists(st.sampled_from(paths), unique=True, max_size=10)))
    drawn = {path: draw(leaf_values(path)) for path in paths}
    return chosen, repaired(completed(drawn, chosen), chosen)


def raw_configs() -> st.SearchStrategy[Any]:
    """Data that looks like a config: valid ones, ones with some settings spoilt, and junk."""
    return spoilt_configs() | _junk()


@st.composite
def spoilt_configs(draw: st.DrawFn) -> dict[str, Any]:
    """A valid config in which up to three settings have been replaced by anything."""
    backend, flat = draw(flat_settings())
    paths = st.sampled_from(leaf_paths()) | st.sampled_from(["model", "backend", "streaming.x", "pytorch.x"])
    for path in draw(st.lists(paths, max_size=3)):
        flat[path] = draw(leaf_values(path) if path in leaf_paths() and draw(st.booleans()) else _ANYTHING)
    if "streaming.x" in flat:
        flat.pop("streaming", None)
    return nest({"model": "m", "backend": backend, **flat})


_ANYTHING = JSON_VALUES | st.sampled_from(ABUSE)


def _junk() -> st.SearchStrategy[Any]:
    keys = st.sampled_from([part for path in leaf_paths() for part in path.split(".")]) | _TEXT
    section = st.dictionaries(keys, _ANYTHING, max_size=4)
    top = ["model", "backend", "pytorch", "vllm", "tensorrt", "decoder", "quantization", "batching", "streaming"]
    return (
        st.dictionaries(st.sampled_from(top) | keys, section | st.sampled_from(BACKENDS) | _ANYTHING, max_size=6)
        | _ANYTHING
        | st.dictionaries(_ANYTHING.filter(lambda value: value.__hash__ is not None), _ANYTHING, max_size=2)
    )
