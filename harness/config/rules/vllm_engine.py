"""Rules about a vLLM engine's steps, cache and room for adapters."""

from __future__ import annotations

from harness.config.rules._rule import Rule
from harness.config.rules._vllm import inert, refused

__all__ = ["RULES"]

_BATCHED, _SEQS, _LENGTH = "vllm.max_num_batched_tokens", "vllm.max_num_seqs", "vllm.max_model_len"
_CHUNKED, _LONG = "vllm.enable_chunked_prefill", "vllm.long_prefill_token_threshold"
_PREFIX, _HASH = "vllm.enable_prefix_caching", "vllm.prefix_caching_hash_algo"
_OFFLOAD, _OFFLOADER = "vllm.kv_offloading_size", "vllm.kv_offloading_backend"
_SHARE, _BYTES = "vllm.gpu_memory_utilization", "vllm.kv_cache_memory_bytes"
_LORA, _RANK = "vllm.enable_lora", "vllm.max_lora_rank"
_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)


def _lora_inert(name: str, value: int) -> Rule:
    path = f"vllm.{name}"
    return inert(
        f"lora.vllm_{name}_inert",
        path,
        _LORA,
        violated=lambda values: path in values and values.get(_LORA) is not True,
        combination=f"{path} without {_LORA}=True",
        expected=f"{_LORA}=True",
        reason="Without LoRA there is no room to size",
        resolution=f"Set {_LORA}=True, or remove {path}",
        witness={path: value},
        neighbour={path: value, _LORA: True},
    )


RULES: tuple[Rule, ...] = (
    refused(
        "scheduling.vllm_batch_shorter_than_prompt",
        _BATCHED,
        _LENGTH,
        _CHUNKED,
        violated=lambda values: (
            values.get(_CHUNKED) is False
            and _BATCHED in values
            and _LENGTH in values
            and values[_BATCHED] < values[_LENGTH]
        ),
        combination=f"{_BATCHED} < {_LENGTH} with {_CHUNKED}=False",
        expected="room for the longest sequence in one step",
        reason="A prompt that is not split must fit into one step; vLLM raises ValueError",
        resolution=f"Raise {_BATCHED}, lower {_LENGTH}, or allow {_CHUNKED}",
        witness={_BATCHED: 256, _LENGTH: 512, _CHUNKED: False},
        neighbour={_BATCHED: 256, _LENGTH: 512, _CHUNKED: True},
    ),
    refused(
        "scheduling.vllm_batch_smaller_than_requests",
        _BATCHED,
        _SEQS,
        violated=lambda values: _BATCHED in values and _SEQS in values and values[_BATCHED] < values[_SEQS],
        combination=f"{_BATCHED} < {_SEQS}",
        expected="at least one token per request",
        reason="vLLM raises ValueError: max_num_batched_tokens must be greater than or equal to max_num_seqs",
        resolution=f"Raise {_BATCHED}, or lower {_SEQS}",
        witness={_BATCHED: 16, _SEQS: 32},
        neighbour={_BATCHED: 32, _SEQS: 32},
    ),
    refused(
        "scheduling.vllm_long_prefill_above_length",
        _LONG,
        _LENGTH,
        violated=lambda values: values.get(_LENGTH, -1) > 0 and values.get(_LONG, 0) > values[_LENGTH],
        combination=f"{_LONG} > {_LENGTH}",
        expected=f"at most {_LENGTH}",
        reason="vLLM raises ValueError: no prompt is that long",
        resolution=f"Lower {_LONG}",
        witness={_LONG: 1024, _LENGTH: 512},
        neighbour={_LONG: 256, _LENGTH: 512},
    ),
    refused(
        "scheduling.vllm_length_zero",
        _LENGTH,
        violated=lambda values: values.get(_LENGTH) == 0,
        combination=f"{_LENGTH}=0",
        expected="-1, or a number of tokens",
        reason="vLLM raises ValueError: max_model_len must be a positive integer",
        resolution=f"Set {_LENGTH}=-1 for as much as fits, or a number of tokens",
        witness={_LENGTH: 0},
        neighbour={_LENGTH: -1},
    ),
    inert(
        "cache.vllm_hash_inert",
        _HASH,
        _PREFIX,
        violated=lambda values: _HASH in values and values.get(_PREFIX) is False and _OFFLOAD not in values,
        combination=f"{_HASH} with {_PREFIX}=False",
        expected=f"{_PREFIX}=True",
        reason="Prefixes that are not cached are not hashed",
        resolution=f"Remove {_HASH}, or set {_PREFIX}=True",
        witness={_HASH: "sha256_cbor", _PREFIX: False},
        neighbour={_HASH: "sha256_cbor", _PREFIX: True},
    ),
    inert(
        "cache.vllm_skip_reading_inert",
        "vllm.skip_reading_prefix_cache",
        _PREFIX,
        violated=lambda values: "vllm.skip_reading_prefix_cache" in values and values.get(_PREFIX) is False,
        combination=f"vllm.skip_reading_prefix_cache with {_PREFIX}=False",
        expected=f"{_PREFIX}=True",
        reason="Nothing is cached that could be read",
        resolution=f"Remove vllm.skip_reading_prefix_cache, or set {_PREFIX}=True",
        witness={"vllm.skip_reading_prefix_cache": True, _PREFIX: False},
        neighbour={"vllm.skip_reading_prefix_cache": True, _PREFIX: True},
    ),
    inert(
        "cache.vllm_offloading_backend_inert",
        _OFFLOADER,
        _OFFLOAD,
        violated=lambda values: _OFFLOADER in values and _OFFLOAD not in values,
        combination=f"{_OFFLOADER} without {_OFFLOAD}",
        expected=f"{_OFFLOAD} beside it",
        reason="Cache blocks are only moved when a size is set",
        resolution=f"Set {_OFFLOAD}, or remove {_OFFLOADER}",
        witness={_OFFLOADER: "native"},
        neighbour={_OFFLOADER: "native", _OFFLOAD: 1.0},
    ),
    inert(
        "cache.vllm_share_inert",
        _SHARE,
        _BYTES,
        violated=lambda values: _SHARE in values and _BYTES in values,
        combination=f"{_SHARE} with {_BYTES}",
        expected="one of the two",
        reason="With the size of the cache in bytes, vLLM ignores the share of memory",
        resolution=f"Remove {_SHARE}, or remove {_BYTES}",
        witness={_SHARE: 0.5, _BYTES: 67108864},
        neighbour={_BYTES: 67108864},
    ),
    refused(
        "lora.vllm_rank",
        _RANK,
        _LORA,
        violated=lambda values: values.get(_LORA) is True and values.get(_RANK, 16) not in _RANKS,
        combination=f"{_RANK} that vLLM has no kernels for",
        expected=f"one of {', '.join(map(str, _RANKS))}",
        reason="LoRAConfig rejects any other",
        resolution=f"Take the next higher of the ranks for {_RANK}",
        witness={_RANK: 12, _LORA: True},
        neighbour={_RANK: 16, _LORA: True},
    ),
    _lora_inert("max_lora_rank", 16),
    _lora_inert("max_loras", 2),
)
