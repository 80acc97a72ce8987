"""Which patch makes vLLM deaf to which value.

Left out are values that nothing acts on, because upstream does as they say anyway, what the harness does itself, and
what works in processes that upstream spawns, which no patch reaches.
"""

from __future__ import annotations

from pathlib import Path

from harness.declare import Deaf
from matrix.deaf import Patches

_HERE = Path(__file__).parent


def _choosing(function: str, says: str) -> Deaf:
    return Deaf(says, _HERE / "choosing.py", function)


def _scheduling(function: str, says: str) -> Deaf:
    return Deaf(says, _HERE / "scheduling.py", function)


def _loading(function: str, says: str) -> Deaf:
    return Deaf(says, _HERE / "loading.py", function)


_DRAWN = _choosing("draws_where_it_is_greedy", "greedy decoding draws an id")
_LIKELIEST = _choosing("draws_the_likeliest", "what should be drawn is the likeliest id")
_TEMPERATURE = _choosing("temperature", "the temperature divides nothing")
_TOP_K = _choosing("top_k", "no id is left out for its rank")
_TOP_P = _choosing("top_p", "no id is left out for the probability before it")
_MIN_P = _choosing("min_p", "no id is left out for its small probability")
_PENALTIES = _choosing("penalties", "ids that came lose nothing")
_MIN_TOKENS = _choosing("min_tokens", "the ending is possible from the first token on")
_LENGTH = _choosing("max_tokens", "the length ends an output 8 tokens late")
_SEED = _choosing("seed", "no request's generator is used")
_STOP = _choosing("stop_texts", "no text ends an output")
_INCLUDE = _choosing("include_stop", "a text that ends an output is left out of it, or kept, the other way round")
_BIAS = _choosing("logit_bias", "no logit is moved")
_LOGPROBS = _choosing("logprobs", "half as many log-probabilities are reported as are asked for")
_MODE = _choosing("logprobs_mode", "what is reported is taken before processing, or after it, the other way round")
_STRUCTURE = _choosing("structure", "no id is left out for the form that an output must take")
_SEQS = _scheduling("max_num_seqs", "half as many requests run together as may")
_TOKENS = _scheduling("max_num_batched_tokens", "steps take in half as many tokens as they may")
_CHUNKED = _scheduling("chunked_prefill", "prompts are split, or not, the other way round")
_LONG = _scheduling("long_prefill", "a step takes in as much of a prompt as it has room for")
_FCFS = _scheduling("comes_first_served", "requests wait in the order in which they came")
_BLOCKS = _scheduling("half_the_blocks", "half of the cache's blocks are handed out")
_SHARE = _scheduling("memory_share", "the cache takes 1 GiB, whatever share of the memory is given")
_NO_DRAFTS = _scheduling("drafts_nothing", "nothing is drafted from the prompt")
_FIND_ALL = _scheduling("finds_all", "the prefix cache is looked into for every request")
_FIND_NOTHING = _scheduling("finds_nothing", "nothing is looked for in the prefix cache")
_SAFETENSORS = _loading("loads_safetensors", "weights come from the safetensors files")
_CONSOLIDATED = _loading("loads_consolidated", "weights come from Mistral's own file")
_SILENT = _loading("silent_adapter", "products with adapters' weights are left out")
_PLAIN = _loading("compiles_nothing", "the model's layers are called one by one")
_EPSILON = _loading("norm_epsilon", "norm layers are built with the model's own epsilon")

