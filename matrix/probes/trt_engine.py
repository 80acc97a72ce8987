"""A loaded engine of TensorRT-LLM: cache, kernels, graphs, sampler, adapters, read from its live objects."""

from __future__ import annotations

from dataclasses import replace

from harness.declare import Probe, Seen, Shown
from harness.jsontypes import JSON
from harness.judge import relative_error
from matrix.probes.readback import arguments, probe
from matrix.probes.scores import number
from matrix.probes.state import NOTHING, names
from matrix.probes.told import count, observed, told
from matrix.variants.weights import ANSWERS


def _path(run: Seen, control: Seen, value: JSON) -> Shown:
    """A TensorRT engine was read back, or the live model engine is of that path's class."""
    del control
    if "inspector" in run.read_back:
        return Shown(value == "tensorrt", f"a TensorRT engine of {told(run, 'inspector', 'layers')} layers runs")
    name = str(told(run, "executor", "model_engine"))
    wanted = {"pytorch": "PyTorchModelEngine", "_autodeploy": "ADEngine"}
    return Shown(name == wanted.get(str(value)), f"{name} runs the model")


def _cache_dtype(run: Seen, control: Seen, value: JSON) -> Shown:
    """The pool's tensors have the type (auto: the weights'), and the logits show it."""
    stored, error = str(told(run, "kv_cache", "dtype")), relative_error(run, control)
    if value == "auto":
        fine = names(told(run, "parameter_dtypes")) == [stored]
    else:
        fine = "float8" in stored or "uint8" in stored if value == "fp8" else stored == f"torch.{value}"
    return Shown(fine and error > NOTHING, f"the cache holds {stored}, logits differ by {error:.2g}")


