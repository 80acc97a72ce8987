"""A loaded engine: which kernels, caches, loaders, quantisers and processes its live objects are."""

from __future__ import annotations

from collections.abc import Iterable

from harness.declare import Level, Probe, Seen, Shown
from harness.jsontypes import JSON
from harness.judge import relative_error, tokens
from matrix.probes.scores import number
from matrix.probes.state import LOGITS, NOTHING, names
from matrix.variants.weights import ANSWERS


def facts(run: Seen, name: str) -> dict[str, JSON]:
    """A table of the read-back; empty when there is none."""
    table = run.read_back.get(name)
    return table if isinstance(table, dict) else {}


def _listed(value: JSON) -> list[JSON]:
    return value if isinstance(value, list) else []


def _attention(run: Seen, control: Seen, value: JSON) -> Shown:
    """Every layer has that backend (auto: all have one and the same)."""
    del control
    found = names(run.read_back.get("attention_backends"))
    fine = len(found) == 1 if value == "auto" else found == [value]
    return Shown(fine, f"the layers' attention is {', '.join(found) or 'unknown'}")


def _blocks(run: Seen, control: Seen, value: JSON) -> Shown:
    del control
    found = facts(run, "kv_cache").get("blocks")
    return Shown(found == value, f"{found} blocks are allocated")


def _cache_bytes(run: Seen, control: Seen, value: JSON) -> Shown:
    """As many whole blocks as fit."""
    del control
    cache = facts(run, "kv_cache")
    size, blocks = number(cache.get("bytes")), max(number(cache.get("blocks")), 1.0)
    fine = size <= number(value) < size + size / blocks
    return Shown(fine, f"cache tensors of {size:.0f} bytes are allocated")


def _share(run: Seen, control: Seen, value: JSON) -> Shown:
    """Of the device's memory, the cache leaves free what the share does, and what everything else needs.

    What else is needed is the same in both runs but for noise, so the caches differ by the difference of the
    shares. The control's own share is declared in its settings.
    """
    total = number(run.read_back.get("device_bytes"))
    size = number(facts(run, "kv_cache").get("bytes"))
    rest = number(value) * total - size
    theirs = number(facts(control, "kv_cache").get("bytes"))
    other = number(_argument(control, "LLM", "gpu_memory_utilization")) * total - theirs
    return Shown(
        abs(rest - other) < 0.03 * total,
        f"a cache of {size / 2**30:.2f} GiB: {size / total:.0%} of the device's memory, {rest / 2**30:.2f} GiB short "
        f"of the share (control: {other / 2**30:.2f} GiB)",
    )


def _argument(run: Seen, call: str, name: str) -> JSON:
    for entry in run.calls:
        named = entry.get("kwargs")
        if entry.get("call") == call and isinstance(named, dict) and name in named:
            found: JSON = named[name]
            return found
    return None


_STORED = {
    "float16": "torch.float16",
    "bfloat16": "torch.bfloat16",
    "fp8": "torch.uint8",
    "fp8_e4m3": "torch.uint8",
    "fp8_e5m2": "torch.uint8",
    "int8_per_token_head": "torch.int8",
}
"""Types of the tensors that hold the cache; two kinds of fp8 are both bytes, which their logits tell apart."""


def _cache_dtype(run: Seen, control: Seen, value: JSON) -> Shown:
    stored = _listed(facts(run, "kv_cache").get("dtypes"))
    wanted = names(run.read_back.get("parameter_dtypes")) if value == "auto" else [_STORED[str(value)]]
    error = relative_error(run, control)
    return Shown(
        stored == wanted and error > NOTHING,
        f"cache tensors are {', '.join(map(str, stored))}, logits differ by {error:.2g}",
    )


_FILES = {
    "auto": "model.safetensors",
    "safetensors": "model.safetensors",
    "hf": "model.safetensors",
    "pt": "model.pt",
    "npcache": "pytorch_model.bin",
    "sharded_state": "model-rank-0-part-0.safetensors",
    "mistral": "consolidated.safetensors",
}
"""Value to the file that it reads, of those that the variants hold. Each file answers a sum differently."""


