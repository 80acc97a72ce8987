"""Upstream's results as observations, and the workers' notes joined to them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from harness.backends.base import Observation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.backends.base import Chunk, Output, Step
    from harness.jsontypes import JSON


@dataclass(slots=True)
class Told:
    """What was told so far, and which request belongs to which prompt."""

    outputs: list[Output] = field(default_factory=list)
    sequences: list[dict[str, JSON]] = field(default_factory=list)
    beams: list[dict[str, JSON]] = field(default_factory=list)
    logprobs: list[dict[str, JSON]] = field(default_factory=list)
    cached: list[dict[str, JSON]] = field(default_factory=list)
    chunks: list[Chunk] = field(default_factory=list)
    chunk_times: list[float] = field(default_factory=list)
    """When each chunk came, by the clock of the workers' notes."""
    owners: dict[int, tuple[int, int]] = field(default_factory=dict)
    """Number of a request to its (prompt, seed)."""

    def name(self, first: int, end: int, batch: tuple[int, ...], seed: int) -> None:
        """The requests numbered from `first` up to `end` came of this batch; a beam search makes many of one prompt."""
        for number in range(first, end):
            place = number - first if end - first == len(batch) else 0
            self.owners[number] = (batch[place], seed)

    def owner(self, request: str) -> tuple[int, int]:
        """(prompt, seed) of a worker's request id: "3-1f0c…", or "1_3-1f0c…" for one of several sequences."""
        return self.owners[int(request.split("-", 1)[0].rsplit("_", 1)[-1])]

    def observation(self, noted: Sequence[dict[str, Any]]) -> Observation:
        """Everything told, and what the workers noted."""
        lead = noted[0]
        # the workers of one engine core are given the same steps, those of another core others
        steps = sorted((step for worker in noted if worker["lead"] for step in worker["steps"]), key=lambda s: s["at"])
        observation: Observation = {
            "outputs": sorted(self.outputs, key=lambda output: (output["seed"], output["prompt"])),
            "sequences": self.sequences,
            "cached": self.cached,
            "chunks": self._timed(steps),
            "forwards": [[len(step["tokens"]), max(step["tokens"].values())] for step in steps],
            "scheduled": [
                {
                    "requests": [
                        [self.owner(request)[0], count, step["drafts"].get(request, 0)]
                        for request, count in step["tokens"].items()
                    ],
                    **{name: step[name] for name in ("adapters", "seeded") if step[name]},
                }
                for step in steps
            ],
            "processes": [
                {"pid": worker["pid"], "rank": worker["rank"], "forwards": len(worker["steps"])} for worker in noted
            ],
        }
        if self.beams:
            observation["beams"] = self.beams
        if self.logprobs:
            observation["logprobs"] = self.logprobs
        observation["loading"] = lead["loading"]
        if "operators" in lead:
            observation["operators"] = lead["operators"]
        if "modules" in lead:
            observation["modules"] = lead["modules"]
        if "adapted" in lead:
            observation["adapted"] = lead["adapted"]
        speaker = next((worker for worker in noted if worker.get("logits")), lead)
        if "scores" in speaker:
            self._scores(observation, speaker)
        return observation

    def _timed(self, steps: list[dict[str, Any]]) -> list[Chunk]:
        """The chunks, with the number of steps that had begun when each came."""
        if not self.chunk_times:
            return self.chunks
        begun = [step["at"] for step in steps]
        return [
            {**chunk, "forwards": sum(at <= now for at in begun)}
            for chunk, now in zip(self.chunks, self.chunk_times, strict=True)
        ]

    def _scores(self, observation: Observation, speaker: dict[str, Any]) -> None:
        own = {(output["prompt"], output["seed"]): output["token_ids"] for output in self.outputs}
        seeds = [seed for _, seed in self.owners.values()]
        first: dict[int, list[float]] = {}
        for request, logits in speaker["logits"].items():
            prompt, seed = self.owner(request)
            if seed == seeds[0]:
                first.setdefault(prompt, logits)
        observation["resolved"] = {"drawn": speaker["drawn"]}
        observation["logits"] = [first[prompt] for prompt in sorted(first)]
        kept: list[Step] = []
        for summary in speaker["scores"]:
            request = summary.pop("request")
            prompt, seed = self.owner(request)
            tokens = own.get((prompt, seed), [])
            if "_" in request.split("-", 1)[0] or summary["step"] >= len(tokens):
                continue  # one of several sequences: which of them an output is, is not told
            joined = {"prompt": prompt, "seed": seed, **summary, "token": tokens[summary["step"]]}
            kept.append(cast("Step", joined))
        if kept:
            observation["steps"] = kept


