"""The engine path of TensorRT-LLM: the network that was built, its calibration, the engine that came out."""

from __future__ import annotations

from harness.declare import Probe, Seen, Shown
from harness.jsontypes import JSON
from harness.judge import relative_error
from matrix.probes.readback import probe
from matrix.probes.scores import number
from matrix.probes.state import NOTHING, names
from matrix.probes.told import count, observed, told


def _builds(run: Seen, control: Seen, value: JSON) -> Shown:
    """True: the builder ran and made the files. False: neither, they were there."""
    del control
    builds, anew = count(run, "build", "builds"), bool(told(run, "engine_built"))
    fine = (builds > 0) is bool(value) and anew is bool(value)
    return Shown(fine, f"the builder ran {builds} times, the engine file was {'made' if anew else 'there before'}")


def _typed(run: Seen, control: Seen, value: JSON) -> Shown:
    del control
    found = told(run, "build", "strongly_typed")
    return Shown(found is value, f"the network given to the builder is {'' if found else 'not '}strongly typed")


_CACHES = {"paged": "kv_cache_block_offsets", "continuous": "past_key_value"}
"""Kind of cache to what inputs of the engine that has it are called."""


def _cache_type(run: Seen, control: Seen, value: JSON) -> Shown:
    """The engine has the inputs of that cache and of no other."""
    del control
    tensors = [str(name) for name in told(run, "inspector", "io_tensors")]
    found = [kind for kind, name in _CACHES.items() if any(name in tensor for tensor in tensors)]
    return Shown(found == ([] if value == "disabled" else [value]), f"the engine has inputs for {found or 'no cache'}")


def _profiles(run: Seen, control: Seen, value: JSON) -> Shown:
    """True: more profiles than in the control. False: fewer. A number: so many."""
    ours, theirs = (count(side, "inspector", "profiles") for side in (run, control))
    fine = ours == value if not isinstance(value, bool) else ours > theirs if value else ours < theirs
    return Shown(fine, f"the engine has {ours} optimisation profiles (control: {theirs})")


def _optimum(tensor: str, run: Seen, value: JSON) -> Shown:
    """The middle of a profile's least, best and largest shape of an input."""
    shapes = told(run, "inspector", "profile_shapes", tensor)
    best = [shape[1][0] for shape in shapes]
    return Shown(value in best, f"kernels are tuned for {best} in {tensor}")


def _batch(run: Seen, control: Seen, value: JSON) -> Shown:
    del control
    return _optimum("host_request_types", run, value)


def _tokens(run: Seen, control: Seen, value: JSON) -> Shown:
    del control
    return _optimum("input_ids", run, value)


def _verbosity(run: Seen, control: Seen, value: JSON) -> Shown:
    del control
    name = str(told(run, "inspector", "profiling_verbosity"))
    return Shown(name.lower() == value, f"the engine's verbosity is {name}")


def _refit(run: Seen, control: Seen, value: JSON) -> Shown:
    del control
    found = told(run, "inspector", "refittable")
    return Shown(found is value, f"the engine can{'' if found else 'not'} be refitted")


def _streams(run: Seen, control: Seen, value: JSON) -> Shown:
    del control
    size = count(run, "inspector", "streamable_bytes")
    return Shown((size > 0) is bool(value), f"{size} bytes of weights can be streamed")


def _files(run: Seen, control: Seen, value: JSON) -> Shown:
    """Weights that the builder did not bake in lie in a file of their own."""
    del control
    found = [str(file["name"]) for file in told(run, "engine_files")]
    apart = any("managed_weights" in name for name in found)
    return Shown(apart is bool(value), f"the engine's folder holds {', '.join(found)}")


def _reuses(run: Seen, control: Seen, value: JSON) -> Shown:
    """By the engine's own statistics blocks are reused (False: none)."""
    del control
    statistics = [item["kvCacheStats"] for item in observed(run, "resolved", "iterations") if "kvCacheStats" in item]
    if not statistics:
        raise LookupError("the engine told no statistics of its cache")
    reused = max(int(number(one.get("reusedBlocks", 0))) for one in statistics)
    return Shown((reused > 0) is bool(value), f"{reused} blocks were reused")


_KINDS = {
    "fp8": "fp8linear",
    "int8_sq": "smoothquant",
    "int8_weight_only": "weightonlyquant",
    "int4_weight_only": "weightonlyquant",
    "int4_awq": "weightonlygroupwise",
    "W4A8_AWQ": "weightonlygroupwise",
    "FP8_PER_CHANNEL_PER_TOKEN": "rowwise",
}
"""Method to what its layers' classes have in their names (tensorrt_llm/quantization/layers.py)."""
_FOUR_BITS = ("int4_weight_only", "int4_awq", "W4A8_AWQ")
_HALF = 0.49
"""Of 16-bit weights 8-bit ones take half, and more with what is left as it is; 4-bit ones always less."""


def _layers(run: Seen) -> tuple[dict[str, int], float]:
    classes = {str(name): int(number(times)) for name, times in told(run, "model", "linear_classes").items()}
    return classes, number(told(run, "model", "linear_bytes"))


def _plain(classes: dict[str, int]) -> int:
    """Linear layers that compute with weights as they are."""
    kinds = {"smoothquant", "weightonly", "fp8", "rowwise"}
    return sum(times for name, times in classes.items() if not any(kind in _flat(name) for kind in kinds))


def _flat(name: str) -> str:
    # FP8RowLinear is FP8Linear cut the other way
    return name.lower().replace("rowlinear", "linear").replace("columnlinear", "linear")


