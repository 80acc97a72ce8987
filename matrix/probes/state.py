"""Loaded state, read back from the live objects, and with it what it does to the logits."""

from __future__ import annotations

from harness.declare import Probe, Seen, Shown
from harness.jsontypes import JSON
from harness.judge import relative_error
from matrix.probes.scores import number, span
from matrix.variants.remote_code import SHIFT

LOGITS = frozenset({"logits"})
NOTHING = 1e-4
"""Relative error of logits below which nothing was changed but the order of additions."""


def names(value: JSON) -> list[str]:
    """Keys of a read-back table, sorted."""
    return sorted(value) if isinstance(value, dict) else []


def _dtypes(run: Seen, control: Seen, value: JSON) -> Shown:
    """The dtype of every parameter, and logits that another precision has moved."""
    found = names(run.read_back.get("parameter_dtypes"))
    error = relative_error(run, control)
    return Shown(
        found == [f"torch.{value}"] and error > NOTHING,
        f"parameters are {', '.join(found) or 'unknown'}, logits differ by {error:.2g}",
    )


_QUANTISED = {"4bit": "Linear4bit", "8bit": "Linear8bitLt"}


def _quantised(bits: str, run: Seen, control: Seen, value: JSON) -> Shown:
    found = run.read_back.get("linear_classes")
    counts = {name: int(number(count)) for name, count in found.items()} if isinstance(found, dict) else {}
    classes = sorted(counts)
    error = relative_error(run, control)
    others = {name: count for name, count in counts.items() if name != _QUANTISED[bits]}
    head = str(run.read_back.get("head_class"))
    # the head that makes logits may stay as it is, and more than that only where something went wrong
    there = _QUANTISED[bits] in counts and others == ({} if head == _QUANTISED[bits] else {head: 1})
    plain = not set(classes) & set(_QUANTISED.values())
    fine = (there if value else plain) and error > NOTHING
    return Shown(
        fine,
        f"linear layers are {', '.join(f'{counts[name]} {name}' for name in classes)} (the head {head}) of "
        f"{_megabytes(run)} MB, logits differ by {error:.2g}",
    )


def _megabytes(run: Seen) -> str:
    size = run.read_back.get("footprint_bytes")
    return f"{size / 1e6:.2f}" if isinstance(size, (int, float)) else "unknown"


def _layer(field: str, run: Seen, control: Seen, value: JSON) -> Shown:
    """A fact that all quantised layers have in common, and logits that it has moved."""
    layer = run.read_back.get("quantized_layer")
    seen = layer.get(field) if isinstance(layer, dict) else None
    error = relative_error(run, control)
    same = seen in (value, f"torch.{value}")
    return Shown(same and error > NOTHING, f"{field} of the live layers is {seen}, logits differ by {error:.2g}")


parameter_dtype = Probe(
    says="every parameter of the live model has the dtype, and the logits show it",
    effect=_dtypes,
    instruments=LOGITS,
)
load_in_4bit = Probe(
    says="linear layers are stored in 4 bits (False: as they are), and the logits show it",
    effect=lambda run, control, value: _quantised("4bit", run, control, value),
    instruments=LOGITS,
)
load_in_8bit = Probe(
    says="linear layers are stored in 8 bits (False: as they are), and the logits show it",
    effect=lambda run, control, value: _quantised("8bit", run, control, value),
    instruments=LOGITS,
)
quant_type = Probe(
    says="the live layers' quantisation type is the value, and the logits show it",
    effect=lambda run, control, value: _layer("quant_type", run, control, value),
    instruments=LOGITS,
)
compute_dtype = Probe(
    says="the live layers compute in the dtype, and the logits show it",
    effect=lambda run, control, value: _layer("compute_dtype", run, control, value),
    instruments=LOGITS,
)
double_quant = Probe(
    says="the live layers' quantisation constants are quantised too (False: not), and the logits show it",
    effect=lambda run, control, value: _layer("nested", run, control, value),
    instruments=LOGITS,
)


