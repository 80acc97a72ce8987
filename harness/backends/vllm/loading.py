"""Which loader ran and which weight files it opened: nothing in a loaded engine tells any more."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.jsontypes import JSON

_loads: list[dict[str, JSON]] = []


def watch() -> None:
    """Have every loader of this process note its class and the files that it reads weights from."""
    from vllm.model_executor.model_loader.base_loader import BaseModelLoader

    if hasattr(BaseModelLoader.load_model, "paramatrix"):
        return
    original = BaseModelLoader.load_model

    def load_model(loader: Any, *args: Any, **kwargs: Any) -> Any:
        entry: dict[str, JSON] = {"loader": type(loader).__name__, "files": [], "iterators": [], "opened": []}
        _loads.append(entry)
        with _files(loader, entry):
            return original(loader, *args, **kwargs)

    load_model.paramatrix = True  # type: ignore[attr-defined]
    BaseModelLoader.load_model = load_model


def seen() -> list[dict[str, Any]]:
    """One entry a model that was loaded in this process, in order."""
    return [dict(entry) for entry in _loads]


class _files:  # noqa: N801 - used as a function
    """Notes what the iterators over weights are given, for the time of one load."""

    def __init__(self, loader: Any, entry: dict[str, JSON]) -> None:
        import sys

        self.entry = entry
        self.module = sys.modules[type(loader).__module__]
        self.originals: list[tuple[Any, str, Any]] = []

    def __enter__(self) -> None:
        from vllm.model_executor.model_loader import weight_utils

        for name, function in list(vars(self.module).items()):
            if name.endswith("_weights_iterator") and callable(function):
                self._replace(self.module, name, self._noting(name, function))
        for name in ("safe_open", "load"):
            if callable(function := getattr(weight_utils, name, None)):
                self._replace(weight_utils, name, self._opening(name, function))

    def _replace(self, module: Any, name: str, function: Any) -> None:
        self.originals.append((module, name, getattr(module, name)))
        setattr(module, name, function)

    def __exit__(self, *_: object) -> None:
        for module, name, function in self.originals:
            setattr(module, name, function)

    def _opening(self, name: str, function: Any) -> Any:
        def opening(*args: Any, **kwargs: Any) -> Any:
            opened = self.entry["opened"]
            assert isinstance(opened, list)
            if name not in opened:
                opened.append(name)
            return function(*args, **kwargs)

        return opening

    def _noting(self, name: str, function: Any) -> Any:
        def noting(*args: Any, **kwargs: Any) -> Any:
            iterators, files = self.entry["iterators"], self.entry["files"]
            assert isinstance(iterators, list)
            assert isinstance(files, list)
            iterators.append(name)
            given = next((item for item in (*args, *kwargs.values()) if isinstance(item, list)), [])
            files.extend(str(item) for item in given)
            return function(*args, **kwargs)

        return noting