def _method(run: Seen, control: Seen, value: JSON) -> Shown:
    """The built network's layers are the method's and their weights as narrow, and logits show it (none: plain)."""
    (classes, size), (_, whole) = _layers(run), _layers(control)
    error = relative_error(run, control)
    if value == "none":
        fine = _plain(classes) == sum(classes.values())
    else:
        narrow = size / whole < _HALF if value in _FOUR_BITS else size / whole < 0.8
        fine = narrow and any(_KINDS[str(value)] in _flat(name) for name in classes)
        if value not in _FOUR_BITS:
            fine = fine and size / whole >= _HALF
    text = ", ".join(f"{times} {name}" for name, times in classes.items())
    return Shown(
        fine and error > NOTHING,
        f"the network has {text} of {size / whole:.2f} times the control's bytes, logits differ by {error:.2g}",
    )


def _cache_algorithm(run: Seen, control: Seen, value: JSON) -> Shown:
    """The engine's cache tensors are of the type."""
    del control
    kinds = {"FP8": "FP8", "INT8": "INT8"}
    dtypes = [
        str(kind)
        for name, kind in told(run, "inspector", "io_dtypes").items()
        if "past_key_value" in name or "kv_cache_pool" in name
    ]
    if not dtypes:
        raise LookupError("no input of the engine tells the type of its cache")
    return Shown(
        any(kinds[str(value)] in kind.upper() for kind in dtypes), f"the engine's caches are {', '.join(dtypes)}"
    )


def _groups(run: Seen, control: Seen, value: JSON) -> Shown:
    del control
    found = told(run, "model", "linear_groups")
    return Shown(found == [value], f"{found} weights share a scale")


def _moves(run: Seen, control: Seen, value: JSON) -> Shown:
    """Layers are SmoothQuant's in both runs, and the logits differ."""
    del value
    classes, _ = _layers(run)
    error = relative_error(run, control)
    fine = any("smoothquant" in _flat(name) for name in classes) and error > NOTHING
    return Shown(fine, f"the network has {', '.join(classes)}, logits differ by {error:.2g}")


def _excludes(run: Seen, control: Seen, value: JSON) -> Shown:
    """More layers are plain than in the control, and not all."""
    del value
    (ours, _), (theirs, _) = _layers(run), _layers(control)
    fine = _plain(theirs) < _plain(ours) < sum(ours.values())
    return Shown(fine, f"{_plain(ours)} of {sum(ours.values())} linear layers are plain (control: {_plain(theirs)})")


def _batches(run: Seen, control: Seen, value: JSON) -> Shown:
    del control
    found = count(run, "calibration", "batches")
    return Shown(found == value, f"calibration ran {found} batches")


def _rows(run: Seen, control: Seen, value: JSON) -> Shown:
    """The last batch may be smaller."""
    del control
    batches, rows = count(run, "calibration", "batches"), count(run, "calibration", "rows")
    fine = batches > 0 and -(-rows // int(number(value))) == batches
    return Shown(fine, f"calibration ran {rows} samples in {batches} batches")


def _width(run: Seen, control: Seen, value: JSON) -> Shown:
    del control
    found = count(run, "calibration", "width")
    return Shown(found == value, f"the longest sample that calibration ran has {found} tokens")


def _data(run: Seen, control: Seen, value: JSON) -> Shown:
    del value
    ours, theirs = (str(told(side, "calibration", "data")) for side in (run, control))
    return Shown(ours != theirs, f"calibration ran tokens of checksum {ours[:8]} (control: {theirs[:8]})")


def _device(run: Seen, control: Seen, value: JSON) -> Shown:
    del control
    found = names(dict.fromkeys(map(str, told(run, "calibration", "devices"))))
    return Shown(found == [value], f"calibration ran on {', '.join(found)}")


def _level(run: Seen, control: Seen, value: JSON) -> Shown:
    """The builder worked at that level."""
    del control
    found = told(run, "build", "optimization_level")
    return Shown(found == value, f"the engine was built at level {found}")


def _state(says: str, effect: object) -> Probe:
    return Probe(says=says, effect=effect)  # type: ignore[arg-type]


force_rebuild = Probe(says="the engine is built anew although one is there (False: taken as it is)", effect=_builds)
strongly_typed = _state("the network given to the builder is strongly typed (False: not)", _typed)
kv_cache_type = _state("the engine has the inputs of that kind of cache, and no others", _cache_type)
profiles = _state(
    "the engine has that many optimisation profiles (True: more than the control, False: fewer)", _profiles
)
opt_batch_size = _state("a profile's best batch size is the value", _batch)
opt_num_tokens = _state("a profile's best number of tokens is the value", _tokens)
profiling_verbosity = _state("the engine tells as much of its layers", _verbosity)
use_refit = _state("the engine can be refitted (False: not)", _refit)
weight_streaming = _state("weights of the engine can be streamed (False: none)", _streams)
managed_weights = _state("weights lie in a file of their own (False: in the engine's)", _files)
reuse = Probe(says="blocks of a repeated prompt are reused (False: none)", effect=_reuses, decisive=False)
method = probe("the built layers are the method's, as narrow, and logits show it", _method, logits=True)
kv_cache_quant_algo = _state("the engine's cache has the type", _cache_algorithm)
group_size = _state("that many weights share a scale", _groups)
smoothquant_val = probe("SmoothQuant layers compute other logits than with the control's value", _moves, logits=True)
exclude_modules = _state("more layers stay plain than in the control, and not all", _excludes)
calibration_batches = _state("calibration runs that many batches", _batches)
calibration_rows = _state("calibration takes that many samples a batch", _rows)
calibration_width = _state("samples are cut at that many tokens", _width)
calibration_data = _state("calibration runs other tokens than in the control", _data)
calibration_device = _state("calibration runs there", _device)
builder_opt_level = _state("the engine was built at that level", _level)
