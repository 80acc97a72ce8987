"""What a verdict rests on: the observed values that its probe and output rule looked at."""

from __future__ import annotations

from collections.abc import ItemsView, Iterator, KeysView, Mapping, ValuesView
from typing import Any, Final, cast

from harness.backends.base import Observation
from harness.declare import Seen
from harness.jsontypes import JSON
from harness.judge import judge
from harness.plan import Cell

RESOLVED: Final = "resolved"
"""Path under which values that were read back stand, as in a record's evidence."""


def rests_on(cell: Cell, treated: Seen, control: Seen) -> tuple[str, ...]:
    """Paths of the values looked at, in order: `outputs`, `resolved.kv_cache.blocks`.

    The cell is judged once more, on copies that note what is asked of them: what is judged stays free of it.
    """
    notes: dict[str, None] = {}
    judge(cell, _noted(treated, notes), _noted(control, notes))
    return tuple(path for path in notes if not any(path.startswith(f"{other}.") for other in notes))


def at(values: Mapping[str, JSON], path: str) -> JSON:
    """The value at a path of mappings, None where there is none. A key may itself hold dots."""
    if path in values:
        return values[path]
    for key, value in values.items():
        if path.startswith(f"{key}.") and isinstance(value, Mapping):
            return at(value, path.removeprefix(f"{key}."))
    return None


def _noted(seen: Seen, notes: dict[str, None]) -> Seen:
    observation = cast("Mapping[str, Any]", seen.observation)
    return Seen(
        cast("Observation", _Noted(observation, "", notes)), _Noted(seen.read_back, RESOLVED, notes), seen.calls
    )


class _Noted(dict[str, Any]):
    """A mapping that notes the paths of what is taken out of it; of mappings within, what is taken out of those."""

    def __init__(self, values: Mapping[str, Any], path: str, notes: dict[str, None]) -> None:
        super().__init__(values)
        self._path = path
        self._notes = notes

    def __getitem__(self, key: str) -> Any:
        return self._look(key, super().__getitem__(key))

    def get(self, key: str, default: Any = None) -> Any:
        return self[key] if key in self else self._look(key, default)

    def _look(self, key: str, value: Any) -> Any:
        path = f"{self._path}.{key}" if self._path else key
        if isinstance(value, Mapping):
            return _Noted(value, path, self._notes)
        self._notes[path] = None
        return value

    def _whole(self) -> None:
        if self._path:
            self._notes[self._path] = None

    def __iter__(self) -> Iterator[str]:
        self._whole()
        return super().__iter__()

    def __len__(self) -> int:
        self._whole()
        return super().__len__()

    def __eq__(self, other: object) -> bool:
        self._whole()
        return super().__eq__(other)

    __hash__ = None

    def keys(self) -> KeysView[str]:  # type: ignore[override]  # dict's own views have no name
        self._whole()
        return super().keys()

    def values(self) -> ValuesView[Any]:  # type: ignore[override]
        self._whole()
        return super().values()

    def items(self) -> ItemsView[str, Any]:  # type: ignore[override]
        self._whole()
        return super().items()
