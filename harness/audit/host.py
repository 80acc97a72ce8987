"""A host whose engines may be sabotaged, and what was seen on it, which is no observation of the matrix."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final

from harness import deafening
from harness.declare import Deaf, Seen
from harness.failure import Failure, short_of_memory
from harness.host import Attempt, BackendHost, Limits
from harness.launcher import Launcher
from harness.plan import Run
from harness.variants import VariantError, Variants
from harness.wire import Message

_SHORT: Final = 16


@dataclass(frozen=True, slots=True)
class Watched:
    """What a run of the audit showed, or how it failed. Not an `Attempt`: experiments and records take none."""

    seen: Seen | None
    failure: Failure | None


class _Worker(BackendHost):
    verb = deafening.VERB

    def deafened(self, run: Run, deaf: Deaf, model: str, cache_dir: str | None, *, alone: bool = False) -> Attempt:
        told: Message = {
            "source": deaf.file.read_text(encoding="utf-8"),
            "file": deaf.file.name,
            "function": deaf.function,
        }
        digest = hashlib.sha256(repr(sorted(told.items())).encode()).hexdigest()[:_SHORT]
        engine: Message = {"key": f"{run.engine_key}-deaf-{digest}", deafening.KEY: told}
        return self._observe(run, model, cache_dir, {}, 0.0, alone=alone, engine=engine)


class AuditHost:
    """One worker that runs what the audit asks for: each run once, honest ones and sabotaged ones apart."""

    def __init__(self, backend: str, launcher: Launcher, limits: Limits, variants: Variants, keep: int = 3) -> None:
        """`keep`: how many engines stay loaded."""
        self._worker = _Worker(backend, launcher, limits, keep)
        self._variants = variants
        self._watched: dict[tuple[str, Deaf | None], Watched] = {}

    def watch(self, run: Run, deaf: Deaf | None = None, *, again: bool = False) -> Watched:
        """What a run shows, in an engine made deaf if asked.

        Args:
            run: what is run.
            deaf: what its engine is made deaf by.
            again: in a fresh engine, though it was made before.

        Raises:
            HostUnavailable: the backend's interpreter cannot be started.
        """
        key = (run.key, deaf)
        if again or key not in self._watched:
            self._watched[key] = self._run(run, deaf, fresh=again)
        return self._watched[key]

    def _run(self, run: Run, deaf: Deaf | None, *, fresh: bool) -> Watched:
        try:
            model = self._variants.resolve(run)
        except VariantError as error:
            return Watched(None, Failure("load", "exception", type(error).__name__, str(error), where="harness"))
        where, cache_dir = model["model"], model.get("cache_dir")
        # an engine that is kept for later runs may be what holds the memory
        for alone in (False, True):
            if deaf is None:
                made = self._worker.observe(run, model=where, cache_dir=cache_dir, fresh=fresh, alone=alone)
            else:
                made = self._worker.deafened(run, deaf, where, cache_dir, alone=alone)
            if made.failure is None or not short_of_memory(made.failure):
                break
        return Watched(made.seen, made.failure)

    def close(self) -> None:
        """End the worker and its engines."""
        self._worker.close()
