"""Watching a model generate: the shapes it is called with and the objects that do the work.

Everything noted here is taken from what upstream passes around during the call itself.
Nothing is replaced by something that computes differently.
"""

from __future__ import annotations

import sys
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

from harness.backends.describe import describe
from harness.backends.pytorch.tape import Tape, recording_processors

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.backends.base import Attended
    from harness.jsontypes import JSON


class Watch:
    """What one process saw while it ran a job."""

    def __init__(self) -> None:
        self.forwards: list[list[int]] = []
        self.caches: list[dict[str, JSON]] = []
        """Distinct caches, one entry a kind, in order of appearance."""
        self.processors: dict[str, JSON] = {}
        """Class → attributes of every logits processor that was in use."""
        self.generation_config: dict[str, JSON] = {}
        """Effective config of the first call, upstream's defaults filled in."""
        self.attention: Counter[str] = Counter()
        """Function that attention layers fetched for themselves → times."""
        self.attended: list[Attended] | None = None
        """What attention was given, where that is asked for."""
        self._lay: dict[int, int] = {}
        """Layer → address of the keys of its latest call."""
        self.fetched: Counter[str] = Counter()
        """Where weights lay that were brought in for a forward call → times."""
        self.tape: Tape | None = None
        self.last_config: Any = None
        """The config object of the latest call: the very one its decoding loop reads."""

    def keep_config(self) -> None:
        """Keep the effective config of the first call; the others are the same but for lengths."""
        if not self.generation_config and self.last_config is not None:
            self.generation_config = cast("dict[str, JSON]", describe(self.last_config.to_diff_dict()))

    def ending_ids(self) -> set[int]:
        """The ids that end a sequence, by the config that `generate` really used."""
        ending = getattr(self.last_config, "eos_token_id", None)
        if ending is None:
            return set()
        return set(ending) if isinstance(ending, (list, tuple)) else {int(ending)}

    def resolved(self) -> dict[str, JSON]:
        """Everything seen, but for the forward calls."""
        mode = None if self.last_config is None else str(self.last_config.get_generation_mode().value)
        return {
            "generation_config": self.generation_config,
            "generation_mode": mode,
            "logits_processors": dict(self.processors),
            "caches": [dict(cache) for cache in self.caches],
            "attention_functions": dict(self.attention),
        }

    def saw_forward(self, kwargs: dict[str, Any], args: tuple[Any, ...]) -> None:
        """Note the shape of the ids that the model is called with."""
        ids = kwargs.get("input_ids", args[0] if args else None)
        ids = kwargs.get("inputs_embeds") if ids is None else ids
        if ids is not None:
            self.forwards.append([int(ids.shape[0]), int(ids.shape[1])])

    def saw_cache(self, cache: Any) -> None:
        """Note the cache that came out of a forward call."""
        seen: dict[str, JSON] = {"class": type(cache).__name__}
        layers = getattr(cache, "layers", None) or []
        seen["layers"] = describe(Counter(type(layer).__name__ for layer in layers))
        seen["offloading"] = bool(getattr(cache, "offloading", False))
        keys = getattr(layers[0], "keys", None) if layers else None
        if keys is not None and hasattr(keys, "dtype"):
            seen["dtype"], seen["device"] = str(keys.dtype), str(keys.device)
        for name in ("max_cache_len", "nbits", "sliding_window"):
            value = getattr(layers[0], name, None) if layers else None
            if isinstance(value, int):
                seen[name] = value
        stored = getattr(layers[0], "_quantized_keys", None) if layers else None
        if stored is not None:
            seen["stored_as"] = f"{type(stored).__name__}:{getattr(stored, 'qtype', stored.dtype)}"
        if seen not in self.caches:
            self.caches.append(seen)

    def saw_attention(self, module: Any, query: Any, key: Any, kwargs: dict[str, Any]) -> None:
        """Note what one call of an attention function was given."""
        if self.attended is None:
            return
        layer = int(getattr(module, "layer_idx", -1))
        lies = int(key.data_ptr())
        self.attended.append(
            {
                "layer": layer,
                "queries": int(query.shape[2]),
                "keys": int(key.shape[2]),
                "kept": self._lay.get(layer) == lies,
                "indexed": bool(kwargs.get("write_index")) or kwargs.get("block_table") is not None,
            }
        )
        self._lay[layer] = lies

    def saw_processors(self, processors: Any) -> None:
        """Note the logits processors that `generate` is about to use."""
        for processor in processors:
            self.processors[type(processor).__name__] = {
                name: _plain(value) for name, value in vars(processor).items() if not name.startswith("_")
            }