def _tokens(run: Seen, control: Seen, value: JSON) -> Shown:
    """As many whole blocks as the tokens need."""
    del control
    size, blocks = count(run, "kv_cache", "tokens_per_block"), count(run, "kv_cache", "blocks")
    fine = blocks == -(-int(number(value)) // size)
    return Shown(fine, f"{blocks} blocks of {size} tokens are allocated")


def _bytes(run: Seen, control: Seen, value: JSON) -> Shown:
    """As many whole blocks as fit."""
    del control
    size, blocks = count(run, "kv_cache", "pool_bytes"), count(run, "kv_cache", "blocks")
    fine = size <= number(value) < size + 2 * size / max(blocks, 1)
    return Shown(fine, f"a cache of {size} bytes in {blocks} blocks is allocated")


def _share(run: Seen, control: Seen, value: JSON) -> Shown:
    """The caches of both runs are to each other as the shares, of what is free after loading."""
    ours, theirs = (count(side, "kv_cache", "pool_bytes") for side in (run, control))
    given = arguments(control, "KvCacheConfig", "free_gpu_memory_fraction")
    other = number(value) if run is control else number(given[0])
    wanted, seen = number(value) / other, ours / theirs
    text = f"a cache of {ours / 2**30:.2f} GiB (control: {theirs / 2**30:.2f} GiB, for a share of {other:g})"
    if run is control:
        return Shown(number(value) == number(given[0]), text)
    if abs(seen - wanted) > 0.1 * wanted and abs(seen - 1) > 0.05:
        raise LookupError(f"{text}: neither as the shares nor equal, so others used the device meanwhile")
    return Shown(abs(seen - wanted) <= 0.1 * wanted, text)


def _windows(run: Seen, control: Seen, value: JSON) -> Shown:
    """The live cache keeps that many tokens a layer, and the logits of a longer prompt show it."""
    kept, error = told(run, "kv_cache", "windows"), relative_error(run, control)
    assert isinstance(value, list)
    fine = bool(kept) and all(size == value[place % len(value)] for place, size in enumerate(kept))
    return Shown(fine and error > NOTHING, f"layers keep {kept} tokens, logits differ by {error:.2g}")


def _shows(run: Seen, control: Seen, value: JSON) -> Shown:
    del value
    error = relative_error(run, control)
    return Shown(error > NOTHING, f"logits differ by {error:.2g}")


def _host(run: Seen, control: Seen, value: JSON) -> Shown:
    del control
    blocks = count(run, "kv_cache", "host_blocks")
    return Shown((blocks > 0) is (number(value) > 0), f"{blocks} blocks of host memory are allocated")


def _events(run: Seen, control: Seen, value: JSON) -> Shown:
    """Cache events came, and no more than the buffer holds (0: none)."""
    table = run.observation.get("resolved", {})
    if number(value) and run is not control:
        observed(run, "resolved", "cache_events")
    found = int(number(table.get("cache_events") or 0))
    return Shown(0 < found <= number(value) if number(value) else not found, f"{found} cache events came")


def _attention(run: Seen, control: Seen, value: JSON) -> Shown:
    del control
    found = names(told(run, "attention_backends"))
    return Shown(found == [value], f"the layers' attention is {', '.join(found)}")


def _sampler(run: Seen, control: Seen, value: JSON) -> Shown:
    """The live sampler's class; auto: the one that upstream's present default names."""
    del control
    name = told(run, "executor", "sampler")
    return Shown(name == ("TorchSampler" if value == "auto" else value), f"{name} draws the tokens")


def _kernels(run: Seen, control: Seen, value: JSON) -> Shown:
    del control
    name = told(run, "executor", "sampling_kernels")
    return Shown(name == ("torch" if value else "flashinfer"), f"tokens are drawn by {name}")


def _overlap(run: Seen, control: Seen, value: JSON) -> Shown:
    del control
    name = str(told(run, "executor", "event_loop"))
    return Shown(("overlap" in name) is (not value), f"the executor runs {name}")


def _autotuner(run: Seen, control: Seen, value: JSON) -> Shown:
    del control
    tuned = told(run, "executor", "autotuned")
    return Shown(bool(tuned) is bool(value), f"{len(tuned)} operators have a tactic that was tried")


def _guide(run: Seen, control: Seen, value: JSON) -> Shown:
    """The live matcher is that library's, and outputs obey the form asked for."""
    del control
    name = str(told(run, "executor", "guided_decoder"))
    return Shown(str(value) in name.lower(), f"{name} holds outputs to their form")


def _captured(run: Seen) -> list[int]:
    found = told(run, "cuda_graph", "captured")
    return [int(number(size)) for size in found]


def _table(run: Seen, name: str) -> dict[str, JSON]:
    """A table of the read-back that is empty where there is no such thing; not read, it is no answer."""
    found = run.read_back.get(name)
    if not isinstance(found, dict) or (not found and name in run.read_back.get("unread", {})):  # type: ignore[operator]
        raise LookupError(f"the engine did not tell {name}")
    return found


def _graphs(run: Seen, control: Seen, value: JSON) -> Shown:
    """Graphs were captured and replayed (False: neither)."""
    del control
    sizes = _captured(run) if _table(run, "cuda_graph") else []
    replays = _replays(run) if sizes else {}
    fine = bool(sizes) is bool(value) and bool(replays) is bool(value)
    return Shown(
        fine, f"graphs of batch sizes {sizes or 'none'} were captured and replayed {sum(replays.values())} times"
    )


def _replays(run: Seen) -> dict[int, int]:
    table = observed(run, "resolved", "cuda_graphs", "replays")
    return {int(size): int(number(times)) for size, times in table.items()}


def _sizes(run: Seen, control: Seen, value: JSON) -> Shown:
    del control
    return Shown(_captured(run) == value, f"graphs of batch sizes {_captured(run)} were captured")


def _largest(run: Seen, control: Seen, value: JSON) -> Shown:
    del control
    return Shown(max(_captured(run), default=0) == value, f"graphs of batch sizes {_captured(run)} were captured")


def _padded(run: Seen, control: Seen, value: JSON) -> Shown:
    """Steps of three requests replay the graph of four (False: none)."""
    del control
    replays = sum(_replays(run).values())
    return Shown((replays > 0) is bool(value), f"graphs of batch sizes {_captured(run)} were replayed {replays} times")


def _compiles(run: Seen, control: Seen, value: JSON) -> Shown:
    del control
    table = _table(run, "torch_compile")
    graphs = int(number(table.get("graphs", 0)))
    if graphs and table.get("fullgraph") is None:
        raise LookupError(f"{graphs} graphs were compiled, but no torch.compile of a module was seen")
    return Shown((graphs > 0) is bool(value), f"{graphs} graphs were compiled")


def _fullgraph(run: Seen, control: Seen, value: JSON) -> Shown:
    del control
    return Shown(
        told(run, "torch_compile", "fullgraph") is value,
        f"compiled with fullgraph={told(run, 'torch_compile', 'fullgraph')}",
    )


def _inductor(run: Seen, control: Seen, value: JSON) -> Shown:
    del control
    used = told(run, "torch_compile", "inductor")
    return Shown(used is value, f"graphs were compiled {'by' if used else 'without'} inductor")


def _piecewise(run: Seen, control: Seen, value: JSON) -> Shown:
    """True: pieces were captured for some numbers of tokens. A list: for just these."""
    del control
    sizes = _table(run, "torch_compile").get("piecewise_sizes")
    assert isinstance(sizes, list)
    fine = (
        sorted(map(number, sizes)) == sorted(map(number, value))
        if isinstance(value, list)
        else bool(sizes) is bool(value)
    )
    return Shown(fine, f"pieces were captured for {sizes or 'no'} tokens")


def _weights(run: Seen, control: Seen, value: JSON) -> Shown:
    """The first sum is answered as the checkpoint's weights do; dummy weights answer otherwise."""
    del control
    answer = run.observation["outputs"][0]["text"]
    fine = answer == ANSWERS["model.safetensors"] if value == "auto" else answer not in ANSWERS.values()
    return Shown(fine, f"the first prompt is answered with {answer.strip()!r}")


def _modules(run: Seen, control: Seen, value: JSON) -> Shown:
    """Modules that upstream read from the adapter's own configuration."""
    del control, value
    found = told(run, "executor", "peft", "modules")
    return Shown(sorted(map(str, found)) == sorted(ADAPTED), f"adapters may change {', '.join(map(str, found))}")


ADAPTED = ("attn_dense", "attn_k", "attn_q", "attn_v", "mlp_4h_to_h", "mlp_gate", "mlp_h_to_4h")
"""Upstream's names of the modules that the variants' adapters change (tensorrt_llm/lora_helper.py)."""


_CONTEXT = 200 << 20
"""Bytes that an engine takes at least on a device that it uses."""


def _devices(run: Seen, control: Seen, value: JSON) -> Shown:
    """Loaded, it takes memory on a device that the control leaves free (of 1: leaves free one that it takes)."""
    taken = [
        number(theirs["free_bytes"]) - number(ours["free_bytes"])
        for ours, theirs in zip(told(run, "gpus"), told(control, "gpus"), strict=True)
    ]
    more, fewer = sum(size > _CONTEXT for size in taken), sum(size < -_CONTEXT for size in taken)
    text = f"memory was taken on {more} devices that the control leaves free, and left on {fewer} that it takes"
    return Shown(fewer > 0 if value == 1 else more > 0, text)


def _unseen(says: str, why: str) -> Probe:
    """A probe of what nothing shows so far: its cells end uncertain, and say why."""

    def effect(run: Seen, control: Seen, value: JSON) -> Shown:
        del run, control, value
        raise LookupError(why)

    return Probe(says=says, effect=effect, decisive=False)


def _state(says: str, effect: object) -> Probe:
    return Probe(says=says, effect=effect)  # type: ignore[arg-type]


backend = _state("the live engine is that path's", _path)
cache_dtype = probe(
    "the cache's tensors have the type (auto: the weights'), and logits show it", _cache_dtype, logits=True
)
max_tokens = _state("the cache has as many blocks as the tokens need", _tokens)
max_bytes = _state("the cache takes no more than these bytes, in whole blocks", _bytes)
memory_share = _state("the caches of both runs are to each other as the shares", _share)
windows = replace(
    probe("layers keep that many tokens, and the logits of a longer prompt show it", _windows, logits=True),
    decisive=False,  # the PyTorch path drops blocks past the window, and takes a prompt in whole before it does
)
sink_tokens = probe("the first tokens stay within reach: logits differ from the control's", _shows, logits=True)
host_cache = _state("blocks of host memory are allocated (0: none)", _host)
cache_events = Probe(says="cache events come, no more than the buffer holds (0: none)", effect=_events)
attention = _state("every layer's attention is of that backend", _attention)
sampler = _state("the live sampler is of that class", _sampler)
sampling_kernels = _state("tokens are drawn without FlashInfer (False: by it)", _kernels)
overlap = _state("the executor's loop is not the overlapping one (False: it is)", _overlap)
autotuner = Probe(
    says="operators have tactics that were tried (False: none)",
    effect=_autotuner,
    decisive=False,  # a model may have no operator to tune
)
guide = _state("the live matcher is that library's", _guide)
cuda_graph = Probe(says="graphs are captured and replayed (False: neither)", effect=_graphs)
cuda_graph_sizes = _state("graphs are captured for just these batch sizes", _sizes)
cuda_graph_largest = _state("graphs are captured up to that batch size", _largest)
cuda_graph_padding = Probe(says="smaller batches replay the next larger graph (False: none)", effect=_padded)
torch_compile = _state("the model is compiled (False: not)", _compiles)
fullgraph = _state("the model is compiled without breaks (False: with)", _fullgraph)
inductor = _state("graphs are compiled by inductor (False: not)", _inductor)
piecewise = _state("pieces of the graph are captured, for just these numbers of tokens if any are named", _piecewise)
load_format = Probe(says="the checkpoint's weights answer (dummy: others)", effect=_weights)
lora_dir = _state("adapters may change just the modules that the adapter changes", _modules)
lora_room = _unseen(
    "there is room for adapters of that rank, number and modules", "only the config object that we passed says so"
)
devices = Probe(
    says="memory is taken on a second device (1: on one alone)",
    effect=_devices,
    decisive=False,  # others use the devices as well, and an engine may still be there
)
attention_dp = _unseen(
    "each process holds attention whole (False: its share)",
    "on several GPUs the model is in processes that upstream starts itself, and these cannot be asked what they hold",
)