def _loader(run: Seen, control: Seen, value: JSON) -> Shown:
    """The first prompt is answered as only that format's weights do; dummy weights answer as none of them."""
    del control
    answer = run.observation["outputs"][0]["text"]
    loads = _listed(run.read_back.get("loads"))
    load = loads[0] if loads and isinstance(loads[0], dict) else {}
    if value == "dummy":
        fine = answer not in ANSWERS.values() and load.get("loader") == "DummyModelLoader"
    else:
        fine = answer == ANSWERS[_FILES[str(value)]]
    known = next((file for file, text in ANSWERS.items() if text == answer), "no file")
    return Shown(fine, f"{load.get('loader')} ran; the answer {answer.strip()!r} is that of {known}")


def _strategy(run: Seen, control: Seen, value: JSON) -> Shown:
    """How weight files are opened: mapped (lazy, prefetch) or read whole (eager)."""
    del control
    loads = _listed(run.read_back.get("loads"))
    load = loads[0] if loads and isinstance(loads[0], dict) else {}
    ways = [str(way) for way in _listed(load.get("opened"))]
    fine = ways == (["load"] if value == "eager" else ["safe_open"])
    return Shown(fine, f"weight files were opened by {', '.join(ways) or 'nothing that is watched'}")


_METHODS: dict[str, tuple[str, ...]] = {
    "awq": ("AWQ", "CPUWNA16", "AutoAWQ"),
    "gptq": ("GPTQ", "CPUWNA16", "AutoGPTQ"),
    "fp8": ("Fp8LinearMethod", "Fp8PerTensor"),
    "compressed-tensors": ("CompressedTensors",),
    "fp8_per_channel": ("Fp8Ptpc",),
}
"""Value to how the names of the live classes that do the work begin."""


def _quantised(run: Seen, control: Seen, value: JSON) -> Shown:
    """None: layers compute with plain weights. Else: with the method's classes, and other logits."""
    classes = names(run.read_back.get("quant_methods"))
    linear = [name for name in classes if "Embedding" not in name]
    error = relative_error(run, control)
    if value is None:
        fine = linear == ["UnquantizedLinearMethod"]
    else:
        fine = bool(linear) and all(name.startswith(_METHODS[str(value)]) for name in linear)
    return Shown(
        fine and error > NOTHING, f"linear layers compute by {', '.join(linear)}, logits differ by {error:.2g}"
    )


def _counters(run: Seen) -> dict[str, JSON]:
    found = facts(run, "compilation").get("counters")
    return found if isinstance(found, dict) else {}


def _compiled(run: Seen) -> int:
    """Modules whose calls go to compiled code."""
    return len(_listed(facts(run, "compilation").get("models")))


def _compiler(run: Seen, control: Seen, value: JSON) -> Shown:
    """Inductor compiles the model ahead of its calls and keeps the artifact, eager runs dynamo's graph."""
    del control
    ahead = int(
        number(_counters(run).get("num_aot_compiles", 0)) + number(_counters(run).get("num_aot_artifacts_loaded", 0))
    )
    fine = _compiled(run) > 0 and (ahead > 0) is (value == "inductor")
    return Shown(fine, f"{_compiled(run)} modules run compiled code, {ahead} of it compiled ahead ({_told(run)})")


def _eager(run: Seen, control: Seen, value: JSON) -> Shown:
    """True: nothing was compiled. False: the model was."""
    del control
    count = _compiled(run)
    return Shown((count == 0) is bool(value), f"{count} modules run compiled code ({_told(run)})")


def _told(run: Seen) -> str:
    mode = facts(run, "compilation").get("mode")
    counters = ", ".join(f"{name} {count}" for name, count in _counters(run).items())
    return f"mode {mode}" + (f", {counters}" if counters else "")


MODES = ("NONE", "STOCK_TORCH_COMPILE", "DYNAMO_TRACE_ONCE", "VLLM_COMPILE")


