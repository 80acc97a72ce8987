"""What is noted while upstream loads: networks that its builder is given, and data that calibration runs on.

Nothing in a finished engine tells any more. Each wrapper calls the original with the same arguments
and is taken away after the load. A version that keeps a function elsewhere is named as unread.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections import Counter
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from harness.backends.tensorrt.reads import Reads
    from harness.jsontypes import JSON


class Building:
    """Facts noted during one load of the engine path."""

    def __init__(self, reads: Reads) -> None:
        self.reads = reads
        self.builds = 0
        self.strongly_typed: bool | None = None
        self.model: dict[str, JSON] = {}
        self.rows = 0
        self.batches = 0
        self.width = 0
        self.devices: set[str] = set()
        self.data = hashlib.sha256()

    def facts(self) -> dict[str, JSON]:
        """What was noted; nothing of calibration where none ran."""
        found: dict[str, JSON] = {"build": {"builds": self.builds, "strongly_typed": self.strongly_typed}}
        if self.model:
            found["model"] = self.model
        if self.batches:
            found["calibration"] = {
                "batches": self.batches,
                "rows": self.rows,
                "width": self.width,
                "data": self.data.hexdigest(),
                "devices": sorted(self.devices),
            }
        return found

    @contextlib.contextmanager
    def watch(self) -> Iterator[None]:
        """Note for the time of a load."""
        with contextlib.ExitStack() as stack:
            for name, module, owner, attribute, noting in (
                ("build", "tensorrt_llm.builder", "Builder", "build_engine", self._network),
                ("build.model", "tensorrt_llm.llmapi.llm_utils", "", "build", self._built),
                (
                    "calibration",
                    "tensorrt_llm.quantization.quantize_by_modelopt",
                    "",
                    "quantize_model",
                    self._calibrated,
                ),
            ):
                noted = _noted(module, owner, attribute, noting)
                self.reads(name, partial(stack.enter_context, noted))
            yield

    def _network(self, original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        self.builds += 1
        network = next((item for item in (*args, *kwargs.values()) if hasattr(item, "trt_network")), None)
        self.strongly_typed = self.reads("build.strongly_typed", lambda: _strongly_typed(network))
        return original(*args, **kwargs)

    def _built(self, original: Callable[..., Any], model: Any, *args: Any, **kwargs: Any) -> Any:
        self.model = self.reads("model", lambda: _layers(model)) or {}
        return original(model, *args, **kwargs)

    def _calibrated(self, original: Callable[..., Any], model: Any, *args: Any, **kwargs: Any) -> Any:
        def seen(_module: Any, positional: tuple[Any, ...], named: dict[str, Any]) -> None:
            ids = named.get("input_ids", positional[0] if positional else None)
            if ids is None:
                return
            self.batches += 1
            self.rows += int(ids.shape[0])
            self.width = max(self.width, int(ids.shape[1]))
            self.devices.add(str(ids.device.type))
            self.data.update(repr(ids.tolist()).encode())

        hook = model.register_forward_pre_hook(seen, with_kwargs=True)
        try:
            return original(model, *args, **kwargs)
        finally:
            hook.remove()


@contextlib.contextmanager
def _noted(module: str, owner: str, attribute: str, noting: Callable[..., Any]) -> Iterator[None]:
    """Have calls of `module.owner.attribute` go through `noting`, whose first argument is the original."""
    place = import_module(module)
    place = getattr(place, owner) if owner else place
    original = getattr(place, attribute)

    def passed_through(*args: Any, **kwargs: Any) -> Any:
        return noting(original, *args, **kwargs)

    setattr(place, attribute, passed_through)
    try:
        yield
    finally:
        setattr(place, attribute, original)


def _strongly_typed(network: Any) -> bool:
    import tensorrt

    return bool(network.trt_network.get_flag(tensorrt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))


def _layers(model: Any) -> dict[str, JSON]:
    """Of the network about to be built: its linear layers by class, the bytes of their weights, rows per scale."""
    linear = [module for _, module in model.named_modules() if type(module).__name__.endswith("Linear")]
    groups = {int(module.group_size) for module in linear if getattr(module, "group_size", None)}
    weights = [module.weight.raw_value for module in linear]
    return {
        "linear_classes": dict(Counter(type(module).__name__ for module in linear)),
        "linear_dtypes": dict(Counter(str(weight.dtype) for weight in weights)),
        "linear_bytes": sum(int(weight.nbytes) for weight in weights),
        "linear_groups": sorted(groups),
    }