def _commit(run: Seen, control: Seen, value: JSON) -> Shown:
    """The snapshot resolved, and tokens that its other weights make."""
    commit = run.read_back.get("commit")
    ours = [output["token_ids"] for output in run.observation["outputs"]]
    theirs = [output["token_ids"] for output in control.observation["outputs"]]
    differing = sum(a != b for a, b in zip(ours, theirs, strict=True))
    named = not isinstance(value, str) or len(value) != 40 or commit == value
    return Shown(
        commit is not None and named and differing > 0,
        f"commit {str(commit)[:12]} was loaded; {differing} of {len(ours)} outputs differ from the control's",
    )


def _remote(run: Seen, control: Seen, value: JSON) -> Shown:
    """The checkpoint's own code takes the id after the one that the library's classes take, at every first position.

    Which of the runs is which, their read-back tells; that one is one further, their outputs.
    """
    module = str(run.read_back.get("model_module"))
    own = module.startswith("transformers_modules.")
    pairs = zip(run.observation["outputs"], control.observation["outputs"], strict=True)
    apart = {ours["token_ids"][0] - theirs["token_ids"][0] for ours, theirs in pairs}
    return Shown(
        own is bool(value) and apart == {SHIFT if value else -SHIFT},
        f"the model's class is of {module}; first ids are {span([float(one) for one in apart])} from the control's",
    )


revision = Probe(says="the snapshot of that revision is loaded, and its weights answer", effect=_commit)
remote_code = Probe(says="the checkpoint's own code runs, and chooses other ids (False: the library's)", effect=_remote)


def _off_memory(run: Seen) -> int:
    """Parameters that are not in memory: accelerate keeps them on disk and leaves `meta` in their place."""
    devices = run.read_back.get("parameter_devices")
    count = devices.get("meta", 0) if isinstance(devices, dict) else 0
    return count if isinstance(count, int) else 0


def _from_disk(run: Seen) -> int:
    """Weights that were read from disk while the model generated."""
    return run.observation.get("fetched", {}).get("disk", 0)


def _placement(run: Seen) -> str:
    devices = run.read_back.get("parameter_devices")
    return (
        ", ".join(f"{count} parameters on {name}" for name, count in devices.items())
        if isinstance(devices, dict)
        else ""
    )


def _placed(run: Seen, control: Seen, value: JSON) -> Shown:  # noqa: ARG001
    """Of cpu: everything is in memory. A policy under a tight limit, or a map: what does not fit is on disk."""
    off, fetched = _off_memory(run), _from_disk(run)
    fine = off == fetched == 0 if value == "cpu" else off > 0 and fetched > 0 and bool(run.read_back.get("device_map"))
    return Shown(fine, f"{_placement(run)}; {fetched} weights were read from disk for a forward call")


def _bytes(limit: JSON) -> float:
    """A size as accelerate reads it: 1MB is 10**6 bytes, 1MiB 2**20."""
    units = {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "KB": 1e3, "MB": 1e6, "GB": 1e9}
    for unit, factor in units.items():
        if isinstance(limit, str) and limit.endswith(unit):
            return float(limit.removesuffix(unit)) * factor
    return number(limit)


def _limited(run: Seen, control: Seen, value: JSON) -> Shown:
    """A limit below the model's size sends parameters to disk, one above it none."""
    size = control.read_back.get("footprint_bytes")
    limit = _bytes(value.get("cpu")) if isinstance(value, dict) else 0.0
    fits = isinstance(size, (int, float)) and size <= limit
    off, fetched = _off_memory(run), _from_disk(run)
    return Shown(
        (off == 0) is (fetched == 0) is fits,
        f"{_placement(run)}; {fetched} weights were read from disk for a forward call",
    )


device_map = Probe(says="parameters lie where the map or policy puts them, and are read from there", effect=_placed)
max_memory = Probe(says="what does not fit into the limit goes to disk", effect=_limited)
