"""Which patch makes transformers on PyTorch deaf to which value.

Left out are values that nothing acts on, because upstream does as they say anyway, and what the harness does itself.
"""

from __future__ import annotations

from pathlib import Path

from harness.declare import Deaf
from matrix.deaf import Patches

_HERE = Path(__file__).parent


def _patch(file: str, function: str, says: str) -> Deaf:
    return Deaf(says, _HERE / f"{file}.py", function)


def _choosing(function: str, says: str) -> Deaf:
    return _patch("choosing", function, says)


def _running(function: str, says: str) -> Deaf:
    return _patch("running", function, says)


def _loading(function: str, says: str) -> Deaf:
    return _patch("loading", function, says)


_FLOAT32 = _loading("loads_as_float32", "weights stay in float32")
_SEED = _choosing("seed", "no generator is seeded")
_LENGTH = _choosing("max_length", "the length ends an output 24 tokens late")
_LIKELIEST = _choosing("draws_the_likeliest", "what should be drawn is the likeliest id")
_DRAWN = _choosing("draws_where_it_is_greedy", "greedy decoding draws an id")
_TEMPERATURE = _choosing("temperature", "the temperature divides nothing")
_TOP_K = _choosing("top_k", "no id is left out for its rank")
_TOP_P = _choosing("top_p", "no id is left out for the probability before it")
_MIN_P = _choosing("min_p", "no id is left out for its small probability")
_REPETITION = _choosing("repetition_penalty", "ids of the context lose nothing")
_MIN_NEW = _choosing("min_new_tokens", "the ending is possible from the first token on")
_ONE_BEAM = _choosing("beams_that_are_one", "all beams follow the best one")
_BY_LENGTH = _choosing("length_penalty_is_one", "beam scores are divided by the length itself")
_BY_NOTHING = _choosing("length_penalty_is_none", "beam scores are divided by nothing")
_EARLY = _choosing("early_stopping", "the search goes by upstream's default")
_NGRAMS = _choosing("no_repeat_ngram", "n-grams may come again")
_FOUR = _loading("four_bits", "layers of four bits compute with the weights as they were")
_EIGHT = _loading("eight_bits", "layers of eight bits compute with the weights as they were")
_WHOLE = _loading("tensor_parallel", "each rank keeps the whole of every weight")
_INDUCTOR = _running("compiles_with_inductor", "another compiler than the default is not heard of")
_IN_MEMORY = _loading("placement", "everything stays in memory")
_IN_FLOAT32 = _loading("computes_in_float32", "layers of four bits compute in float32")
_DRAFTS = _choosing("prompt_lookup", "nothing is drafted")


def _beams(prefix: str) -> Patches:
    return {
        f"{prefix}.num_beams": dict.fromkeys(("2", "4"), _ONE_BEAM),
        f"{prefix}.length_penalty": {"0.0": _BY_LENGTH, **dict.fromkeys(("0.5", "1.0", "1.5"), _BY_NOTHING)},
        f"{prefix}.early_stopping": dict.fromkeys(("True", "never"), _EARLY),
        f"{prefix}.no_repeat_ngram_size": dict.fromkeys(("2", "3"), _NGRAMS),
    }


def _quantization(prefix: str) -> Patches:
    return {
        f"{prefix}.load_in_4bit": {"True": _FOUR},
        f"{prefix}.load_in_8bit": {"True": _EIGHT},
        f"{prefix}.bnb_4bit_quant_type": {
            "fp4": _loading("rounds_to_nf4", "weights are rounded to nf4"),
            "nf4": _loading("rounds_to_fp4", "weights are rounded to fp4"),
        },
        f"{prefix}.bnb_4bit_compute_dtype": {
            "float32": _loading("computes_in_bfloat16", "layers of four bits compute in bfloat16"),
            **dict.fromkeys(("float16", "bfloat16"), _IN_FLOAT32),
        },
        f"{prefix}.bnb_4bit_use_double_quant": {
            "False": _loading("rounds_constants", "quantisation constants are quantised too"),
            "True": _loading("leaves_constants", "quantisation constants are left as they are"),
        },
    }


