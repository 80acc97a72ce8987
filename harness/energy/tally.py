"""What observations say of the work that was done, summed. Runs in the engine process as well."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final, cast

from harness.energy.meters import Missing
from harness.energy.quantities import Work

if TYPE_CHECKING:
    from harness.backends.base import Observation
    from harness.jsontypes import JSON

_ONE_PIECE: Final = Missing("output came in one piece: when a token came shows only where it is streamed")
_DIGITS: Final = 6
"""Of seconds: microseconds, as thousands of them travel."""


@dataclass(slots=True)
class Tally:
    """Tokens, times and peaks over any number of passes."""

    passes: int = 0
    output_tokens: int = 0
    prompt_tokens: int | None = 0
    """None where an output did not say how long its prompt was."""
    ttft_s: list[float] = field(default_factory=list)
    inter_token_s: list[float] = field(default_factory=list)
    """The time from a piece to the one before, over the tokens that it brought."""
    host_bytes: int | None = None
    """Most of any pass, added up over the engine's processes."""
    device_bytes: int | None = None

    @classmethod
    def parse(cls, message: Mapping[str, JSON]) -> Tally:
        """From the wire; `asdict` is the way there."""
        return cls(**cast("dict[str, Any]", dict(message)))

    def message(self) -> dict[str, JSON]:
        """As JSON."""
        return asdict(self)

    def add(self, seen: Observation) -> None:
        """Count one pass."""
        self.passes += 1
        outputs = seen.get("outputs", [])
        # of beams the best one is the output; of several sequences that were asked for each is
        delivered = outputs if "beams" in seen else seen.get("sequences") or outputs
        self.output_tokens += sum(len(cast("Sequence[int]", item["token_ids"])) for item in delivered)
        told = [output["prompt_tokens"] for output in outputs if "prompt_tokens" in output]
        if self.prompt_tokens is not None:
            self.prompt_tokens = self.prompt_tokens + sum(told) if len(told) == len(outputs) else None
        self._time(seen)
        self.host_bytes = _most(self.host_bytes, seen, "host_peak")
        self.device_bytes = _most(self.device_bytes, seen, "device_peak")

    def _time(self, seen: Observation) -> None:
        """First tokens and the times between tokens, where any output came in pieces."""
        pieces: dict[tuple[int, int], list[tuple[float, int]]] = defaultdict(list)
        for chunk in seen.get("chunks", []):
            if chunk["tokens"]:  # the rest is text that was held back
                pieces[chunk["prompt"], chunk["seed"]].append((chunk["at_s"], chunk["tokens"]))
        if not any(len(own) > 1 for own in pieces.values()):
            return
        for own in pieces.values():
            self.ttft_s.append(round(own[0][0], _DIGITS))
            for (before, _), (now, tokens) in pairwise(own):
                self.inter_token_s += [round((now - before) / tokens, _DIGITS)] * tokens

    def work(self) -> Work:
        """What the record is made of."""
        prompts = self.prompt_tokens
        return Work(
            output_tokens=self.output_tokens,
            total_tokens=Missing("the engine does not tell the length of prompts")
            if prompts is None
            else prompts + self.output_tokens,
            ttft_s=tuple(self.ttft_s) or _ONE_PIECE,
            inter_token_s=tuple(self.inter_token_s) or _ONE_PIECE,
            peak_device_bytes=Missing("the engine uses no GPU, or does not tell its memory")
            if self.device_bytes is None
            else self.device_bytes,
            peak_host_bytes=Missing("the engine does not tell its memory")
            if self.host_bytes is None
            else self.host_bytes,
        )


def _most(before: int | None, seen: Observation, name: str) -> int | None:
    told = [int(str(process[name])) for process in seen.get("memory", []) if name in process]
    return before if not told else max(before or 0, sum(told))