def _mode(run: Seen, control: Seen, value: JSON) -> Shown:
    """The worker's mode is that one, and the model was compiled by it, or not at all."""
    del control
    wanted = MODES[int(number(value))] if isinstance(value, int) else str(value)
    fine = facts(run, "compilation").get("mode") == wanted and (_compiled(run) > 0) is (wanted != "NONE")
    return Shown(fine, _told(run))


def _graphs(run: Seen, control: Seen, value: JSON) -> Shown:
    del control
    captured = int(number(_counters(run).get("num_cudagraph_captured", 0)))
    found = facts(run, "compilation").get("cudagraph_mode")
    fine = found == value and (captured > 0) is (value != "NONE")
    return Shown(fine, f"{captured} CUDA graphs were captured in mode {found}")


def _sizes(run: Seen, control: Seen, value: JSON) -> Shown:
    """For more sizes of a batch than in the control."""
    del value
    ours, theirs = (int(number(_counters(side).get("num_cudagraph_captured", 0))) for side in (run, control))
    return Shown(ours > theirs, f"{ours} CUDA graphs were captured (control: {theirs})")


def _level(run: Seen, control: Seen, value: JSON) -> Shown:
    """0 compiles nothing, the levels above do."""
    del control
    count = _compiled(run)
    return Shown((count > 0) is (number(value) > 0), f"{count} modules run compiled code ({_told(run)})")


_EXECUTORS = {"uni": "UniProcExecutor", "mp": "MultiprocExecutor", "ray": "Ray"}


def _executor(run: Seen, control: Seen, value: JSON) -> Shown:
    """The live executor is of that kind; mp and ray work in a process of their own."""
    del control
    name = str(run.read_back.get("executor_class"))
    apart = run.read_back.get("pid") != run.read_back.get("core_pid")
    fine = name.startswith(_EXECUTORS[str(value)]) and apart is (value != "uni")
    return Shown(fine, f"{name} works in {'a process of its own' if apart else 'the process of the engine core'}")


def _ranks(run: Seen) -> list[dict[str, JSON]]:
    return [worker for worker in _listed(run.read_back.get("workers")) if isinstance(worker, dict)]


def _processes(run: Seen) -> int:
    return len({worker.get("pid") for worker in run.observation.get("processes", []) if worker.get("forwards")})


def _parallel(kind: str, run: Seen, control: Seen, degree: int) -> Shown:
    """That many processes worked; each holds its share of the weights, or of the layers."""
    count = _processes(run)
    ranks = _ranks(run)
    whole = _ranks(control)
    layers = [int(number(rank.get("missing_layers"))) for rank in ranks]
    split = _smaller(ranks, whole)
    if kind == "tensor_parallel":
        fine = (split > 0) is (degree > 1) or len(whole) > 1
    else:
        fine = (min(layers, default=0) > 0) is (degree > 1)
    return Shown(
        count == degree and fine,
        f"{count} processes worked; {split} kinds of weight are smaller than the control's, {layers} layers elsewhere",
    )


def _smaller(ranks: Iterable[dict[str, JSON]], whole: list[dict[str, JSON]]) -> int:
    theirs = whole[0].get("local_shapes") if whole else None
    count = 0
    for rank in list(ranks)[:1]:
        shapes = rank.get("local_shapes")
        if isinstance(shapes, dict) and isinstance(theirs, dict):
            count += sum(shapes[name] != theirs.get(name) for name in shapes)
    return count


def _strategy_of(run: Seen, control: Seen, value: JSON) -> Shown:
    if value == "data_parallel":
        return _copies(run, control, 2)
    return _parallel(str(value), run, control, 2)


def _tensor(run: Seen, control: Seen, value: JSON) -> Shown:
    return _parallel("tensor_parallel", run, control, int(number(value)))


def _pipeline(run: Seen, control: Seen, value: JSON) -> Shown:
    return _parallel("pipeline_parallel", run, control, int(number(value)))


def _copies(run: Seen, control: Seen, value: JSON) -> Shown:
    """That many processes worked, each with the whole model."""
    count = _processes(run)
    ranks, whole = _ranks(run), _ranks(control)[:1]
    complete = sum(not _smaller([rank], whole) and not number(rank.get("missing_layers")) for rank in ranks)
    fine = count == int(number(value)) == complete == len(ranks)
    return Shown(fine, f"{count} processes worked, {complete} of {len(ranks)} with the whole model")


