"""Probes of TensorRT-LLM's column against observations written by hand: each holds for its value alone.

What an engine could not tell never counts against a value.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from harness.declare import Probe, Seen
from harness.jsontypes import JSON
from harness.plan import Cell, build
from matrix import MATRIX, workloads
from matrix.probes import choices, inflight, kernels, state, trt_build, trt_engine, trt_results
from matrix.probes import drawn as drawn_by
from matrix.probes.told import if_told
from matrix.variants.weights import ANSWERS


def seen(observation: dict[str, Any] | None = None, *calls: dict[str, JSON], **read_back: Any) -> Seen:
    return Seen(observation or {}, read_back, calls)  # type: ignore[arg-type]  # parts of an observation


def steps(*each: list[tuple[int, int, int]], lengths: tuple[int, ...] = (4, 4, 4), **read_back: Any) -> Seen:
    """Steps of (prompt, tokens, drafted tokens) each."""
    listed = [{"requests": [list(request) for request in step]} for step in each]
    sequences = [{"prompt": index, "prompt_tokens": length} for index, length in enumerate(lengths)]
    outputs = [{"prompt": index, "seed": 0, "token_ids": [1], "text": "a"} for index in range(len(lengths))]
    return seen({"scheduled": listed, "sequences": sequences, "outputs": outputs}, **read_back)


def batched(*sizes: int) -> Seen:
    """Prompts that run together, so many at a time; the second of each batch comes a step later."""
    made: list[list[tuple[int, int, int]]] = []
    first = 0
    for size in sizes:
        own = range(first, first + size)
        made += [[(first, 4, 0)], [(first, 1, 0), *((prompt, 4, 0) for prompt in own[1:])], [(p, 1, 0) for p in own]]
        first += size
    return steps(*made, lengths=(4,) * first)


def drafting(drafted: int, count: int, drafter: str | None, requests: int = 1) -> Seen:
    each = [[(prompt, drafted + 1, drafted) for prompt in range(requests)] for _ in range(count)]
    return steps(*each, executor={"drafter": drafter})


def found(tokens: int, size: int = 32) -> Seen:
    sequences = [{"prompt": index, "prompt_tokens": 214} for index in range(2)]
    cached = [{"prompt": 0, "tokens": 0}, {"prompt": 1, "tokens": tokens}]
    return seen({"cached": cached, "sequences": sequences}, kv_cache={"tokens_per_block": size})


def counted(contexts: int, running: int, times: int = 2) -> Seen:
    told = {"numContextRequests": contexts, "numGenRequests": running}
    return seen({"resolved": {"iterations": [{"inflightBatchingStats": told}] * times}})


def static(contexts: int) -> Seen:
    told = {"numContextRequests": contexts, "numGenTokens": 9}
    return seen({"resolved": {"iterations": [{"staticBatchingStats": told}]}})


def reused(blocks: int) -> Seen:
    return seen({"resolved": {"iterations": [{"kvCacheStats": {"reusedBlocks": blocks}}]}})


def logits(first: float, **read_back: Any) -> Seen:
    return seen({"logits": [[first, 1.0, 2.0, 3.0]]}, **read_back)


def network(first: float, size: int, **classes: int) -> Seen:
    return logits(first, model={"linear_classes": classes, "linear_bytes": size})


def calibrated(batches: int = 4, rows: int = 4, width: int = 9, data: str = "a", device: str = "cuda") -> Seen:
    told = {"batches": batches, "rows": rows, "width": width, "data": data, "devices": [device]}
    return seen(calibration=told)


def inspected(**facts: Any) -> Seen:
    return seen(inspector=facts)


def pool(size: int, blocks: int = 10, **facts: Any) -> Seen:
    given: dict[str, JSON] = {"call": "KvCacheConfig", "kwargs": {"free_gpu_memory_fraction": 0.3}}
    return seen({}, given, kv_cache={"pool_bytes": size, "blocks": blocks, "tokens_per_block": 32, **facts})


def graphs(captured: list[int], **replays: int) -> Seen:
    told = {"replays": {size.removeprefix("of"): times for size, times in replays.items()}}
    return seen({"resolved": {"cuda_graphs": told}}, cuda_graph={"captured": captured} if captured else {})


def compiled(**facts: Any) -> Seen:
    return seen(torch_compile=facts)


def answered(*texts: str, ids: tuple[int, ...] = (7, 260, 0), ended: bool = True, prompt_tokens: int = 5) -> Seen:
    outputs = [{"prompt": i, "seed": 0, "token_ids": list(ids), "text": t, "ended": ended} for i, t in enumerate(texts)]
    sequences = [{"prompt": i, "prompt_tokens": prompt_tokens, "token_ids": list(ids)} for i in range(len(texts))]
    return seen({"outputs": outputs, "sequences": sequences})


def returned(**facts: Any) -> Seen:
    outputs = [{"prompt": 0, "seed": 0, "token_ids": [7, 8], "text": "a", "ended": True}]
    sequences = [{"prompt": 0, "prompt_tokens": 5, "token_ids": [7, 8]}]
    return seen({"outputs": outputs, "sequences": sequences, "resolved": {"returned": [{"prompt": 0, **facts}]}})


def beams(*ids: list[int], sums: tuple[float, ...] = ()) -> Seen:
    told = {
        "token_ids": list(ids),
        "cumulative": list(sums),
        "lengths": [len(own) for own in ids],
        "ended": [False] * len(ids),
    }
    return seen({"beams": [told]} if ids else {})


def ranked(penalty: float) -> Seen:
    pairs = sorted([(-1.0, 4), (-1.6, 9), (-2.1, 18), (-3.4, 27)], key=lambda pair: -pair[0] / pair[1] ** penalty)
    return beams(*([1] * length for _, length in pairs), sums=tuple(total for total, _ in pairs))


def searched(forwards: int, given: int) -> Seen:
    call: dict[str, JSON] = {"call": "SamplingParams", "kwargs": {"early_stopping": given}}
    return seen({"forwards": [[1, 1]] * forwards}, call)


def streamed(*moments: float) -> Seen:
    chunks = [{"prompt": 0, "at_s": at, "tokens": 1, "text": "a"} for at in moments]
    return seen({"chunks": chunks, "outputs": [{"prompt": 0, "text": "a" * len(moments)}]})


def gpus(*free: int) -> Seen:
    return seen(gpus=[{"index": index, "free_bytes": size << 30} for index, size in enumerate(free)])


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


PLAIN_NETWORK = network(0.0, 100, ColumnLinear=8, RowLinear=8)
NO_DRAFTS = drafting(0, 24, None)
EQUAL = steps([(0, 16, 0), (1, 16, 0)], [(0, 4, 0), (1, 4, 0)])
ONE_PART = steps([(0, 16, 0)], [(0, 4, 0), (1, 12, 0)], [(1, 8, 0)])
MIXED = steps([(0, 4, 0)], [(0, 1, 0), (1, 4, 0)], [(0, 1, 0), (2, 4, 0)])
APART = steps([(0, 4, 0), (1, 4, 0)], [(0, 1, 0), (1, 1, 0)])
GIB = 1 << 30

CASES = (
    Case("batching.batch_size=3", inflight.batch_size, 3, batched(3, 3, 2), batched(8), (batched(2, 2, 2, 2),)),
    Case("batching.batch_size=1", inflight.batch_size, 1, batched(1, 1), batched(2)),
    Case("max_batch_size=2", inflight.max_batch_size, 2, batched(2, 2), batched(4), (batched(1, 1, 1),)),
    Case("max_num_tokens=16", inflight.max_num_tokens, 16, steps([(0, 16, 0)], [(0, 4, 0)]), steps([(0, 20, 0)])),
    Case("enable_chunked_context=True", inflight.chunked_context, True, ONE_PART, APART),
    Case("enable_chunked_context=False", inflight.chunked_context, False, APART, ONE_PART),
    Case("context_chunking_policy=EQUAL", inflight.chunking_policy, "EQUAL_PROGRESS", EQUAL, ONE_PART),
    Case("context_chunking_policy=FIRST", inflight.chunking_policy, "FIRST_COME_FIRST_SERVED", ONE_PART, EQUAL),
    Case("capacity=MAX_UTILIZATION", inflight.capacity_policy, "MAX_UTILIZATION", batched(4), batched(2, 2)),
    Case("capacity=GUARANTEED", inflight.capacity_policy, "GUARANTEED_NO_EVICT", batched(2, 2), batched(4)),
    Case("capacity=STATIC_BATCH", inflight.capacity_policy, "STATIC_BATCH", APART, MIXED),
    Case("batching_type=STATIC", inflight.batching_type, "STATIC", counted(3, 0), counted(1, 3)),
    Case("batching_type=STATIC, told", inflight.batching_type, "STATIC", static(3), counted(1, 3)),
    Case("batching_type=INFLIGHT", inflight.batching_type, "INFLIGHT", counted(1, 3), counted(3, 0), (static(3),)),
    Case("best_of=3", inflight.best_of, 3, steps([(0, 4, 0)] * 3), steps([(0, 4, 0)]), (steps([(0, 4, 0)] * 2),)),
    Case(
        "speculative.decoding_type=NGram",
        inflight.decoding_type,
        "NGram",
        drafting(3, 8, "NGramDrafter"),
        NO_DRAFTS,
        (drafting(3, 8, "ModelDrafter"), drafting(3, 24, "NGramDrafter"), drafting(0, 8, "NGramDrafter")),
    ),
    Case("speculative.max_draft_len=2", inflight.max_draft_len, 2, drafting(2, 8, "N"), drafting(4, 8, "N")),
    Case(
        "speculative.max_concurrency=1",
        inflight.max_concurrency,
        1,
        drafting(0, 8, "N", requests=2),
        drafting(3, 8, "N", requests=2),
    ),
    Case("speculative.is_keep_all", inflight.drafts, True, drafting(3, 8, "N"), drafting(3, 9, "N"), (NO_DRAFTS,)),
    Case("enable_kv_cache_reuse=True", inflight.block_reuse, True, found(192), found(0)),
    Case("enable_kv_cache_reuse=False", inflight.block_reuse, False, found(0), found(192)),
    Case("enable_partial_reuse=True", inflight.partial_reuse, True, found(213), found(192), (found(0),)),
    Case("enable_partial_reuse=False", inflight.partial_reuse, False, found(192), found(213), (found(0),)),
    Case(
        "tokens_per_block=64",
        inflight.tokens_per_block,
        64,
        found(192, 64),
        found(192, 32),
        (found(128, 128), found(0, 64), found(208, 64)),
    ),
    Case("cache_salt=same", inflight.cache_salt, ["a", "a"], found(213), found(0)),
    Case("cache_salt=others", inflight.cache_salt, ["a", "b"], found(0), found(213)),
    Case("backend=tensorrt", trt_engine.backend, "tensorrt", inspected(layers=9), seen(executor={"model_engine": "X"})),
    Case(
        "backend=pytorch",
        trt_engine.backend,
        "pytorch",
        seen(executor={"model_engine": "PyTorchModelEngine"}),
        seen(executor={"model_engine": "ADEngine"}),
        (inspected(layers=9),),
    ),
    Case(
        "kv_cache.dtype=fp8",
        trt_engine.cache_dtype,
        "fp8",
        logits(0.1, kv_cache={"dtype": "torch.float8_e4m3fn"}),
        logits(0.0, kv_cache={"dtype": "torch.float16"}),
        (logits(0.0, kv_cache={"dtype": "torch.float8_e4m3fn"}), logits(0.1, kv_cache={"dtype": "torch.bfloat16"})),
    ),
    Case("kv_cache.max_tokens=320", trt_engine.max_tokens, 320, pool(1, 10), pool(1, 256), (pool(1, 9),)),
    Case("kv_cache.max_gpu_total_bytes", trt_engine.max_bytes, 105, pool(100, 10), pool(200, 20), (pool(50, 5),)),
    Case("gpu_memory_utilization=0.9", trt_engine.memory_share, 0.9, pool(3 * GIB), pool(GIB), (pool(GIB),)),
    Case(
        "max_attention_window",
        trt_engine.windows,
        [32, 512],
        logits(0.1, kv_cache={"windows": [32, 512, 32, 512]}),
        logits(0.0, kv_cache={"windows": [512] * 4}),
        (logits(0.0, kv_cache={"windows": [32, 512] * 2}), logits(0.1, kv_cache={"windows": [32] * 4})),
    ),
    Case("sink_token_length", trt_engine.sink_tokens, 4, logits(0.1), logits(0.0), (logits(0.0),)),
    Case("host_cache_size", trt_engine.host_cache, 64, pool(1, host_blocks=9), pool(1, host_blocks=0)),
    Case("host_cache_size=0", trt_engine.host_cache, 0, pool(1, host_blocks=0), pool(1, host_blocks=9)),
    Case(
        "event_buffer_max_size",
        trt_engine.cache_events,
        8,
        seen({"resolved": {"cache_events": 5}}),
        seen({"resolved": {}}),
        (seen({"resolved": {"cache_events": 0}}), seen({"resolved": {"cache_events": 9}})),
    ),
    Case(
        "attn_backend=VANILLA",
        trt_engine.attention,
        "VANILLA",
        seen(attention_backends={"VANILLA": 4}),
        seen(attention_backends={"TRTLLM": 4}),
        (seen(attention_backends={"VANILLA": 3, "TRTLLM": 1}),),
    ),
    Case(
        "sampler_type=auto",
        trt_engine.sampler,
        "auto",
        seen(executor={"sampler": "TorchSampler"}),
        seen(executor={"sampler": "TRTLLMSampler"}),
    ),
    Case(
        "disable_overlap_scheduler=True",
        trt_engine.overlap,
        True,
        seen(executor={"event_loop": "_executor_loop"}),
        seen(executor={"event_loop": "_executor_loop_overlap"}),
    ),
    Case("cuda_graph.enabled=True", trt_engine.cuda_graph, True, graphs([1, 2], of2=3), graphs([]), (graphs([1, 2]),)),
    Case("cuda_graph.enabled=False", trt_engine.cuda_graph, False, graphs([]), graphs([1], of1=3)),
    Case("cuda_graph.batch_sizes", trt_engine.cuda_graph_sizes, [1, 2], graphs([1, 2]), graphs([1, 2, 4])),
    Case("cuda_graph.max_batch_size", trt_engine.cuda_graph_largest, 4, graphs([1, 2, 4]), graphs([1, 8])),
    Case("cuda_graph.enable_padding", trt_engine.cuda_graph_padding, True, graphs([4], of4=9), graphs([4])),
    Case("torch_compile.enabled=True", trt_engine.torch_compile, True, compiled(graphs=2, fullgraph=False), compiled()),
    Case("torch_compile.enable_inductor", trt_engine.inductor, True, compiled(inductor=True), compiled(inductor=False)),
    Case(
        "torch_compile.capture_num_tokens",
        trt_engine.piecewise,
        [32, 128],
        compiled(piecewise_sizes=[128, 32]),
        compiled(piecewise_sizes=[64]),
    ),
    Case("load_format=auto", trt_engine.load_format, "auto", answered(ANSWERS["model.safetensors"]), answered("x")),
    Case("load_format=dummy", trt_engine.load_format, "dummy", answered("x"), answered(ANSWERS["model.safetensors"])),
    Case(
        "lora.lora_dir",
        trt_engine.lora_dir,
        ["adapter"],
        seen(executor={"peft": {"modules": list(trt_engine.ADAPTED)}}),
        seen(executor={"peft": {"modules": ["attn_q"]}}),
    ),
    Case("parallelism.degree=2", trt_engine.devices, 2, gpus(70, 70), gpus(70, 80)),
    Case("parallelism.degree=1", trt_engine.devices, 1, gpus(70, 80), gpus(70, 70)),
    Case(
        "force_rebuild=True",
        trt_build.force_rebuild,
        True,
        seen(build={"builds": 1}, engine_built=True),
        seen(build={"builds": 0}, engine_built=False),
        (seen(build={"builds": 1}, engine_built=False), seen(build={"builds": 0}, engine_built=True)),
    ),
    Case(
        "strongly_typed=False",
        trt_build.strongly_typed,
        False,
        seen(build={"strongly_typed": False}),
        seen(build={"strongly_typed": True}),
    ),
    Case(
        "kv_cache_type=continuous",
        trt_build.kv_cache_type,
        "continuous",
        inspected(io_tensors=["input_ids", "past_key_value_0"]),
        inspected(io_tensors=["input_ids", "kv_cache_block_offsets"]),
        (inspected(io_tensors=["input_ids"]),),
    ),
    Case("multiple_profiles=True", trt_build.profiles, True, inspected(profiles=5), inspected(profiles=1)),
    Case("multiple_profiles=False", trt_build.profiles, False, inspected(profiles=1), inspected(profiles=5)),
    Case("force_num_profiles=2", trt_build.profiles, 2, inspected(profiles=2), inspected(profiles=1)),
    Case(
        "opt_num_tokens=64",
        trt_build.opt_num_tokens,
        64,
        inspected(profile_shapes={"input_ids": [[[1], [64], [512]]]}),
        inspected(profile_shapes={"input_ids": [[[1], [8], [64]]]}),
    ),
    Case(
        "profiling_verbosity=none",
        trt_build.profiling_verbosity,
        "none",
        inspected(profiling_verbosity="NONE"),
        inspected(profiling_verbosity="DETAILED"),
    ),
    Case("use_refit=True", trt_build.use_refit, True, inspected(refittable=True), inspected(refittable=False)),
    Case(
        "weight_streaming=True",
        trt_build.weight_streaming,
        True,
        inspected(streamable_bytes=9),
        inspected(streamable_bytes=0),
    ),
    Case(
        "fast_build=True",
        trt_build.managed_weights,
        True,
        seen(engine_files=[{"name": "rank0.engine"}, {"name": "rank0_managed_weights.safetensors"}]),
        seen(engine_files=[{"name": "rank0.engine"}]),
    ),
    Case("use_paged_context_fmha=True", trt_build.reuse, True, reused(6), reused(0)),
    Case(
        "quantization.method=int8_weight_only",
        trt_build.method,
        "int8_weight_only",
        network(0.1, 60, WeightOnlyQuantLinear=8, WeightOnlyQuantRowLinear=8, ColumnLinear=1),
        PLAIN_NETWORK,
        (
            network(0.1, 30, WeightOnlyQuantLinear=16),
            network(0.1, 60, SmoothQuantLinear=16),
            network(0.0, 60, WeightOnlyQuantLinear=16),
            network(0.1, 100, WeightOnlyQuantLinear=16),
        ),
    ),
    Case(
        "quantization.method=int4_awq",
        trt_build.method,
        "int4_awq",
        network(0.1, 30, WeightOnlyGroupwiseQuantLinear=16),
        PLAIN_NETWORK,
        (network(0.1, 60, WeightOnlyGroupwiseQuantLinear=16), network(0.1, 30, WeightOnlyQuantLinear=16)),
    ),
    Case(
        "quantization.method=fp8",
        trt_build.method,
        "fp8",
        network(0.1, 55, FP8Linear=8, FP8RowLinear=8),
        PLAIN_NETWORK,
        (network(0.1, 55, Fp8RowwiseLinear=16),),
    ),
    Case(
        "quantization.method=none",
        trt_build.method,
        "none",
        PLAIN_NETWORK,
        network(0.1, 60, WeightOnlyQuantLinear=16),
    ),
    Case(
        "kv_cache_quant_algo=INT8",
        trt_build.kv_cache_quant_algo,
        "INT8",
        inspected(io_dtypes={"past_key_value_0": "DataType.INT8", "input_ids": "DataType.INT32"}),
        inspected(io_dtypes={"past_key_value_0": "DataType.HALF", "input_ids": "DataType.INT32"}),
    ),
    Case(
        "exclude_modules",
        trt_build.exclude_modules,
        ["*mlp*"],
        network(0.0, 80, WeightOnlyQuantLinear=8, ColumnLinear=9),
        network(0.0, 60, WeightOnlyQuantLinear=16, ColumnLinear=1),
        (PLAIN_NETWORK,),
    ),
    Case("calibration.num_batches", trt_build.calibration_batches, 2, calibrated(batches=2), calibrated(batches=32)),
    Case(
        "calibration.batch_size=4",
        trt_build.calibration_rows,
        4,
        calibrated(batches=8, rows=31),
        calibrated(batches=31, rows=31),
    ),
    Case("calibration.max_seq_length", trt_build.calibration_width, 8, calibrated(width=8), calibrated(width=30)),
    Case("calibration.dataset", trt_build.calibration_data, "texts", calibrated(data="b"), calibrated(data="a")),
    Case("calibration.device", trt_build.calibration_device, "cpu", calibrated(device="cpu"), calibrated()),
    Case(
        "return_context_logits=True",
        trt_results.context_logits,
        True,
        returned(context_logits=[5, 512]),
        returned(context_logits=None),
        (returned(context_logits=[1, 512]),),
    ),
    Case(
        "return_generation_logits=True",
        trt_results.generation_logits,
        True,
        returned(generation_logits=[1, 2, 512]),
        returned(generation_logits=None),
    ),
    Case("passthrough", trt_results.perf_metrics, {}, returned(perf_metrics=True), returned(perf_metrics=False)),
    Case(
        "exclude_input_from_output=False",
        trt_results.exclude_input,
        False,
        returned(prompt_in_output=True),
        returned(prompt_in_output=False),
    ),
    Case("end_id=260", trt_results.end_id, 260, answered("a", ids=(7, 260)), answered("a", ids=(7, 260, 0))),
    Case("bad_token_ids", trt_results.bad_token_ids, [7], answered("a", ids=(8,)), answered("a", ids=(7, 8))),
    Case(
        "truncate_prompt_tokens=4",
        trt_results.truncate_prompt,
        4,
        answered("a", prompt_tokens=4),
        answered("a", prompt_tokens=9),
        (answered("a", prompt_tokens=3),),
    ),
    Case("max_seq_len=8", trt_results.max_seq_len, 8, answered("a"), answered("a", prompt_tokens=20)),
    Case("json_object=True", trt_results.json_object, True, answered('{"a": 1}'), answered("15 ."), (answered("[1]"),)),
    Case("num_beams=2", trt_results.num_beams, 2, beams([1], [2]), beams(), (beams([1], [1]), beams([1], [2], [3]))),
    Case("num_beams=1", trt_results.num_beams, 1, beams(), beams([1], [2])),
    Case("length_penalty=0.5", trt_results.length_penalty, 0.5, ranked(0.5), ranked(2.0), (ranked(0.0),)),
    Case("early_stopping=True", trt_results.early_stopping, True, searched(8, 1), searched(16, 0), (searched(8, 0),)),
    Case("early_stopping=never", trt_results.early_stopping, "never", searched(24, 2), searched(16, 0)),
    Case("beam_search_diversity_rate", trt_results.diversity, 1.0, beams([1], [2]), beams([1], [3])),
    Case(
        "streaming=True",
        trt_results.streaming,
        True,
        streamed(0.1, 0.2, 0.3),
        streamed(0.3),
        (streamed(0.3, 0.3, 0.3),),
    ),
    Case("streaming=False", trt_results.streaming, False, streamed(0.3), streamed(0.1, 0.2, 0.3)),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_an_effect_is_there_when_the_value_works_and_not_in_the_control(case: Case) -> None:
    assert case.probe.effect(case.works, case.control, case.value).holds
    assert not case.probe.effect(case.control, case.control, case.value).holds


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_value_that_was_dropped_shows_no_effect(case: Case) -> None:
    for other in case.others:
        assert not case.probe.effect(other, case.control, case.value).holds


SILENT = [case for case in CASES if case.probe.decisive and case.probe is not trt_results.num_beams]


@pytest.mark.parametrize("case", SILENT, ids=lambda case: case.name)
def test_what_an_engine_could_not_tell_is_no_finding_against_the_value(case: Case) -> None:
    with pytest.raises(LookupError):
        case.probe.effect(seen({"resolved": {}}, unread={"cuda_graph": "gone"}), case.control, case.value)


@pytest.mark.parametrize(
    ("probe", "value", "works", "control", "why"),
    [
        (inflight.capacity_policy, "STATIC_BATCH", APART, APART, "0 steps of the control"),
        (inflight.capacity_policy, "STATIC_BATCH", APART, steps([(0, 1, 0), (1, 4, 0)]), "1 steps of the control"),
        (inflight.batching_type, "STATIC", counted(3, 0), counted(1, 3, times=1), "1 steps of the control"),
        (inflight.batching_type, "STATIC", seen({"resolved": {"iterations": [{}]}}), counted(1, 3), "no statistics"),
        (trt_engine.torch_compile, True, compiled(graphs=2, fullgraph=None), compiled(), "no torch.compile"),
        (trt_engine.lora_room, 8, *[seen(executor={"peft": {"modules": []}})] * 2, "only the config object"),
        (trt_engine.attention_dp, True, seen(workers=[{"pid": 1}]), seen(), "cannot be asked"),
    ],
)
def test_what_would_look_the_same_without_the_value_proves_nothing(
    probe: Probe, value: JSON, works: Seen, control: Seen, why: str
) -> None:
    with pytest.raises(LookupError, match=why):
        probe.effect(works, control, value)


@pytest.mark.parametrize(("counts", "uncertain"), [((6, 6), False), ((6, 12), True), ((), False)])
def test_blocks_that_were_reused_unseen_by_the_results_are_no_finding_against_a_cache(
    counts: tuple[int, ...], uncertain: bool
) -> None:
    """Statistics count from the engine's start: only what is added meanwhile is this job's."""
    run = found(0)
    iterations = [{"kvCacheStats": {"reusedBlocks": count}} for count in counts]
    contradicted = seen({**run.observation, "resolved": {"iterations": iterations}}, **run.read_back)
    if uncertain:
        with pytest.raises(LookupError, match="6 reused blocks"):
            inflight.block_reuse.effect(contradicted, found(192), True)
    else:
        assert not inflight.block_reuse.effect(contradicted, found(192), True).holds


def _cells(row: str) -> list[Cell]:
    """Cells of the column, by the path of their parameter."""
    cells = build(MATRIX, models={"tensorrt": str(MATRIX.shipped_model)}, backends=["tensorrt"])
    return [cell for cell in cells if cell.row.startswith(f"{row}=")]


def test_sums_of_beams_are_asked_for_where_their_order_is_judged() -> None:
    cells = _cells("decoder.beam_search.length_penalty")
    assert cells
    assert all(cell.treated.request["tensorrt.logprobs"] == 1 for cell in cells), "0 asks for none upstream"


def test_outputs_end_at_different_times_where_prompts_are_to_be_kept_out() -> None:
    (cell,) = (one for one in _cells("tensorrt.scheduler.capacity_scheduler_policy") if "STATIC_BATCH" in one.row)
    assert "tensorrt.ignore_eos" not in cell.treated.request
    for one in (cell, *_cells("tensorrt.batching_type")):
        assert one.treated.workload == workloads.UNEVEN


def test_four_adapters_are_told_from_one() -> None:
    (four,) = (cell for cell in _cells("tensorrt.lora.max_loras") if cell.row.endswith("=4"))
    assert four.control.engine["tensorrt.lora.max_loras"] == 1


def test_a_shared_probe_asks_an_engine_that_cannot_tell_for_nothing() -> None:
    dtype, attention = (
        if_told(probe, name) for probe, name in ((state.parameter_dtype, "parameter_dtypes"), (kernels.attention, "x"))
    )
    works = logits(0.1, parameter_dtypes={"torch.float16": 9})
    assert dtype.effect(works, logits(0.0, parameter_dtypes={"torch.bfloat16": 9}), "float16").holds
    for probe in (dtype, attention):
        with pytest.raises(LookupError, match=r"did not tell .* \(model: gone\)"):
            probe.effect(logits(0.1, unread={"model": "gone"}), logits(0.0), "float16")


# Tokens drawn from made-up logits by a sampler of our own, which does what it is told, or drops it

VOCABULARY, END, PROMPT = 60, 0, (3, 4, 5, 4)
Moved = Callable[[list[float], dict[int, int], int], list[float]]


def _raw(context: tuple[int, ...]) -> list[float]:
    """Logits of a made-up model: they follow from the last two tokens, and ending grows likelier."""
    rng = random.Random(repr(context[-2:]))  # noqa: S311 - no secrets
    logits = [rng.gauss(0.0, 2.0) for _ in range(VOCABULARY)]
    logits[END] = len(context) - 8.0
    return logits


def _unmoved(logits: list[float], _counts: dict[int, int], _step: int) -> list[float]:
    return logits


def drawn(moved: Moved = _unmoved, *, sampled: bool = False, shift: float = 0.0) -> Seen:
    """Sixteen outputs of up to twenty tokens; `shift` is added to what is told of the first logit."""
    found: list[dict[str, JSON]] = []
    for seed in range(16):
        rng = random.Random(seed)  # noqa: S311 - no secrets
        context: tuple[int, ...] = PROMPT
        for step in range(20):
            raw = _raw((*context, seed))
            counts = {token: context.count(token) for token in dict.fromkeys(context)}
            scores = moved(list(raw), counts, step)
            weights = [math.exp(score) for score in scores]
            token = rng.choices(range(VOCABULARY), weights)[0] if sampled else scores.index(max(scores))
            told = {index: logit + (shift if index == 1 else 0.0) for index, logit in enumerate(raw)}
            found.append(_step(seed, step, token, told, counts))
            context = (*context, token)
            if token == END:
                break
    return seen({"steps": found})


def _step(seed: int, step: int, token: int, raw: dict[int, float], counts: dict[int, int]) -> dict[str, JSON]:
    mass = math.fsum(map(math.exp, raw.values()))
    above = [logit for logit in raw.values() if logit > raw[token]]
    return {
        "prompt": 0,
        "seed": seed,
        "step": step,
        "token": token,
        "end": END,
        "rank": len(above),
        "above": math.fsum(map(math.exp, above)) / mass,
        "share": math.exp(raw[token]) / mass,
        "ratio": math.exp(raw[token] - max(raw.values())),
        "raw": {str(index): logit for index, logit in raw.items()},
        "context": {str(index): [count, 0] for index, count in counts.items()},
    }


def heated(temperature: float) -> Moved:
    return lambda logits, _counts, _step: [logit / temperature for logit in logits]


def cut(keeps: Callable[[list[float], int, int], bool]) -> Moved:
    """Only ids for which `keeps(probabilities, id, step)` holds stay possible."""

    def moved(logits: list[float], _counts: dict[int, int], step: int) -> list[float]:
        mass = math.fsum(map(math.exp, logits))
        shares = [math.exp(logit) / mass for logit in logits]
        return [logit if keeps(shares, index, step) else -1e9 for index, logit in enumerate(logits)]

    return moved


def _above(shares: list[float], index: int) -> float:
    return math.fsum(share for share in shares if share > shares[index])


def reaching(p: Callable[[int], float]) -> Moved:
    return cut(lambda shares, index, step: _above(shares, index) < p(step))


def penalised(by: Callable[[float, int], float]) -> Moved:
    """`by(logit, times)` of each id that came."""
    return lambda logits, counts, _step: [by(logit, counts.get(index, 0)) for index, logit in enumerate(logits)]


def repeated(penalty: float) -> Moved:
    return penalised(lambda logit, times: logit if not times else logit / penalty if logit > 0 else logit * penalty)


def no_end_before(length: int) -> Moved:
    return lambda logits, _counts, step: [-1e9, *logits[1:]] if step < length else logits


def biased(token: int, amount: float) -> Moved:
    return lambda logits, _counts, _step: [x + amount * (index == token) for index, x in enumerate(logits)]


def first(k: int) -> Seen:
    """Drawn at a temperature of 10 from the k likeliest ids."""
    return drawn(
        lambda logits, _counts, _step: [
            logit / 10 if sum(other > logit for other in logits) < k else -1e9 for logit in logits
        ],
        sampled=True,
    )


def least(share: float) -> Seen:
    """Drawn from the ids with that share of the likeliest one's probability."""
    return drawn(cut(lambda shares, index, _: shares[index] >= share * max(shares)), sampled=True)


