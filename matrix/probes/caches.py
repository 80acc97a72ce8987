"""The memory of a loaded engine: its key-value cache, and what lies elsewhere than on the device."""

from __future__ import annotations

from harness.declare import Seen, Shown
from harness.jsontypes import JSON
from harness.judge import relative_error
from matrix.probes.readback import arguments, facts, listed, probe
from matrix.probes.scheduling import steps
from matrix.probes.scores import number
from matrix.probes.state import NOTHING, names
from matrix.variants.sliding import WINDOW


def _together(run: Seen) -> int:
    """The most requests of a step. Of a crowd of short ones each holds one block, and one block is upstream's own."""
    return max((len(step) for step in steps(run)), default=0)


def _blocks(run: Seen, control: Seen, value: JSON) -> Shown:
    """So many blocks are allocated, and while others wait as many requests run as have a block each."""
    del control
    found = facts(run, "kv_cache").get("blocks")
    together, requests = _together(run), len(run.observation["outputs"])
    fine = found == value and together == number(value) - 1 < requests
    return Shown(fine, f"{found} blocks are allocated; at most {together} of {requests} requests ran together")


def _cache_bytes(run: Seen, control: Seen, value: JSON) -> Shown:
    """As many whole blocks as fit, and as many requests together as have a block each."""
    del control
    cache = facts(run, "kv_cache")
    size, blocks = number(cache.get("bytes")), max(number(cache.get("blocks")), 1.0)
    together, requests = _together(run), len(run.observation["outputs"])
    fine = size <= number(value) < size + size / blocks and together == blocks - 1 < requests
    return Shown(
        fine,
        f"cache tensors of {size:.0f} bytes are allocated; at most {together} of {requests} requests ran together",
    )


def _share(run: Seen, control: Seen, value: JSON) -> Shown:
    """Of the device's memory, the cache leaves free what the share does, and what everything else needs.

    What else is needed is the same in both runs but for noise, so the caches differ by the difference of what the
    shares come to, and so does what the engine's processes have reserved. The control's own share is declared in its
    settings. LookupError where an engine did not tell the memory that it had a share of.
    """
    totals = [_whole_device(side) for side in (run, control)]
    sizes = [number(facts(side, "kv_cache").get("bytes")) for side in (run, control)]
    shares = [number(value), number(arguments(control, "LLM", "gpu_memory_utilization")[0])]
    due = [share * total for share, total in zip(shares, totals, strict=True)]
    rest, other = (own - size for own, size in zip(due, sizes, strict=True))
    held = [_reserved(side) for side in (run, control)]
    total, noise = totals[0], 0.03 * totals[0]
    fine = abs(rest - other) < noise and abs(held[0] - held[1] - (due[0] - due[1])) < noise
    return Shown(
        fine,
        f"a cache of {sizes[0] / 2**30:.2f} GiB: {sizes[0] / total:.0%} of the device's memory, {rest / 2**30:.2f} "
        f"GiB short of the share (control: {other / 2**30:.2f} GiB); the processes have reserved "
        f"{held[0] / 2**30:.2f} GiB (control: {held[1] / 2**30:.2f} GiB)",
    )


def _whole_device(run: Seen) -> float:
    if (found := run.read_back.get("device_bytes")) is None:
        raise LookupError("the engine did not tell how much memory its device has")
    return number(found)


def _reserved(run: Seen) -> float:
    """Bytes that the engine's processes have taken of the device: of an accelerator's memory, or of the host's."""
    entries = run.observation["memory"]
    on_device = [number(entry["device_peak"]) for entry in entries if "device_peak" in entry]
    return sum(on_device or [number(entry["host_mapped"]) for entry in entries])


_STORED = {
    "float16": "torch.float16",
    "bfloat16": "torch.bfloat16",
    "fp8": "torch.uint8",
    "fp8_e4m3": "torch.uint8",
    "fp8_e5m2": "torch.uint8",
    "int8_per_token_head": "torch.int8",
}
"""Types of the tensors that hold the cache. Kinds of fp8 are all bytes: which one is in the layers' kernels."""


def _cache_dtype(run: Seen, control: Seen, value: JSON) -> Shown:
    stored = listed(facts(run, "kv_cache").get("dtypes"))
    wanted = names(run.read_back.get("parameter_dtypes")) if value == "auto" else [_STORED[str(value)]]
    kinds = names(run.read_back.get("cache_formats")) if wanted == ["torch.uint8"] else [str(value)]
    told = "" if kinds == [str(value)] else f" of kind {', '.join(kinds)}"
    error = relative_error(run, control)
    return Shown(
        stored == wanted and kinds == [str(value)] and error > NOTHING,
        f"cache tensors are {', '.join(map(str, stored))}{told}, logits differ by {error:.2g}",
    )


def _window(run: Seen, control: Seen, value: JSON) -> Shown:
    """Layers have no window and the model takes no more tokens than it had (False: they have, and it takes more)."""
    del control
    found = names(run.read_back.get("sliding_windows"))
    limit = number(run.read_back.get("max_model_len"))
    longest = max(_whole(entry) for entry in run.observation["sequences"])
    if value:
        fine = found == ["None"] and longest == limit == WINDOW
    else:
        fine = found == [str(WINDOW)] and limit > longest > WINDOW
    return Shown(
        fine,
        f"windows of the layers: {', '.join(found)}; prompts and outputs of up to {longest:g} tokens, of {limit:g}",
    )


def _whole(sequence: dict[str, JSON]) -> float:
    """Tokens of a prompt and its output."""
    return number(sequence["prompt_tokens"]) + len(listed(sequence["token_ids"]))


def _offloaded(run: Seen, control: Seen, value: JSON) -> Shown:
    """Less weight memory on the device than in the control (0: more)."""
    ours, theirs = (number(side.read_back.get("weight_bytes_on_device")) for side in (run, control))
    fine = ours > theirs if number(value) == 0 else ours < theirs
    return Shown(fine, f"{ours:.0f} bytes of weights on the device (control: {theirs:.0f})")


def _connected(run: Seen, control: Seen, value: JSON) -> Shown:
    del control, value
    name = facts(run, "scheduler").get("connector")
    return Shown(isinstance(name, str) and "Offload" in name, f"the scheduler's connector is {name}")


blocks = probe("so many requests run together as that many cache blocks hold", _blocks)
cache_bytes = probe("so many requests run together as blocks of that size altogether hold", _cache_bytes)
memory_share = probe("the cache, and what the processes reserve, take what the share leaves", _share)
cache_dtype = probe("cache tensors have the type (auto: the model's), and logits show it", _cache_dtype, logits=True)
sliding_window = probe(
    "layers have no window, and outputs end where it had (False: go on beyond it)",
    _window,
)
cpu_offload = probe("fewer bytes of weights lie on the device (0: more)", _offloaded)
kv_offloading = probe("the scheduler offloads cache blocks through a connector", _connected)
