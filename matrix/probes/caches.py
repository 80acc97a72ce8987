"""The memory of a loaded engine: its key-value cache, and what lies elsewhere than on the device."""

from __future__ import annotations

from harness.declare import Seen, Shown
from harness.jsontypes import JSON
from harness.judge import relative_error
from matrix.probes.readback import arguments, facts, listed, probe
from matrix.probes.scores import number
from matrix.probes.state import NOTHING, names


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
    other = number(arguments(control, "LLM", "gpu_memory_utilization")[0]) * total - theirs
    return Shown(
        abs(rest - other) < 0.03 * total,
        f"a cache of {size / 2**30:.2f} GiB: {size / total:.0%} of the device's memory, {rest / 2**30:.2f} GiB short "
        f"of the share (control: {other / 2**30:.2f} GiB)",
    )


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
    stored = listed(facts(run, "kv_cache").get("dtypes"))
    wanted = names(run.read_back.get("parameter_dtypes")) if value == "auto" else [_STORED[str(value)]]
    error = relative_error(run, control)
    return Shown(
        stored == wanted and error > NOTHING,
        f"cache tensors are {', '.join(map(str, stored))}, logits differ by {error:.2g}",
    )


def _window(run: Seen, control: Seen, value: JSON) -> Shown:
    """Layers have no window and the model takes no more tokens than it had (False: they have, and it takes more)."""
    found = names(run.read_back.get("sliding_windows"))
    ours, theirs = (number(side.read_back.get("max_model_len")) for side in (run, control))
    fine = found == ["None"] and ours < theirs if value else found != ["None"] and ours > theirs
    return Shown(fine, f"windows of the layers: {', '.join(found)}; at most {ours:g} tokens (control: {theirs:g})")


def _offloaded(run: Seen, control: Seen, value: JSON) -> Shown:
    """Less weight memory on the device than in the control (0: more)."""
    ours, theirs = (number(side.read_back.get("weight_bytes_on_device")) for side in (run, control))
    fine = ours > theirs if number(value) == 0 else ours < theirs
    return Shown(fine, f"{ours:.0f} bytes of weights on the device (control: {theirs:.0f})")


def _connected(run: Seen, control: Seen, value: JSON) -> Shown:
    del control, value
    name = facts(run, "scheduler").get("connector")
    return Shown(isinstance(name, str) and "Offload" in name, f"the scheduler's connector is {name}")


blocks = probe("that many cache blocks are allocated", _blocks)
cache_bytes = probe("cache tensors of that size are allocated, in whole blocks", _cache_bytes)
memory_share = probe("the cache takes what the share leaves", _share)
cache_dtype = probe("cache tensors have the type (auto: the model's), and logits show it", _cache_dtype, logits=True)
sliding_window = probe(
    "layers have no window, and the model takes no more tokens than it had (False: neither)",
    _window,
)
cpu_offload = probe("fewer bytes of weights lie on the device (0: more)", _offloaded)
kv_offloading = probe("the scheduler offloads cache blocks through a connector", _connected)
