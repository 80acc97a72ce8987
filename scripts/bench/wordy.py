"""A backend that does nothing, at once, and tells of it as much as a real one does."""

from __future__ import annotations

from typing import Final

from bench.commands import ROOT
from harness import store
from harness.backends.base import Calls, LoadJob
from harness.jsontypes import JSON
from harness.project import find
from tests.toy_backend import ToyBackend, ToyEngine


def _middling() -> dict[str, JSON]:
    """What was read back for the real cell that stands in the middle, when all are put in the order of its length."""
    told = [record.evidence.resolved for record in store.read(find(ROOT).results).measured if record.evidence.resolved]
    return sorted(told, key=lambda facts: len(repr(facts)))[len(told) // 2]


_FACTS: Final = _middling()


class WordyEngine(ToyEngine):
    """Tells it of every run."""

    def read_back(self) -> dict[str, JSON]:
        """The toy's facts among those of a real engine."""
        return {**_FACTS, **super().read_back()}


class WordyBackend(ToyBackend):
    """Has such engines."""

    def load(self, job: LoadJob, calls: Calls) -> WordyEngine:
        """As the toy does."""
        toy = super().load(job, calls)
        return WordyEngine(toy.model, toy.settings)


def create() -> WordyBackend:
    """As `harness.backends` expects."""
    return WordyBackend()
