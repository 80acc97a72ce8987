"""Upstream's results as observations."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from harness.backends.base import Observation
from harness.backends.tensorrt.scores import first_logits, steps_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.backends.base import Chunk, Output, Step
    from harness.backends.tensorrt.witness import Witness
    from harness.jsontypes import JSON


@dataclass(slots=True)
class Told:
    """What was told so far, and which request belongs to which prompt."""

    instruments: frozenset[str] = frozenset()
    biased: frozenset[int] = frozenset()
    """Ids whose logits were asked to be moved."""
    outputs: list[Output] = field(default_factory=list)
    sequences: list[dict[str, JSON]] = field(default_factory=list)
    beams: list[dict[str, JSON]] = field(default_factory=list)
    logprobs: list[dict[str, JSON]] = field(default_factory=list)
    cached: list[dict[str, JSON]] = field(default_factory=list)
    returned: list[dict[str, JSON]] = field(default_factory=list)
    chunks: list[Chunk] = field(default_factory=list)
    logits: dict[int, list[float]] = field(default_factory=dict)
    """Of the first seed, by prompt."""
    steps: list[Step] = field(default_factory=list)
    owners: dict[int, int] = field(default_factory=dict)
    """Id of a request to its prompt."""

    def take(self, result: Any, params: Any, prompt: int, seed: int) -> None:
        """One request's result."""
        self.owners[int(result.request_id)] = prompt
        first = result.outputs[0]
        ids = _ids(first)
        # a stop string or a stop id of the request names itself, the model's own end does not
        ended = first.finish_reason == "stop" and first.stop_reason is None
        asked = [int(token) for token in result.prompt_token_ids]
        output: Output = {"prompt": prompt, "seed": seed, "token_ids": ids, "text": first.text, "ended": ended}
        self.outputs.append({**output, "prompt_tokens": len(asked)})
        for sequence in result.outputs:
            self.sequences.append(
                {
                    "prompt": prompt,
                    "seed": seed,
                    "index": int(sequence.index),
                    "prompt_tokens": len(asked),
                    "token_ids": list(_ids(sequence)),
                    "text": sequence.text,
                    "finish_reason": sequence.finish_reason,
                    "stop_reason": sequence.stop_reason,
                    "cumulative_logprob": _number(sequence.cumulative_logprob),
                }
            )
        if (cached := getattr(result, "cached_tokens", None)) is not None:
            self.cached.append({"prompt": prompt, "seed": seed, "tokens": int(cached)})
        self.returned.append(_returned(result, prompt, seed, asked))
        if first.logprobs or first.prompt_logprobs:
            self.logprobs.append(_logprobs(first, prompt, seed, ids))
        if params.use_beam_search:
            self._beams(result, params, prompt, seed)
        if self.instruments & {"scores", "logits"} and first.generation_logits is not None:
            self._scores(first.generation_logits, params.end_id, asked, self.outputs[-1])

    def _beams(self, result: Any, params: Any, prompt: int, seed: int) -> None:
        """A search's beams, best first, as upstream ranks them."""
        ids = [_ids(beam) for beam in result.outputs]
        self.beams.append(
            {
                "prompt": prompt,
                "seed": seed,
                "lengths": [len(own) for own in ids],
                "whole_lengths": [len(result.prompt_token_ids) + len(own) for own in ids],
                "cumulative": [_number(beam.cumulative_logprob) for beam in result.outputs],
                "log_probabilities": [_sum(beam, own) for beam, own in zip(result.outputs, ids, strict=True)],
                "token_ids": [list(own) for own in ids],
                "ended": [beam.finish_reason == "stop" for beam in result.outputs],
                "length_penalty": _number(params.length_penalty),
            }
        )

    def _scores(self, logits: Any, end: int | None, asked: list[int], output: Output) -> None:
        rows = logits if logits.dim() == 2 else logits[0]  # some versions give one matrix a sequence
        rows, prompt = rows[: len(output["token_ids"])], output["prompt"]
        if prompt not in self.logits and rows.shape[0]:
            self.logits[prompt] = first_logits(rows)
        if "scores" in self.instruments:
            self.steps += steps_of(rows, asked, output, {*self.biased, *(() if end is None else (end,))}, end)

    def observation(self, witness: Witness) -> Observation:
        """Everything told, and what was noted meanwhile."""
        # a request whose answer never came belongs to no prompt, and is not counted as one
        scheduled = [
            [[self.owners[client], *counts] for client, *counts in step if client in self.owners]
            for step in witness.steps
        ]
        observation: Observation = {
            "outputs": sorted(self.outputs, key=lambda output: (output["seed"], output["prompt"])),
            "sequences": self.sequences,
            "chunks": self.chunks,
        }
        if forwards := _forwards(witness.iterations, scheduled):
            observation["forwards"] = forwards
        if scheduled:
            observation["scheduled"] = [{"requests": [list(item) for item in step]} for step in scheduled]
        if self.cached:
            observation["cached"] = self.cached
        if self.beams:
            observation["beams"] = self.beams
        if self.logprobs:
            observation["logprobs"] = self.logprobs
        if self.logits:
            observation["logits"] = [self.logits[prompt] for prompt in sorted(self.logits)]
        if self.steps:
            observation["steps"] = self.steps
        observation["resolved"] = {"returned": list(self.returned), **witness.resolved()}
        return observation