_ON_DISK = (
    '{"lm_head":"cpu","model.embed_tokens":"cpu","model.layers":"disk","model.norm":"cpu","model.rotary_emb":"cpu"}'
)

PYTORCH: Patches = {
    "fp_precision": {
        "float32": _loading("loads_as_bfloat16", "weights stay in bfloat16"),
        "bfloat16": _FLOAT32,
        "float16": _FLOAT32,
    },
    "max_output_tokens": dict.fromkeys(("1", "4"), _LENGTH),
    "random_seed": dict.fromkeys(("0", "7"), _SEED),
    "passthrough_kwargs": {
        '{"suppress_tokens":[5,6,7]}': _choosing("suppress_tokens", "suppressed ids stay possible"),
    },
    "decoder.do_sample": {"True": _LIKELIEST, "False": _DRAWN},
    "decoder.temperature": dict.fromkeys(("0.5", "1.5"), _TEMPERATURE),
    "decoder.top_k": dict.fromkeys(("1", "5", "50"), _TOP_K),
    "decoder.top_p": dict.fromkeys(("0.0", "0.5", "0.9"), _TOP_P),
    "decoder.min_p": dict.fromkeys(("0.1", "1.0"), _MIN_P),
    "decoder.repetition_penalty": dict.fromkeys(("0.8", "1.3"), _REPETITION),
    "decoder.min_new_tokens": dict.fromkeys(("1", "4", "12"), _MIN_NEW),
    "decoder.preset": {"deterministic": _DRAWN, **dict.fromkeys(("standard", "creative", "factual"), _LIKELIEST)},
    "decoder.beam_search.enabled": {"True": _ONE_BEAM},
    **_beams("decoder.beam_search"),
    **_beams("pytorch"),
    "streaming": {"True": _choosing("streamer", "the streamer is told of the tokens once all are there")},
    "parallelism.strategy": {"tensor_parallel": _WHOLE},
    "parallelism.degree": {"2": _WHOLE},
    "quantization.quantization": {"True": _FOUR},
    **_quantization("quantization"),
    **_quantization("pytorch"),
    "pytorch.attn_implementation": {
        "eager": _running("eager_attention", "eager attention calls the fused kernel"),
        "sdpa": _running("fused_attention", "fused attention is computed in steps"),
        "flex_attention": _running("flex_attention", "flex attention calls the fused kernel"),
    },
    "pytorch.torch_compile": {"True": _running("compiles_nothing", "what should be compiled is handed back as it is")},
    "pytorch.torch_compile_mode": {
        "max-autotune-no-cudagraphs": _running("compiles_without_a_mode", "a mode is not heard of"),
    },
    "pytorch.torch_compile_backend": {
        "inductor": _running("compiles_with_eager", "the compiler is one that compiles nothing"),
        "eager": _INDUCTOR,
        "aot_eager": _INDUCTOR,
    },
    "pytorch.use_cache": {
        "False": _running("cache_is_used", "generation fills a cache, whatever it was asked"),
        "True": _running("cache_is_not_used", "generation fills no cache, whatever it was asked"),
    },
    "pytorch.cache_implementation": {
        "static": _running("static_cache", "layers of a static cache grow as those of a dynamic one"),
        "sliding_window": _running(
            "static_sliding_cache", "sliding layers of a static cache take memory of their own for each step"
        ),
        "paged": _running("paged_cache", "generation goes on without a paged cache"),
    },
    "pytorch.prompt_lookup_num_tokens": dict.fromkeys(("2", "5"), _DRAFTS),
    "pytorch.device_map": dict.fromkeys(("auto", "balanced", "sequential", _ON_DISK), _IN_MEMORY),
    "pytorch.max_memory": {'{"cpu":"1MB"}': _loading("memory_limit", "the policy knows no limit but the machine's")},
    "pytorch.revision": {"alt": _loading("revision", "files come from the main revision")},
    "pytorch.trust_remote_code": {"True": _loading("remote_code", "code of a checkpoint is not trusted")},
}