@contextmanager
def watching(model: Any, watch: Watch, *, compiled: bool) -> Iterator[None]:
    """Attach `watch` to a model for the time of a job.

    Hooks sit on the outermost module only, where they stay outside of compiled code.
    """
    import torch
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    # on an accelerator upstream compiles the steps of a static cache, where tensors have no addresses
    saw_attention = torch.compiler.disable(watch.saw_attention)

    def before(_module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        watch.saw_forward(kwargs, args)

    def after(_module: Any, _args: Any, kwargs: dict[str, Any], output: Any) -> None:
        # continuous batching hands its paged cache over under a name of its own
        candidates = (getattr(output, "past_key_values", None), kwargs.get("past_key_values"), kwargs.get("cache"))
        watch.saw_cache(next((cache for cache in candidates if cache is not None), None))

    def processors(*args: Any, **kwargs: Any) -> Any:
        found = type(model)._get_logits_processor(model, *args, **kwargs)
        watch.saw_processors(found)
        return found if watch.tape is None else recording_processors(found, watch.tape)

    def configuration(*args: Any, **kwargs: Any) -> Any:
        config, rest = type(model)._prepare_generation_config(model, *args, **kwargs)
        watch.last_config = config
        return config, rest

    def interface(name: str, default: Any) -> Any:
        function = type(ALL_ATTENTION_FUNCTIONS).get_interface(ALL_ATTENTION_FUNCTIONS, name, default)
        watch.attention[f"{function.__module__}.{function.__qualname__}"] += 1

        def attend(module: Any, query: Any, key: Any, *args: Any, **kwargs: Any) -> Any:
            saw_attention(module, query, key, kwargs)
            return function(module, query, key, *args, **kwargs)

        return attend if watch.attended is not None else function

    hooks = [
        model.register_forward_pre_hook(before, with_kwargs=True),
        model.register_forward_hook(after, with_kwargs=True),
    ]
    model._get_logits_processor = processors
    model._prepare_generation_config = configuration
    if not compiled:
        ALL_ATTENTION_FUNCTIONS.get_interface = interface
    try:
        with _fetching(watch):
            yield
    finally:
        for hook in hooks:
            hook.remove()
        del model._get_logits_processor, model._prepare_generation_config
        vars(ALL_ATTENTION_FUNCTIONS).pop("get_interface", None)


@contextmanager
def _fetching(watch: Watch) -> Iterator[None]:
    """Count the weights that accelerate's hooks look up for a forward call, where there are any such hooks."""
    offload = sys.modules.get("accelerate.utils.offload")
    if offload is None:
        yield
        return
    loader = offload.OffloadedWeightsLoader
    original = loader.__getitem__

    def fetch(self: Any, key: str) -> Any:
        watch.fetched["memory" if key in self.state_dict else "disk"] += 1
        return original(self, key)

    loader.__getitem__ = fetch
    try:
        yield
    finally:
        loader.__getitem__ = original


def _plain(value: Any) -> JSON:
    """A processor's attribute; small tensors by value, since an id tensor's shape says nothing."""
    if hasattr(value, "numel") and value.numel() <= 8:
        listed: JSON = value.tolist()
        return listed
    return describe(value)
