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
    """Facts noted during one load."""

    def __init__(self, reads: Reads) -> None:
        self.reads = reads
        self.builds: int | None = None
        """None where nobody counted."""
        self.fullgraph: bool | None = None
        """Of the compiled model; None where none was compiled."""
        self.network: dict[str, JSON] = {}
        self.model: dict[str, JSON] = {}
        self.rows = 0
        self.batches = 0
        self.width = 0
        self.devices: set[str] = set()
        self.data = hashlib.sha256()

    def facts(self) -> dict[str, JSON]:
        """What was noted; nothing of what did not take place."""
        found: dict[str, JSON] = {}
        if self.builds is not None:
            found["build"] = {"builds": self.builds, **self.network}
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
    def watch(self, *, engine_path: bool) -> Iterator[None]:
        """Note for the time of a load."""
        places: list[tuple[str, str, str, str, Callable[..., Any]]] = [
            ("torch_compile.fullgraph", "torch", "", "compile", self._compiled)
        ]
        if engine_path:
            places = [
                ("build", "tensorrt_llm.builder", "Builder", "build_engine", self._network),
                ("model", "tensorrt_llm.llmapi.llm_utils", "", "build", self._built),
                (
                    "calibration",
                    "tensorrt_llm.quantization.quantize_by_modelopt",
                    "",
                    "quantize_model",
                    self._calibrated,
                ),
            ]
        with contextlib.ExitStack() as stack:
            for name, module, owner, attribute, noting in places:
                self.reads(name, partial(stack.enter_context, _noted(module, owner, attribute, noting)))
            if engine_path and "build" not in self.reads.unread:
                self.builds = 0
            yield

    def _compiled(self, original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Only a whole model counts: upstream compiles small functions in any case."""
        if args and hasattr(args[0], "named_parameters"):
            self.fullgraph = bool(kwargs.get("fullgraph"))
        return original(*args, **kwargs)

    def _network(self, original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        self.builds = (self.builds or 0) + 1
        given = (*args, *kwargs.values())
        network: Any = next((item for item in given if hasattr(item, "trt_network")), None)
        config: Any = next((item for item in given if hasattr(item, "trt_builder_config")), None)
        self.network = self.reads.group(
            "build",
            strongly_typed=lambda: _strongly_typed(network),
            optimization_level=lambda: int(config.trt_builder_config.builder_optimization_level),
        )
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