def _degree(run: Seen, control: Seen, value: JSON) -> Shown:
    del control
    count = _processes(run)
    return Shown(count == int(number(value)), f"{count} processes worked")


def _lora(run: Seen, control: Seen, value: JSON) -> Shown:
    """Linear layers have room for adapters (False: they are the plain ones)."""
    del control
    table = facts(run, "lora")
    return Shown(bool(table) is bool(value), f"layers with room for adapters: {table.get('modules') or 'none'}")


def _stacked(place: int, run: Seen, value: JSON) -> Shown:
    """A dimension of the live tensors that adapters are copied into: slots, 1, rank, width."""
    shapes = _listed(facts(run, "lora").get("stacked"))
    shape = _listed(shapes[0]) if shapes else []
    return Shown(bool(shape) and shape[place] == value, f"adapters are copied into tensors of {shape or 'no'} shape")


def _slots(run: Seen, control: Seen, value: JSON) -> Shown:
    del control
    return _stacked(0, run, value)


def _rank(run: Seen, control: Seen, value: JSON) -> Shown:
    del control
    return _stacked(2, run, value)


def _speaks(run: Seen, control: Seen, value: JSON) -> Shown:
    del value
    differ = sum(own != tokens(control).get(key) for key, own in tokens(run).items())
    return Shown(differ > 0, f"{differ} of {len(tokens(run))} outputs differ from the control's")


def _window(run: Seen, control: Seen, value: JSON) -> Shown:
    """Layers have no window and the model takes no more tokens than it had (False: they have, and it takes more)."""
    found = names(run.read_back.get("sliding_windows"))
    ours, theirs = (number(side.read_back.get("max_model_len")) for side in (run, control))
    fine = found == ["None"] and ours < theirs if value else found != ["None"] and ours > theirs
    return Shown(fine, f"windows of the layers: {', '.join(found)}; at most {ours:g} tokens (control: {theirs:g})")


def _implementation(run: Seen, control: Seen, value: JSON) -> Shown:
    del control
    module, name = str(run.read_back.get("model_module")), str(run.read_back.get("model_class"))
    wrapped = module.startswith("vllm.model_executor.models.transformers") or name.startswith("Transformers")
    return Shown(wrapped is (value == "transformers"), f"the model is {name} of {module}")


def _overridden(run: Seen, control: Seen, value: JSON) -> Shown:
    """The layers compute with the field's value, and other logits come out."""
    assert isinstance(value, dict)
    wanted = number(value["rms_norm_eps"])
    found = run.read_back.get("norm_epsilons")
    error = relative_error(run, control)
    return Shown(
        found == [wanted] and error > NOTHING, f"norm layers have epsilon {found}, logits differ by {error:.2g}"
    )


def _remote(run: Seen, control: Seen, value: JSON) -> Shown:
    del control
    module = str(run.read_back.get("config_module"))
    return Shown(module.startswith("transformers_modules.") is bool(value), f"the model's config comes from {module}")


def _seeded(run: Seen, control: Seen, value: JSON) -> Shown:
    """The worker's generator starts from the seed, and other tokens are drawn than with the control's."""
    shown = _speaks(run, control, value)
    found = run.read_back.get("torch_seed")
    return Shown(found == value and shown.holds, f"the generator's seed is {found}; {shown.saw}")


def _bitsandbytes(run: Seen, control: Seen, value: JSON) -> Shown:
    """Linear layers compute by bitsandbytes (False: plainly)."""
    del control
    classes = [name for name in names(run.read_back.get("quant_methods")) if "Embedding" not in name]
    there = any("BitsAndBytes" in name for name in classes)
    return Shown(there is bool(value), f"linear layers compute by {', '.join(classes)}")


def _cascade(run: Seen, control: Seen, value: JSON) -> Shown:
    del control
    enabled = run.read_back.get("cascade_attention")
    return Shown(enabled is (not value), f"cascade attention is {'on' if enabled else 'off'} in the worker")