def _ids(sequence: Any) -> list[int]:
    return [int(token) for token in sequence.token_ids]


def _number(value: Any) -> float | None:
    return None if value is None else float(value)


def _sum(beam: Any, ids: list[int]) -> float | None:
    """Of the log-probabilities of a beam's own tokens, where they were asked for."""
    if not beam.logprobs or len(beam.logprobs) != len(ids):
        return None
    chosen = _chosen(beam.logprobs, ids)
    return None if chosen is None else sum(chosen)


def _chosen(positions: Sequence[Any], ids: list[int]) -> list[float] | None:
    """The tokens' own values; None where a position lists others alone.

    A position is a mapping of ids, or in some versions the chosen token's number alone.
    """
    pairs = list(zip(positions, ids, strict=False))
    if any(isinstance(position, dict) and token not in position for position, token in pairs):
        return None
    return [float(one[token].logprob if isinstance(one, dict) else one) for one, token in pairs]


def _logprobs(first: Any, prompt: int, seed: int, ids: list[int]) -> dict[str, JSON]:
    """How many entries each position has, and the values at the first generated one."""
    own, asked = list(first.logprobs or ()), list(first.prompt_logprobs or ())
    head = own[0] if own and isinstance(own[0], dict) else {}
    chosen = _chosen(own, ids)
    return {
        "prompt": prompt,
        "seed": seed,
        "entries": [len(position) if isinstance(position, dict) else 1 for position in own],
        "prompt_entries": [len(position) if isinstance(position, dict) else 1 for position in asked],
        **({} if chosen is None else {"chosen": list(chosen)}),
        "first": sorted((float(entry.logprob) for entry in head.values()), reverse=True)[:64],
        "first_ids": sorted(int(token) for token in head)[:64],
    }


def _returned(result: Any, prompt: int, seed: int, asked: list[int]) -> dict[str, JSON]:
    """What came back besides tokens: shapes of logits, whether the prompt stands in the output, measures."""
    first = result.outputs[0]
    shapes = {
        name: None if tensor is None else list(tensor.shape)
        for name, tensor in (
            ("context_logits", getattr(result, "context_logits", None)),
            ("generation_logits", first.generation_logits),
        )
    }
    return {
        "prompt": prompt,
        "seed": seed,
        **shapes,
        "prompt_in_output": bool(asked) and _ids(first)[: len(asked)] == asked,
        "perf_metrics": getattr(first, "request_perf_metrics", None) is not None,
        "text": first.text is not None and first.text != "",
    }


def _forwards(iterations: Sequence[dict[str, Any]], scheduled: Sequence[list[list[int]]]) -> list[list[int]]:
    """[rows, width] of each step: as it was seen, else as upstream's statistics tell it."""
    if scheduled:
        return [[len(step), max(tokens for _, tokens, _ in step)] for step in scheduled if step]
    found = [item["inflightBatchingStats"] for item in iterations if "inflightBatchingStats" in item]
    return [
        [int(step["numScheduledRequests"]), max(1, int(step.get("numCtxTokens", 1)))]
        for step in found
        if step.get("numScheduledRequests")
    ]
