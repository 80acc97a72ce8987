"""Reading objects whose inside no version promises: what cannot be read is named, never guessed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.jsontypes import JSON


class Reads:
    """Facts by name, and beside them the reads that failed, with their errors.

    A version that keeps a thing elsewhere then shows as an unread fact, which proves nothing,
    and not as a value that upstream does not use.
    """

    def __init__(self) -> None:
        self.unread: dict[str, JSON] = {}

    def __call__(self, name: str, read: Callable[[], Any]) -> Any:
        """What `read` gives, or None with its error noted under `name`."""
        try:
            return read()
        except Exception as error:  # noqa: BLE001 - whatever another version has in this place
            self.unread[name] = f"{type(error).__name__}: {error}"[:300]
            return None

    def group(self, name: str, **reads: Callable[[], Any]) -> dict[str, JSON]:
        """The facts of one thing that could be read; a fact that could not is left out."""
        found: dict[str, JSON] = {}
        for key, read in reads.items():
            full = f"{name}.{key}".lstrip(".")
            value = self(full, read)
            if full not in self.unread:
                found[key] = value
        return found