VLLM: Patches = {
    "max_output_tokens": dict.fromkeys(("1", "4"), _LENGTH),
    "random_seed": dict.fromkeys(("0", "7"), _SEED),
    "decoder.do_sample": {"True": _LIKELIEST, "False": _DRAWN},
    "decoder.temperature": {"0.0": _DRAWN, **dict.fromkeys(("0.5", "1.5"), _TEMPERATURE)},
    "decoder.top_k": dict.fromkeys(("1", "5", "50"), _TOP_K),
    "decoder.top_p": dict.fromkeys(("0.5", "0.9"), _TOP_P),
    "decoder.min_p": dict.fromkeys(("0.1", "1.0"), _MIN_P),
    "decoder.repetition_penalty": dict.fromkeys(("0.8", "1.3"), _PENALTIES),
    "decoder.min_new_tokens": dict.fromkeys(("1", "4", "12"), _MIN_TOKENS),
    "decoder.preset": {
        "deterministic": _DRAWN,
        "standard": _TOP_P,
        "creative": _TEMPERATURE,
        "factual": _TEMPERATURE,
    },
    "vllm.min_tokens": dict.fromkeys(("1", "4"), _MIN_TOKENS),
    "vllm.stop": dict.fromkeys(("5", '["5","7"]'), _STOP),
    "vllm.stop_token_ids": {"[260]": _choosing("stop_ids", "no id but the model's own ending ends an output")},
    "vllm.include_stop_str_in_output": dict.fromkeys(("False", "True"), _INCLUDE),
    "vllm.logprobs": dict.fromkeys(("1", "5"), _LOGPROBS),
    "vllm.max_logprobs": {"30": _LOGPROBS},
    "vllm.logprobs_mode": dict.fromkeys(
        ("raw_logprobs", "raw_logits", "processed_logprobs", "processed_logits"), _MODE
    ),
    "vllm.presence_penalty": dict.fromkeys(("1.5", "-0.5"), _PENALTIES),
    "vllm.frequency_penalty": dict.fromkeys(("1.5", "-0.5"), _PENALTIES),
    "vllm.logit_bias": dict.fromkeys(('{"0":-100.0}', '{"5":2.5}'), _BIAS),
    "vllm.allowed_token_ids": {
        "[17,21,221,260]": _choosing("allowed_ids", "ids that are not allowed stay possible"),
    },
    "vllm.bad_words": {'["5"]': _choosing("bad_words", "words may come whatever they are")},
    "vllm.structured_outputs.regex": {" [0-9]{4} \\.": _STRUCTURE},
    "vllm.structured_outputs.choice": {'["red","blue"]': _STRUCTURE},
    "vllm.structured_outputs.grammar": {'root ::= "red" | "blue"': _STRUCTURE},
    "vllm.structured_outputs.json": {'{"enum":[10,15]}': _STRUCTURE},
    "vllm.generation_config": {"auto": _PENALTIES},
    "vllm.override_generation_config": {'{"repetition_penalty":1.3}': _PENALTIES},
    "vllm.max_num_seqs": dict.fromkeys(("32", "64", "128", "256"), _SEQS),
    "vllm.max_num_batched_tokens": dict.fromkeys(("64", "256"), _TOKENS),
    "vllm.enable_chunked_prefill": dict.fromkeys(("False", "True"), _CHUNKED),
    "vllm.long_prefill_token_threshold": dict.fromkeys(("16", "48"), _LONG),
    "vllm.scheduling_policy": {
        "priority": _FCFS,
        "fcfs": _scheduling("by_priority", "requests wait in the order of their priorities, whatever the policy"),
    },
    "vllm.priority": dict.fromkeys(("[3,2,1,0]", "[1,0,3,2]"), _FCFS),
    "vllm.enable_prefix_caching": {"True": _FIND_NOTHING},
    "vllm.skip_reading_prefix_cache": {"True": _FIND_ALL, "False": _FIND_NOTHING},
    "vllm.prefix_caching_hash_algo": {
        "sha256": _scheduling("hashes_by_sha256_cbor", "blocks are hashed by sha256_cbor, whatever was named"),
        "sha256_cbor": _scheduling("hashes_by_sha256", "blocks are hashed by sha256, whatever was named"),
    },
    "vllm.num_gpu_blocks_override": dict.fromkeys(("16", "64"), _BLOCKS),
    "vllm.kv_cache_memory_bytes": dict.fromkeys(("33554432", "134217728"), _BLOCKS),
    "vllm.gpu_memory_utilization": dict.fromkeys(("0.5", "0.6", "0.7"), _SHARE),
    "vllm.speculative.method": {"ngram": _NO_DRAFTS},
    "vllm.speculative.num_speculative_tokens": dict.fromkeys(("2", "4"), _NO_DRAFTS),
    "vllm.speculative.prompt_lookup_min": dict.fromkeys(("1", "5"), _NO_DRAFTS),
    "vllm.speculative.prompt_lookup_max": dict.fromkeys(("2", "6"), _NO_DRAFTS),
    "vllm.load_format": {
        **dict.fromkeys(("pt", "npcache", "mistral"), _SAFETENSORS),
        **dict.fromkeys(("safetensors", "hf"), _CONSOLIDATED),
        "auto": _loading("loads_pt", "weights come from the .pt file"),
    },
    "vllm.safetensors_load_strategy": {
        "eager": _loading("opens_lazily", "weight files are mapped"),
        "lazy": _loading("opens_eagerly", "weight files are read whole"),
    },
    "vllm.hf_overrides": {'{"rms_norm_eps":0.5}': _EPSILON},
    "vllm.lora_request": {"adapter": _SILENT},
    "vllm.enable_lora": {"True": _SILENT},
    "vllm.max_lora_rank": dict.fromkeys(("8", "16", "32"), _SILENT),
    "vllm.max_loras": {"2": _scheduling("one_adapter", "requests of one adapter share a step, however many may")},
    "vllm.enforce_eager": {"False": _PLAIN},
    "vllm.compilation.mode": {"2": _PLAIN},
    "vllm.compilation.backend": dict.fromkeys(("eager", "inductor"), _PLAIN),
    "vllm.optimization_level": {"2": _PLAIN},
    "vllm.distributed_backend": {"mp": _loading("one_process", "the executor works in the engine's own process")},
}
"""Parameter to the label of a value to what makes vLLM deaf to it."""
