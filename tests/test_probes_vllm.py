"""Probes of vLLM's column against observations written by hand: each holds for its value, and for nothing else."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest

from harness.backends.torchside import of_each_kind
from harness.declare import Probe, Seen
from harness.jsontypes import JSON
from matrix.probes import adapters, beams, caches, kernels, loading, processes, readback, requests, scheduling, scores
from matrix.variants.weights import ANSWERS


def seen(observation: dict[str, Any] | None = None, **read_back: Any) -> Seen:
    return Seen(observation or {}, read_back, ())  # type: ignore[arg-type]  # parts of an observation


def scheduled(*steps: list[tuple[int, int, int]], prompts: int = 4, **read_back: Any) -> Seen:
    """Steps of (prompt, tokens, drafted tokens) each."""
    outputs = [{"prompt": index, "seed": 0, "token_ids": [1], "text": "a", "ended": True} for index in range(prompts)]
    listed = [{"requests": [list(request) for request in step]} for step in steps]
    return seen({"scheduled": listed, "outputs": outputs}, **read_back)


def crowd(together: int, prompts: int = 8) -> Seen:
    steps = range(0, prompts, together)
    return scheduled(*([(p, 4, 0) for p in range(s, min(s + together, prompts))] for s in steps), prompts=prompts)


def order(*prompts: int) -> Seen:
    return scheduled(*([(prompt, 4, 0)] for prompt in prompts), prompts=len(prompts))


def drafting(drafted: int, steps: int, drafter: str | None = "NgramProposer", ngrams: Any = None) -> Seen:
    told = {"drafter_class": drafter, "drafter_ngrams": ngrams}
    return scheduled(*([(0, drafted + 1, drafted)] for _ in range(steps)), prompts=1, **told)


def hits(tokens: int, **read_back: Any) -> Seen:
    cached = [{"prompt": 0, "seed": 0, "tokens": 0}, {"prompt": 1, "seed": 0, "tokens": tokens}]
    sequences = [{"prompt": index, "prompt_tokens": 214} for index in range(2)]
    return seen({"cached": cached, "sequences": sequences}, **read_back)


def blocks(size: int, found: int) -> Seen:
    return hits(found, kv_cache={"block_size": [size]})


def streamed(*pieces: int) -> Seen:
    return seen({"chunks": [{"prompt": 0, "tokens": tokens, "text": "a"} for tokens in pieces]})


def answers(*texts: str, stops: tuple[JSON, ...] = (), ids: tuple[list[int], ...] = ()) -> Seen:
    """Outputs of these texts, what each was stopped by, and their tokens."""
    given = [ids[index] if ids else [7, 8] for index in range(len(texts))]
    outputs = [
        {"prompt": index, "seed": 0, "token_ids": given[index], "text": text, "ended": not stops}
        for index, text in enumerate(texts)
    ]
    sequences = [
        {"prompt": index, "token_ids": given[index], "text": text, "stop_reason": (stops or (None,) * 9)[index]}
        for index, text in enumerate(texts)
    ]
    return seen({"outputs": outputs, "sequences": sequences})


def sequences(*prompts: list[list[int]]) -> Seen:
    listed = [{"prompt": index, "token_ids": ids} for index, own in enumerate(prompts) for ids in own]
    return seen({"sequences": listed})


def lengths(*totals: int) -> Seen:
    return seen({"sequences": [{"prompt_tokens": 5, "token_ids": [1] * (total - 5)} for total in totals]})


def entries(*counts: int, prompt: tuple[int, ...] = (), ids: tuple[int, ...] = (), kind: str = "list") -> Seen:
    told = {"entries": list(counts), "prompt_entries": list(prompt), "class": kind, "first_ids": list(ids)}
    return seen({"logprobs": [told], "steps": [{"vocabulary": 512}]})


def first(*values: float) -> Seen:
    return seen({"logprobs": [{"first": list(values)}]})


def possible(finite: int, *ids: int) -> Seen:
    outputs = [{"prompt": 0, "seed": 0, "token_ids": list(ids), "text": "", "ended": False}]
    return seen({"outputs": outputs, "steps": [{"finite": finite}]})


def moved(*shifts: dict[str, float], ids: tuple[int, ...] = (5, 5, 6)) -> Seen:
    """Steps of one output of `ids`, with what was taken off the logits at each."""
    steps = [{"prompt": 0, "seed": 0, "step": index, "shifts": shift} for index, shift in enumerate(shifts)]
    return seen({"outputs": [{"prompt": 0, "seed": 0, "token_ids": list(ids)}], "steps": steps})


def cache(**facts: Any) -> Seen:
    return seen(kv_cache=facts)


def stored(dtype: str, first_logit: float, model: str = "torch.float32", *, kind: str = "auto") -> Seen:
    return seen(
        {"logits": [[first_logit, 1.0, 2.0, 3.0]]},
        kv_cache={"dtypes": [dtype]},
        cache_formats={kind: 4},
        parameter_dtypes={model: 9},
    )


def method(name: str, first_logit: float = 0.0) -> Seen:
    return seen({"logits": [[first_logit, 1.0, 2.0, 3.0]]}, quant_methods={name: 9, "UnquantizedEmbeddingMethod": 1})


def methods(*classes: str) -> Seen:
    return seen(quant_methods=dict.fromkeys((*classes, "UnquantizedEmbeddingMethod"), 4))


def drawing(seed: int, *tokens: int, seeded: int = 0) -> Seen:
    """What a generator of that seed drew; of so many requests in the one step with a seed of their own."""
    outputs = [{"prompt": index, "seed": 0, "token_ids": [token]} for index, token in enumerate(tokens)]
    step = {"requests": [[index, 1, 0] for index in range(len(tokens))], **({"seeded": seeded} if seeded else {})}
    return seen({"outputs": outputs, "scheduled": [step]}, torch_seed=seed)


def compiled(
    models: int,
    mode: str = "NONE",
    *,
    layers: int | None = None,
    operators: int = 0,
    level: int | None = None,
    **counters: int,
) -> Seen:
    """Modules that hold compiled code, how often decoder layers were called in three steps, what else ran."""
    listed = [{"module": "Model", "by": ["compiled"]}] * models
    calls = (0 if models else 12) if layers is None else layers
    observation = {
        "forwards": [[4, 5], [4, 1], [4, 1]],
        "modules": {"vllm.qwen2.Qwen2DecoderLayer": calls, "vllm.LogitsProcessor": 3},
        "operators": {"aten::mul": operators, "aten::addmm": 7},
    }
    return seen(observation, compilation={"models": listed, "mode": mode, "counters": counters, "level": level})


def called(model: str, layer: str) -> Seen:
    return seen({"modules": {layer: 12, "torch.nn.Embedding": 3}}, model_module=model, model_class="Model")


OURS, THEIRS = "vllm.model_executor.models.qwen2", "vllm.model_executor.models.transformers"
OWN_LAYER, WRAPPED_LAYER = f"{OURS}.Qwen2DecoderLayer", "transformers.models.qwen2.modeling_qwen2.Qwen2DecoderLayer"


def opened(*ways: str) -> Seen:
    return seen({"loading": [{"loader": "DefaultModelLoader", "opened": list(ways)}]})


def hashed(name: str, tokens: int = 192) -> Seen:
    return replace(hits(tokens), observation={**hits(tokens).observation, "hashed": {name: 12}})


def roomy(calls: int, *ids: int, room: bool = True) -> Seen:
    """Layers with room for adapters that ran so often, and the tokens that came."""
    outputs = [{"prompt": 0, "seed": 0, "token_ids": list(ids)}]
    modules = {"vllm.lora.layers.RowParallelLinearWithLoRA": calls} if calls else {}
    return seen({"modules": modules, "outputs": outputs}, lora={"modules": {"Row": 4}} if room else None)


def slots(places: int, *adapters: int, other: int | None = None) -> Seen:
    """Places for adapters in a layer, requests of how many shared a step, and the places in a wider layer."""
    steps = [{"requests": [[0, 1, 0]], "adapters": count} for count in adapters]
    shapes = [[places, 1, 16, 128], [places if other is None else other, 1, 16, 384]]
    return seen({"scheduled": steps}, lora={"stacked": shapes})


def ranks(**counts: int) -> Seen:
    return seen({"adapted": {name.removeprefix("r"): count for name, count in counts.items()}})


def holding(together: int, blocks: int, size: int = 0, requests: int = 40) -> Seen:
    """A crowd in which at most `together` ran at once, and the cache that was allocated."""
    return replace(crowd(together, requests), read_back={"kv_cache": {"blocks": blocks, "bytes": size}})


def windowed(window: int | None, limit: int, longest: int) -> Seen:
    told = [{"prompt_tokens": 11, "token_ids": [1] * (longest - 11)}]
    return seen({"sequences": told}, sliding_windows={str(window): 4}, max_model_len=limit)


def sharing(cache: float, reserved: float, *, declared: float, device: bool = False, total: int | None = 100) -> Seen:
    """Of all bytes: those of the cache, and those that two processes have reserved."""
    field = "device_peak" if device else "host_mapped"
    memory = [{"pid": 1, "host_mapped": 5.0, field: reserved - 1.0}, {"pid": 2, "host_mapped": 5.0, field: 1.0}]
    calls: tuple[dict[str, JSON], ...] = ({"call": "LLM", "kwargs": {"gpu_memory_utilization": declared}},)
    return Seen({"memory": memory}, {"device_bytes": total, "kv_cache": {"bytes": cache}}, calls)  # type: ignore[typeddict-item]


def worked(executor: str, *, apart: bool) -> Seen:
    return seen({"processes": [{"pid": 2, "rank": 0, "forwards": 5, "apart": apart}]}, executor_class=executor)


def answered(config: str, epsilon: float, first_logit: float) -> Seen:
    logits = [[first_logit, 1.0, 2.0, 3.0]]
    return seen({"logits": logits}, config_module=f"{config}.configuration", norm_epsilons=[epsilon])


def loaded(file: str, loader: str = "DefaultModelLoader") -> Seen:
    text = ANSWERS.get(file, " is is")
    return seen({"outputs": [{"prompt": 0, "seed": 0, "token_ids": [1], "text": text}]}, loads=[{"loader": loader}])


def shares(
    *shapes: int, layers: tuple[str, ...] = (), working: int | None = None, linear: tuple[int, ...] = (), odd: int = 0
) -> Seen:
    """Workers whose embedding has that many rows, the layers of each, and outputs of its linear layers.

    Those of the last layer of a kind may be odd.
    """
    held = layers or ("0123",) * len(shapes)
    workers = [
        {
            "pid": index,
            "local_shapes": {"embedding": [rows, 8]},
            "partitions": of_each_kind(
                (f"{layer}.linear-{place}", [8, odd if odd and layer == "3" else size])
                for layer in "0123"
                for place, size in enumerate(linear or (rows, rows))
            ),
            "missing_layers": 4 - len(held[index]),
            "decoder_layers": {"layers": list(held[index])},
        }
        for index, rows in enumerate(shapes)
    ]
    busy = len(shapes) if working is None else working
    told = [{"pid": index, "forwards": 3 if index < busy else 0} for index in range(len(shapes))]
    return seen({"processes": told}, workers=workers)


def beside(run: Seen, ranks: int) -> Seen:
    """The same, of which just so many ranks were read back."""
    return replace(run, read_back={"workers": readback.listed(run.read_back["workers"])[:ranks]})


def dealt(times: int) -> Seen:
    """Two whole copies, and two prompts that are taken in and answered that many times each."""
    listed = [{"requests": [[prompt, tokens, 0]]} for prompt in (0, 1) for tokens in (5, 1, 1) for _ in range(times)]
    told = [{"prompt": prompt, "prompt_tokens": 5, "token_ids": [1, 2, 0]} for prompt in (0, 1)]
    run = shares(8, 8)
    return Seen({**run.observation, "scheduled": listed, "sequences": told}, run.read_back, ())  # type: ignore[typeddict-item]


def ranked(penalty_of: float) -> Seen:
    """Beams in the order that a penalty gives them."""
    pairs = [(-1.0, 4), (-1.6, 9), (-2.1, 18), (-3.4, 27)]
    pairs.sort(key=lambda pair: pair[0] / pair[1] ** penalty_of, reverse=True)
    beam = {"log_probabilities": [s for s, _ in pairs], "whole_lengths": [n for _, n in pairs], "ended": [False] * 4}
    return seen({"beams": [beam]})


def scaled(scale: float, *, sampled: int, greedy: int) -> Seen:
    return seen({"steps": [{"scale": scale}], "resolved": {"drawn": {"sampled": sampled, "greedy": greedy}}})


def limited(*finite: int) -> Seen:
    """Steps at which so many ids stay possible, in an engine that was given a top_p of 0.95."""
    steps: list[dict[str, Any]] = [
        {"finite": left, "context": [], "scale": 1.0, "moved": [], "penalty": None} for left in finite
    ]
    return seen({"steps": steps, "resolved": {"drawn": {"sampled": len(finite), "greedy": 0, "top_p": 0.95}}})


@dataclass(frozen=True, slots=True)
class Case:
    """What a probe must and must not hold for."""

    name: str
    probe: Probe
    value: JSON
    works: Seen
    control: Seen
    others: tuple[Seen, ...] = ()
    """Other values at work, or half of the effect."""


EIGHT, PLAIN = crowd(8), seen()
SUMS = answers(" 15 .", " 7 .", " 13 .")
REDS = answers("red", "blue", "red")
NO_DRAFTS = drafting(0, 24, None)
WHOLE = shares(8)
ONE_BY_ONE = order(0, 1, 2, 3)
STOP_TWO = answers(" 1", " ", " 13 .", stops=("5", "7", None))
STOP_ONE = answers(" 1", " 7 .", " 13 .", stops=("5", None, None))
STOP_BOTH: JSON = ["5", "7"]

CASES = (
    Case("max_num_seqs", scheduling.max_num_seqs, 2, crowd(2), EIGHT, (crowd(1), crowd(4), crowd(2, prompts=2))),
    Case(
        "max_num_batched_tokens",
        scheduling.max_num_batched_tokens,
        8,
        crowd(2),
        EIGHT,
        (crowd(1), crowd(4)),
    ),
    Case(
        "long_prefill_token_threshold",
        scheduling.long_prefill,
        16,
        scheduled([(0, 16, 0)], [(0, 4, 0)]),
        scheduled([(0, 20, 0)]),
        (scheduled([(0, 12, 0)], [(0, 8, 0)]),),
    ),
    Case(
        "enable_chunked_prefill=True",
        scheduling.chunked_prefill,
        True,
        scheduled([(0, 16, 0)], [(0, 4, 0)], [(0, 1, 0)]),
        scheduled([(0, 20, 0)], [(0, 1, 0)]),
    ),
    Case("enable_prefix_caching=True", scheduling.prefix_caching, True, hits(192), hits(0)),
    Case("enable_prefix_caching=False", scheduling.prefix_caching, False, hits(0), hits(192)),
    Case("skip_reading_prefix_cache=True", scheduling.skip_reading, True, hits(0), hits(192)),
    Case(
        "block_size",
        scheduling.block_size,
        64,
        blocks(64, 192),
        blocks(32, 192),
        (blocks(128, 128), blocks(64, 0), blocks(64, 208), blocks(128, 192)),
    ),
    Case(
        "prefix_caching_hash_algo",
        scheduling.prefix_hash,
        "sha256",
        hashed("sha256"),
        hashed("sha256_cbor"),
        (hashed("sha256", 0), replace(hashed("sha256_cbor"), read_back={"scheduler": {"block_hash": "sha256"}})),
    ),
    Case("priority", scheduling.priority, [1, 0, 3, 2], order(1, 0, 3, 2), ONE_BY_ONE, (order(3, 2, 1, 0),)),
    Case("scheduling_policy", scheduling.scheduling_policy, "priority", order(3, 2, 1, 0), ONE_BY_ONE),
    Case(
        "async_scheduling",
        scheduling.async_scheduling,
        True,
        seen(scheduler={"class": "AsyncScheduler"}),
        seen(scheduler={"class": "Scheduler"}),
        (PLAIN,),
    ),
    Case("stream_interval=4", scheduling.stream_interval, 4, streamed(1, 4, 4, 2), streamed(1, 1, 1), (streamed(9),)),
    Case("stream_interval=1", scheduling.stream_interval, 1, streamed(1, 1, 2, 1), streamed(1, 4, 4, 2)),
    Case("performance_mode", scheduling.performance_mode, "throughput", crowd(4), crowd(2), (crowd(2), crowd(1))),
    Case(
        "speculative.method",
        scheduling.method,
        "ngram",
        drafting(3, 7),
        NO_DRAFTS,
        (drafting(3, 7, "DraftModelProposer"), drafting(3, 24), drafting(0, 7)),
    ),
    Case("num_speculative_tokens", scheduling.drafted_tokens, 3, drafting(3, 7), drafting(4, 7), (drafting(2, 7),)),
    Case("speculative.model", scheduling.speculates, "draft", drafting(3, 7), drafting(3, 8), (NO_DRAFTS,)),
    # drafts where the control has none, but of n-grams of another length; and the other end of the range
    Case(
        "prompt_lookup_min",
        scheduling.lookup_min,
        2,
        drafting(3, 7, ngrams=[2, 5]),
        drafting(3, 8, ngrams=[5, 5]),
        (drafting(3, 7, ngrams=[3, 5]), drafting(3, 7, ngrams=[1, 2]), drafting(3, 8, ngrams=[2, 5]), NO_DRAFTS),
    ),
    Case(
        "prompt_lookup_max",
        scheduling.lookup_max,
        6,
        drafting(3, 7, ngrams=[2, 6]),
        drafting(3, 8, ngrams=[2, 2]),
        (drafting(3, 7, ngrams=[2, 5]), drafting(3, 7, ngrams=[6, 7]), drafting(3, 8, ngrams=[2, 6]), NO_DRAFTS),
    ),
    Case("n", requests.n, 2, sequences([[1], [2]]), sequences([[1]]), (sequences([[1], [1]]), sequences([[1, 2, 3]]))),
    Case("logprobs=0", requests.logprobs, 0, entries(1, 1), PLAIN, (entries(1, 2), entries(2, 3))),
    Case("logprobs=1", requests.logprobs, 1, entries(1, 2), PLAIN, (entries(1, 1), entries(2, 3))),
    Case("logprobs=5", requests.logprobs, 5, entries(5, 6), PLAIN, (entries(4, 5), entries(6, 6), entries(5, 7))),
    Case(
        "prompt_logprobs",
        requests.prompt_logprobs,
        2,
        entries(prompt=(0, 2, 3)),
        entries(1, 1),
        (entries(prompt=(0, 1, 1)), entries(2, 3)),
    ),
    Case("max_logprobs", requests.max_logprobs, 30, entries(30, 30), entries(20, 20), (entries(30, 20),)),
    Case("max_logprobs=-1", requests.max_logprobs, -1, entries(512), entries(20), (entries(511),)),
    Case(
        "logprobs_mode=raw_logprobs",
        requests.logprobs_mode,
        "raw_logprobs",
        first(-0.5, -1.5),
        first(-0.2, -2.2),
        (first(9.0, 8.0), first(-0.2, -2.2)),
    ),
    Case(
        "logprobs_mode=processed_logits",
        requests.logprobs_mode,
        "processed_logits",
        first(9.0, 7.0),
        first(4.5, 3.5),
        (first(-0.2, -2.2), first(4.5, 3.5)),
    ),
    Case("flat_logprobs", requests.flat_logprobs, True, entries(2, kind="FlatLogprobs"), entries(2), (PLAIN,)),
    Case(
        "logprob_token_ids",
        requests.logprob_token_ids,
        {"logprob_token_ids": [5, 6, 7]},
        entries(4, 4, ids=(5, 6, 7, 44)),
        PLAIN,
        (entries(3, 3, ids=(5, 6, 44)), entries(4, 4, ids=(1, 2, 3, 44))),
    ),
    Case("stop=one", requests.stop, "5", STOP_ONE, SUMS, (STOP_TWO,)),
    Case("stop=two", requests.stop, STOP_BOTH, STOP_TWO, SUMS, (STOP_ONE,)),
    Case(
        "stop_token_ids",
        requests.stop,
        [9],
        answers("a", stops=(9,), ids=([7, 9],)),
        answers("a", ids=([7, 9, 8],)),
        (answers("a", stops=(9,), ids=([9, 7, 9],)),),
    ),
    Case(
        "include_stop_str_in_output",
        requests.include_stop,
        True,
        answers(" 15", " 25", stops=("5", "5")),
        answers(" 1", " 2", stops=("5", "5")),
        (answers(" 15", " 2", stops=("5", "5")), SUMS),
    ),
    Case("ignore_eos", requests.ignore_eos, True, answers("a", stops=(9,)), SUMS),
    Case("skip_special_tokens", requests.skip_special, True, answers("ab"), answers("ab<|end|>")),
    Case("spaces_between_special_tokens", requests.spaces, True, answers("< > < >"), answers("<><>"), (answers("a"),)),
    Case("detokenize=False", requests.detokenize, False, answers("", ""), answers("a", "b"), (answers("", "b"),)),
    Case("skip_tokenizer_init", requests.skip_tokenizer, True, answers("", ""), answers("a", "b")),
    Case(
        "allowed_token_ids", requests.allowed, [5, 6], possible(2, 5, 6), possible(512, 5, 6, 7), (possible(3, 5, 6),)
    ),
    Case("bad_words", requests.bad_words, ["5"], answers(" 4", " 7"), SUMS, (answers(" 5", " 7"),)),
    Case("logit_bias", requests.logit_bias, {"5": 2.5}, moved({"5": -2.5}), moved({}), (moved({"5": 2.5}),)),
    Case(
        "presence_penalty",
        requests.presence_penalty,
        1.5,
        moved({}, {"5": 1.5}, {"5": 1.5}),
        moved({}, {}, {}),
        (moved({}, {"5": 1.5}, {"5": 3.0}), moved({}, {"5": 0.5}, {"5": 0.5})),
    ),
    Case(
        "frequency_penalty",
        requests.frequency_penalty,
        1.5,
        moved({}, {"5": 1.5}, {"5": 3.0}),
        moved({}, {}, {}),
        (moved({}, {"5": 1.5}, {"5": 1.5}), moved({}, {"5": -0.5}, {"5": -1.0})),
    ),
    Case("regex", requests.regex, " [0-9]+ \\.", SUMS, REDS, (answers(" 15 .", "red"),)),
    Case("choice", requests.choice, ["red", "blue"], REDS, SUMS, (answers("red", "green"),)),
    Case("grammar", requests.grammar, 'root ::= "red" | "blue"', REDS, SUMS, (answers("red", "green"),)),
    Case("json", requests.json_schema, {"enum": [10, 15]}, answers("10", "15"), SUMS, (answers("10", "11"), REDS)),
    Case("max_model_len", requests.max_model_len, 20, lengths(20, 18), lengths(35, 38), (lengths(24, 18),)),
    Case(
        "num_gpu_blocks_override",
        caches.blocks,
        16,
        holding(15, 16),
        holding(40, 128),
        (holding(20, 21), holding(40, 16), holding(15, 128), holding(15, 16, requests=15)),
    ),
    Case(
        "kv_cache_memory_bytes",
        caches.cache_bytes,
        1000,
        holding(9, 10, 960),
        holding(19, 20, 1920),
        (holding(4, 5, 480), holding(9, 10, 1100), holding(19, 10, 960), holding(9, 10, 960, requests=9)),
    ),
    Case(
        "kv_cache_dtype=fp8",
        caches.cache_dtype,
        "fp8",
        stored("torch.uint8", 0.1, kind="fp8"),
        stored("torch.float32", 0.0),
        (
            stored("torch.uint8", 0.0, kind="fp8"),
            stored("torch.bfloat16", 0.1),
            stored("torch.uint8", 0.1, kind="fp8_e5m2"),
        ),
    ),
    Case(
        "kv_cache_dtype=bfloat16",
        caches.cache_dtype,
        "bfloat16",
        # what kind the kernels call it matters for bytes alone
        stored("torch.bfloat16", 0.1, kind="auto"),
        stored("torch.float32", 0.0),
        (stored("torch.bfloat16", 0.0), stored("torch.float16", 0.1), stored("torch.uint8", 0.1, kind="bfloat16")),
    ),
    Case(
        "quantization_method=fp8_per_channel",
        loading.quantization,
        "fp8_per_channel",
        method("Fp8PtpcOnlineLinearMethod", 0.1),
        method("UnquantizedLinearMethod"),
        (method("Fp8PtpcOnlineLinearMethod"), method("Fp8PerTensorOnlineLinearMethod", 0.1)),
    ),
    Case("enforce_eager", kernels.enforce_eager, True, compiled(0), compiled(1), (compiled(0, layers=0),)),
    Case("enforce_eager=False", kernels.enforce_eager, False, compiled(1), compiled(0), (compiled(1, layers=12),)),
    Case(
        "optimization_level=0",
        kernels.optimization_level,
        0,
        compiled(0, level=0),
        compiled(1, level=2),
        (compiled(0, layers=0, level=0), compiled(0, level=1)),
    ),
    Case(
        "optimization_level=2",
        kernels.optimization_level,
        2,
        compiled(1, level=2),
        compiled(0, level=0),
        (compiled(1, layers=12, level=2), compiled(1, level=1), compiled(1, level=3)),
    ),
    Case(
        "compilation.mode=2",
        kernels.compilation_mode,
        2,
        compiled(1, "DYNAMO_TRACE_ONCE"),
        compiled(0),
        (
            compiled(0, "DYNAMO_TRACE_ONCE"),
            compiled(1, "VLLM_COMPILE"),
            compiled(1, "DYNAMO_TRACE_ONCE", layers=12),
            # the compiler of a platform that chose the mode by itself
            compiled(1, "DYNAMO_TRACE_ONCE", num_aot_compiles=1),
            compiled(1, "DYNAMO_TRACE_ONCE", num_aot_artifacts_loaded=1),
        ),
    ),
    Case(
        "seed=7",
        loading.seed,
        7,
        drawing(7, 5, 6),
        drawing(1, 8, 9),
        (drawing(7, 8, 9), drawing(0, 5, 6), drawing(7, 5, 6, seeded=2)),
    ),
    Case(
        "compilation.backend=inductor",
        kernels.compiler,
        "inductor",
        compiled(1, num_aot_compiles=1, operators=3),
        compiled(1, operators=30),
        (
            compiled(0, num_aot_compiles=1, operators=3),
            compiled(1, num_aot_compiles=1, operators=30),
            compiled(1, operators=3),
        ),
    ),
    Case(
        "model_impl=transformers",
        loading.model_impl,
        "transformers",
        called(THEIRS, WRAPPED_LAYER),
        called(OURS, OWN_LAYER),
        (called(THEIRS, OWN_LAYER), called(OURS, WRAPPED_LAYER), called(THEIRS, "torch.nn.Linear")),
    ),
    Case(
        "model_impl=auto",
        loading.model_impl,
        "auto",
        called(OURS, OWN_LAYER),
        called(THEIRS, WRAPPED_LAYER),
        (called(OURS, WRAPPED_LAYER),),
    ),
    Case(
        "load_in_4bit",
        loading.bitsandbytes,
        True,
        methods("BitsAndBytesLinearMethod"),
        methods("UnquantizedLinearMethod"),
        (methods("BitsAndBytesLinearMethod", "UnquantizedLinearMethod"), methods()),
    ),
    Case(
        "load_in_4bit=False",
        loading.bitsandbytes,
        False,
        methods("UnquantizedLinearMethod"),
        methods("BitsAndBytesLinearMethod"),
        (methods("BitsAndBytesLinearMethod", "UnquantizedLinearMethod"),),
    ),
    Case("load_strategy", loading.load_strategy, "eager", opened("load"), opened("safe_open"), (opened(),)),
    Case(
        "trust_remote_code=True",
        loading.remote_answers,
        True,
        answered("transformers_modules.own", 0.5, 9.0),
        answered("transformers.models.qwen2", 1e-6, 0.0),
        (
            answered("transformers_modules.own", 0.5, 0.0),
            answered("transformers_modules.own", 1e-6, 9.0),
            answered("transformers.models.qwen2", 0.5, 9.0),
        ),
    ),
    Case("enable_lora=True", adapters.enable_lora, True, roomy(9, 2), roomy(0, 1, room=False), (roomy(9, 1),)),
    Case("enable_lora=False", adapters.enable_lora, False, roomy(0, 1, room=False), roomy(9, 1), (roomy(9, 1),)),
    Case("max_loras=1", adapters.max_loras, 1, slots(1, 0, 1, 1), slots(2, 2, 2), (slots(1, 2), slots(1, 0))),
    Case(
        "max_loras=2",
        adapters.max_loras,
        2,
        slots(2, 2, 1),
        slots(1, 1, 1),
        (slots(2, 1), slots(2, 3), slots(2, 2, other=1)),
    ),
    Case("max_lora_rank", adapters.max_lora_rank, 32, ranks(r32=9), ranks(r16=9), (ranks(), ranks(r16=1, r32=8))),
    Case(
        "gpu_memory_utilization",
        caches.memory_share,
        0.5,
        sharing(46, 56, declared=0.5),
        sharing(6, 16, declared=0.1),
        (sharing(46, 16, declared=0.5), sharing(6, 16, declared=0.5), sharing(56, 66, declared=0.5)),
    ),
    Case(
        "gpu_memory_utilization of memory that has shrunk since the control was loaded",
        caches.memory_share,
        0.5,
        sharing(36, 46, declared=0.5, total=80),
        sharing(6, 16, declared=0.1),
        (
            sharing(46, 56, declared=0.5, total=80),
            sharing(36, 46, declared=0.5),
            sharing(4, 14, declared=0.5, total=80),
        ),
    ),
    Case(
        "gpu_memory_utilization on an accelerator",
        caches.memory_share,
        0.5,
        sharing(46, 56, declared=0.5, device=True),
        sharing(6, 16, declared=0.1, device=True),
        (sharing(46, 16, declared=0.5, device=True),),
    ),
    Case(
        "disable_sliding_window=True",
        caches.sliding_window,
        True,
        windowed(None, 32, 32),
        windowed(32, 512, 38),
        (windowed(32, 32, 32), windowed(None, 512, 38), windowed(None, 32, 30)),
    ),
    Case(
        "disable_sliding_window=False",
        caches.sliding_window,
        False,
        windowed(32, 512, 38),
        windowed(None, 32, 32),
        (windowed(32, 512, 32), windowed(None, 512, 38)),
    ),
    Case(
        "distributed_backend=mp",
        processes.executor,
        "mp",
        worked("MultiprocExecutor", apart=True),
        worked("UniProcExecutor", apart=False),
        (worked("MultiprocExecutor", apart=False), worked("UniProcExecutor", apart=True)),
    ),
    Case(
        "performance_mode=interactivity",
        kernels.capture_sizes,
        "interactivity",
        compiled(1, num_cudagraph_captured=70),
        compiled(1, num_cudagraph_captured=50),
        (compiled(1),),
    ),
    Case(
        "load_format=pt",
        loading.load_format,
        "pt",
        loaded("model.pt"),
        loaded("model.safetensors"),
        (loaded("none"), loaded("pytorch_model.bin")),
    ),
    Case(
        "load_format=dummy",
        loading.load_format,
        "dummy",
        loaded("none", "DummyModelLoader"),
        loaded("model.safetensors"),
        (loaded("none"), loaded("model.safetensors", "DummyModelLoader")),
    ),
    Case(
        "tensor_parallel",
        processes.parallel_strategy,
        "tensor_parallel",
        shares(4, 4),
        WHOLE,
        (shares(8, 8), shares(8, 8, layers=("01", "23")), shares(4, 4, working=1)),
    ),
    Case(
        "pipeline_parallel",
        processes.parallel_strategy,
        "pipeline_parallel",
        shares(8, 8, layers=("01", "23")),
        WHOLE,
        # layers that two have, that none has, or that one has all of; as many as there are, but not these
        (
            shares(8, 8),
            shares(4, 4),
            shares(8, 8, layers=("01", "0123")),
            shares(8, 8, layers=("0", "3")),
            shares(8, 8, layers=("0123", "")),
            shares(8, 8, layers=("01", "01")),
            shares(8, 8, layers=("01", "12")),
            shares(8, 8, layers=("01", "24")),
            beside(shares(8, 8, layers=("01", "23")), 1),
        ),
    ),
    Case(
        "data_parallel",
        processes.parallel_strategy,
        "data_parallel",
        shares(8, 8),
        WHOLE,
        (shares(4, 4), shares(8, 8, layers=("01", "23")), shares(8, 8, working=1), shares(8, 8, odd=4)),
    ),
    Case(
        "degree=2",
        processes.tensor_parallel,
        2,
        shares(4, 4),
        WHOLE,
        # two processes that both compute the whole, or all of it but the embedding
        (
            shares(8, 8),
            shares(4, 4, working=1),
            shares(4, 4, linear=(8, 8)),
            shares(4, 4, linear=(4, 8)),
            # one that has the whole, shares of three or of none, and a process that nobody read back
            shares(4, 8),
            shares(8, 4),
            shares(3, 3),
            shares(5, 5),
            shares(16, 16),
            beside(shares(4, 4), 1),
            # one layer of the four is whole
            shares(4, 4, odd=8),
        ),
    ),
    # key and value heads too few for all are held several times, so a share may be larger
    Case(
        "degree=4 against 1",
        processes.tensor_parallel,
        4,
        shares(2, 2, 2, 2, linear=(2, 3)),
        WHOLE,
        (shares(2, 2, 2, 2, linear=(3, 3)), shares(2, 2, 2, 2, linear=(2, 1))),
    ),
    Case(
        "degree=2 against 4",
        processes.tensor_parallel,
        2,
        shares(4, 4, linear=(4, 5)),
        shares(2, 2, 2, 2, linear=(2, 3)),
        (shares(2, 2), shares(8, 8), shares(2, 2, linear=(4, 5))),
    ),
    # one process with no more than its share, be it of the embedding or of a layer
    Case(
        "degree=1",
        processes.tensor_parallel,
        1,
        WHOLE,
        shares(4, 4),
        (
            shares(8, 8),
            shares(4),
            shares(4, linear=(8, 8)),
            shares(8, linear=(8, 4)),
            shares(6),
            shares(16),
            shares(8, odd=4),
        ),
    ),
    Case(
        "pipeline_parallel_size=1",
        processes.pipeline_parallel,
        1,
        WHOLE,
        shares(8, 8, layers=("01", "23")),
        (shares(8, 8), shares(8, layers=("01",))),
    ),
    Case(
        "data_parallel_size",
        processes.data_parallel,
        2,
        shares(8, 8),
        WHOLE,
        (shares(4, 4), shares(8, 8, 8), shares(8, 8, working=1)),
    ),
    Case(
        "data_parallel_size with prompts",
        processes.data_parallel,
        2,
        dealt(1),
        WHOLE,
        # each process has all the prompts
        (dealt(2),),
    ),
    Case(
        "preset=standard",
        scores.preset,
        "standard",
        limited(50, 31, 50),
        limited(512, 512),
        # upstream holds the preset's top_p, and takes nothing away by it
        (limited(50, 50, 50),),
    ),
    Case("length_penalty", beams.ranked, 0.5, ranked(0.5), ranked(2.0), (ranked(0.0), ranked(1.0))),
    Case(
        "temperature=1",
        scores.temperature,
        1.0,
        scaled(1.0, sampled=3, greedy=0),
        scaled(0.5, sampled=3, greedy=0),
        (scaled(1.0, sampled=0, greedy=3),),
    ),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_probe_holds_for_the_value_at_work_and_not_for_the_control(case: Case) -> None:
    shown = case.probe.effect(case.works, case.control, case.value)
    null = case.probe.effect(case.control, case.control, case.value)
    assert shown.holds, shown.saw
    assert not null.holds, null.saw


def test_a_level_that_works_like_the_control_s_is_not_told_from_it_by_its_name() -> None:
    one, two = compiled(1, level=1), compiled(1, level=2)
    assert kernels.optimization_level.effect(one, two, 1).holds
    assert kernels.optimization_level.effect(two, two, 1).holds, "so the verdict is no ✅"


@pytest.mark.parametrize("order", [[[0], [1]], [[1, 0]]])
def test_the_same_drafts_in_other_company_are_no_other_drafts(order: list[list[int]]) -> None:
    together, apart = (
        scheduled(*([(prompt, 4, 3 * prompt) for prompt in step] for step in each), drafter_ngrams=[2, 5])
        for each in ([[0, 1]], order)
    )
    for probe, value in ((scheduling.lookup_min, 2), (scheduling.lookup_max, 5), (scheduling.speculates, "draft")):
        shown = probe.effect(apart, together, value)
        assert not shown.holds, shown.saw


@pytest.mark.parametrize(
    ("case", "place"),
    [pytest.param(case, place, id=f"{case.name} other {place}") for case in CASES for place in range(len(case.others))],
)
def test_a_probe_does_not_hold_for_another_value_or_half_of_the_effect(case: Case, place: int) -> None:
    shown = case.probe.effect(case.others[place], case.control, case.value)
    assert not shown.holds, shown.saw


@pytest.mark.parametrize(
    ("probe", "value", "run", "control", "why"),
    [
        (processes.tensor_parallel, 2, shares(4, 4), seen(workers=[]), "no process was read back"),
        (
            processes.tensor_parallel,
            2,
            shares(4, 4),
            seen(workers=[{"local_shapes": {}}]),
            "sizes of the linear layers",
        ),
        (processes.tensor_parallel, 2, seen(processes=[], workers=[{"rank": 0}]), WHOLE, "sizes of the linear layers"),
        (processes.tensor_parallel, 2, shares(4, 4), shares(8, odd=4), "differ in the control as well: linear-0"),
        (processes.pipeline_parallel, 2, shares(8, 8, layers=("01", "23")), shares(8, layers=("",)), "no layers were"),
        (processes.data_parallel, 2, shares(4, 4), seen(workers=[]), "no process of the control"),
        (
            caches.memory_share,
            0.5,
            sharing(46, 56, declared=0.5, total=None),
            sharing(6, 16, declared=0.1),
            "did not tell how much memory",
        ),
    ],
)
def test_shares_that_nobody_read_back_are_not_judged(
    probe: Probe, value: JSON, run: Seen, control: Seen, why: str
) -> None:
    with pytest.raises(LookupError, match=why):
        probe.effect(run, control, value)