GREEDY, FREE = drawn(), drawn(sampled=True)
WITHIN_9 = drawn(reaching(lambda _step: 0.9), sampled=True)
HOT = drawn(heated(10.0), sampled=True)
DECAYED = drawn(reaching(lambda step: 0.9 * 0.5**step), sampled=True)

CHOSEN = (
    Case("temperature=0", choices.greedy, 0.0, GREEDY, FREE),
    Case("temperature=0.5", drawn_by.temperature, 0.5, drawn(heated(0.5), sampled=True), FREE, (GREEDY,)),
    Case("temperature=1.5", drawn_by.temperature, 1.5, drawn(heated(1.5), sampled=True), FREE, (GREEDY,)),
    Case("temperature=1.0", drawn_by.temperature, 1.0, FREE, drawn(heated(0.5), sampled=True), (GREEDY,)),
    Case("top_k=5", drawn_by.top_k, 5, first(5), HOT, (first(1), first(20))),
    Case("top_k=1", drawn_by.top_k, 1, first(1), HOT, (first(5),)),
    Case("top_k=0", drawn_by.top_k, 0, HOT, first(5), (first(1), GREEDY)),
    Case("top_p=0.5", drawn_by.top_p, 0.5, drawn(reaching(lambda _step: 0.5), sampled=True), FREE, (GREEDY, WITHIN_9)),
    Case("top_p=0.9", drawn_by.top_p, 0.9, WITHIN_9, FREE, (GREEDY, drawn(reaching(lambda _step: 0.5), sampled=True))),
    Case("top_p=1.0", drawn_by.top_p, 1.0, FREE, drawn(reaching(lambda _step: 0.5), sampled=True), (GREEDY,)),
    Case("top_p=0", drawn_by.top_p, 0.0, GREEDY, FREE),
    Case("min_p=0.1", drawn_by.min_p, 0.1, least(0.1), FREE, (GREEDY, least(0.2))),
    Case("min_p=0", drawn_by.min_p, 0.0, FREE, least(0.2), (GREEDY, least(0.1))),
    Case("repetition_penalty=1.3", choices.repetition_penalty, 1.3, drawn(repeated(1.3)), GREEDY),
    Case("repetition_penalty=0.8", choices.repetition_penalty, 0.8, drawn(repeated(0.8)), GREEDY),
    Case("repetition_penalty=1.0", choices.repetition_penalty, 1.0, GREEDY, drawn(repeated(1.3))),
    Case(
        "presence_penalty=1.5",
        choices.presence_penalty,
        1.5,
        drawn(penalised(lambda logit, times: logit - 1.5 * bool(times))),
        GREEDY,
    ),
    Case(
        "frequency_penalty=-0.5",
        choices.frequency_penalty,
        -0.5,
        drawn(penalised(lambda logit, times: logit + 0.5 * times)),
        GREEDY,
    ),
    Case("embedding_bias", choices.embedding_bias, {"7": 3.0}, drawn(biased(7, 3.0)), GREEDY),
    Case("min_tokens=14", choices.min_tokens, 14, drawn(no_end_before(14)), GREEDY, (drawn(no_end_before(9)),)),
    Case("top_p_decay=0.5", drawn_by.top_p_decay, 0.5, DECAYED, WITHIN_9, (GREEDY,)),
    Case(
        "top_p_min=0.5",
        drawn_by.top_p_min,
        0.5,
        drawn(reaching(lambda step: max(0.5, 0.9 * 0.5**step)), sampled=True),
        DECAYED,
        (WITHIN_9,),
    ),
)