def _offloaded(run: Seen, control: Seen, value: JSON) -> Shown:
    """Less weight memory on the device than in the control (0: more)."""
    ours, theirs = (number(side.read_back.get("weight_bytes_on_device")) for side in (run, control))
    fine = ours > theirs if number(value) == 0 else ours < theirs
    return Shown(fine, f"{ours:.0f} bytes of weights on the device (control: {theirs:.0f})")


def _connected(run: Seen, control: Seen, value: JSON) -> Shown:
    del control, value
    name = facts(run, "scheduler").get("connector")
    return Shown(isinstance(name, str) and "Offload" in name, f"the scheduler's connector is {name}")


def _probe(says: str, effect: object, *, logits: bool = False, level: Level = Level.BEHAVIOUR) -> Probe:
    return Probe(says=says, effect=effect, instruments=LOGITS if logits else frozenset(), level=level)  # type: ignore[arg-type]


attention = _probe("every layer's attention backend is that one (auto: all the same)", _attention, level=Level.STATE)
blocks = _probe("that many cache blocks are allocated", _blocks, level=Level.STATE)
cache_bytes = _probe("cache tensors of that size are allocated, in whole blocks", _cache_bytes, level=Level.STATE)
memory_share = _probe("the cache takes what the share leaves", _share, level=Level.STATE)
cache_dtype = _probe("cache tensors have the type (auto: the model's), and logits show it", _cache_dtype, logits=True)
load_format = _probe("that loader ran, and its weights answer otherwise than the control's", _loader)
load_strategy = _probe("weight files are opened that way", _strategy, level=Level.STATE)
quantization = _probe(
    "layers compute by the method's classes (None: plainly), and logits show it", _quantised, logits=True
)
enforce_eager = _probe("nothing is compiled (False: the model is)", _eager, level=Level.STATE)
compilation_mode = _probe("the model is compiled in that mode", _mode, level=Level.STATE)
compiler = _probe("the model is compiled by that compiler", _compiler, level=Level.STATE)
cudagraph_mode = _probe("CUDA graphs are captured in that mode (NONE: none)", _graphs, level=Level.STATE)
capture_sizes = _probe("more CUDA graphs are captured than in the control", _sizes, level=Level.STATE)
optimization_level = _probe("the model is compiled (0: not)", _level, level=Level.STATE)
executor = _probe(
    "the live executor is of that kind, in processes of its own where it says so", _executor, level=Level.STATE
)
parallel_strategy = _probe("two processes share the weights, the layers or the requests", _strategy_of)
tensor_parallel = _probe("that many processes work, each with its share of the weights", _tensor)
pipeline_parallel = _probe("that many processes work, each with its share of the layers", _pipeline)
data_parallel = _probe("that many processes work, each with the whole model", _copies)
degree = _probe("that many processes work", _degree)
enable_lora = _probe("linear layers have room for adapters (False: none)", _lora, level=Level.STATE)
max_loras = _probe("there is room for that many adapters at once", _slots, level=Level.STATE)
max_lora_rank = _probe("there is room for adapters of that rank", _rank, level=Level.STATE)
speaks = _probe("other tokens come than from the control", _speaks)
sliding_window = _probe(
    "layers have no window, and the model takes no more tokens than it had (False: neither)",
    _window,
    level=Level.STATE,
)
model_impl = _probe("the model's class is of that implementation", _implementation, level=Level.STATE)
hf_overrides = _probe("layers are built from the field, and logits show it", _overridden, logits=True)
remote_code = _probe(
    "the model's config is the checkpoint's own code (False: the library's)", _remote, level=Level.STATE
)
seed = _probe("the worker's generator starts from the seed, and it draws other tokens", _seeded)
bitsandbytes = _probe("linear layers compute by bitsandbytes (False: plainly)", _bitsandbytes, level=Level.STATE)
cascade = _probe("the worker's cascade attention is off (False: on)", _cascade, level=Level.STATE)
cpu_offload = _probe("fewer bytes of weights lie on the device (0: more)", _offloaded, level=Level.STATE)
kv_offloading = _probe("the scheduler offloads cache blocks through a connector", _connected, level=Level.STATE)