def describe_output(told: Told, result: Any, prompt: int, seed: int, parts: Sequence[Any] = ()) -> None:
    """One request's result; `parts` are its pieces when they were streamed."""
    first = result.outputs[0]
    pieces = [part.outputs[0] for part in parts] or [first]
    ids = [int(token) for piece in pieces for token in piece.token_ids]
    text = "".join(piece.text for piece in pieces)
    # a stop string or a stop id of the request names itself, the model's own end does not
    ended = first.finish_reason == "stop" and first.stop_reason is None
    output: Output = {"prompt": prompt, "seed": seed, "token_ids": ids, "text": text, "ended": ended}
    told.outputs.append({**output, "prompt_tokens": len(result.prompt_token_ids)})
    for sequence in result.outputs:
        own = ids if sequence is first else [int(token) for token in sequence.token_ids]
        told.sequences.append(
            {
                "prompt": prompt,
                "seed": seed,
                "index": int(sequence.index),
                "prompt_tokens": len(result.prompt_token_ids),
                "token_ids": list(own),
                "text": text if sequence is first else sequence.text,
                "finish_reason": sequence.finish_reason,
                "stop_reason": sequence.stop_reason,
            }
        )
    told.cached.append({"prompt": prompt, "seed": seed, "tokens": int(result.num_cached_tokens or 0)})
    if first.logprobs is not None or result.prompt_logprobs is not None:
        told.logprobs.append(_logprobs(result, prompt, seed, ids))


def _logprobs(result: Any, prompt: int, seed: int, ids: list[int]) -> dict[str, JSON]:
    """How many entries each position has, and the values at the first generated one."""
    own = result.outputs[0].logprobs
    listed = [own[place] for place in range(len(own))] if own is not None else []
    asked = result.prompt_logprobs
    prompts = [asked[place] for place in range(len(asked))] if asked is not None else []
    return {
        "prompt": prompt,
        "seed": seed,
        "class": type(own).__name__,
        "entries": [len(position) for position in listed],
        "prompt_entries": [len(position) if position else 0 for position in prompts],
        "chosen": [float(position[token].logprob) for position, token in zip(listed, ids, strict=False)],
        "first": sorted((float(entry.logprob) for entry in listed[0].values()), reverse=True)[:64] if listed else [],
        "first_ids": sorted(int(token) for token in listed[0])[:64] if listed else [],
    }


def describe_beams(told: Told, result: Any, prompt: int, seed: int, engine: Any) -> None:
    """One prompt's beams, best first; the best of them is the output.

    `log_probabilities` sums the log-probabilities of each beam's own tokens, taken one by one from what
    every step returned, apart from upstream's own `cum_logprob`.
    """
    ending = engine.get_tokenizer().eos_token_id
    beams = result.sequences
    ids, sums = [], []
    for beam in beams:
        width = len(beam.tokens) - len(beam.logprobs)
        own = [int(token) for token in beam.tokens[width:]]
        ids.append(own)
        sums.append(sum(float(step[token].logprob) for step, token in zip(beam.logprobs, own, strict=True)))
    told.beams.append(
        {
            "prompt": prompt,
            "seed": seed,
            "lengths": [len(own) for own in ids],
            "whole_lengths": [len(beam.tokens) for beam in beams],
            "log_probabilities": list(sums),
            "cumulative": [float(beam.cum_logprob) for beam in beams],
            "token_ids": [list(own) for own in ids],
            "ended": [bool(own) and own[-1] == ending for own in ids],
        }
    )
    best = ids[0]
    ended = bool(best) and best[-1] == ending
    text = engine.get_tokenizer().decode(best, skip_special_tokens=True)
    output: Output = {"prompt": prompt, "seed": seed, "token_ids": best, "text": text, "ended": ended}
    told.outputs.append({**output, "prompt_tokens": len(beams[0].tokens) - len(best)})