@pytest.mark.parametrize("case", CHOSEN, ids=lambda case: case.name)
def test_tokens_show_what_was_done_to_the_logits_they_came_from(case: Case) -> None:
    assert case.probe.effect(case.works, case.control, case.value).holds
    assert not case.probe.effect(case.control, case.control, case.value).holds
    for other in case.others:
        assert not case.probe.effect(other, case.control, case.value).holds


@pytest.mark.parametrize("case", CHOSEN, ids=lambda case: case.name)
def test_a_sampler_that_drops_the_value_is_found_out(case: Case) -> None:
    dropped = drawn(sampled=True) if case.control is FREE else case.control
    assert not case.probe.effect(dropped, case.control, case.value).holds


def test_another_penalty_than_the_one_asked_for_is_neither_applied_nor_ignored() -> None:
    with pytest.raises(LookupError, match="tokens are the likeliest with it"):
        choices.repetition_penalty.effect(drawn(repeated(3.0)), GREEDY, 1.3)


def test_logits_that_are_not_raw_prove_nothing() -> None:
    with pytest.raises(LookupError, match="not raw"):
        choices.repetition_penalty.effect(drawn(repeated(1.3), shift=4.0), GREEDY, 1.3)


def test_outputs_that_would_not_have_ended_say_nothing_of_a_least_length() -> None:
    with pytest.raises(LookupError, match="ending was likeliest"):
        choices.min_tokens.effect(drawn(no_end_before(2)), GREEDY, 2)
