"""Generation in one process: run the batches of a request under every seed and report."""

from __future__ import annotations

import os
import time
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.backends import torchside
from harness.backends.base import Observation
from harness.backends.pacing import wait_until
from harness.backends.pytorch import compiling
from harness.backends.pytorch.beams import describe_beams
from harness.backends.pytorch.observe import Watch, watching
from harness.backends.pytorch.streaming import timed_streamer
from harness.backends.pytorch.tape import Tape
from harness.backends.steps import thin

if TYPE_CHECKING:
    from harness.backends.base import Calls, Output
    from harness.backends.pytorch.load import Loaded


@dataclass(frozen=True, slots=True)
class Work:
    """Prompts that go to the library in one call, and when (seconds after the start)."""

    prompts: tuple[int, ...]
    at: float | None


@dataclass(frozen=True, slots=True)
class Request:
    """A generate job with every setting already turned into what upstream takes."""

    prompts: tuple[str, ...]
    work: tuple[Work, ...]
    passes: tuple[tuple[int, int], ...]
    """Of each pass its own seed, and the one that it runs under."""
    arguments: dict[str, Any]
    streaming: bool | None
    instruments: frozenset[str]


@dataclass(slots=True)
class Replica:
    """One loaded model in one process."""

    loaded: Loaded
    rank: int

    def run(self, request: Request, calls: Calls) -> Observation:
        """Generate for all of `request.work` under each seed."""
        import transformers

        run = _Run(self.loaded, request, calls)
        compilation = self.loaded.compilation
        before = compiling.Mark.take(compilation)
        torchside.reset_peak_memory()
        with (
            watching(self.loaded.model, run.watch, compiled=bool(compilation.enabled)),
            torchside.profiler() if "operators" in request.instruments else nullcontext() as profiler,
        ):
            start = time.perf_counter()
            for number, (seed, seeded) in enumerate(request.passes):
                calls("transformers.set_seed", transformers.set_seed, seeded)
                for work in request.work:
                    if number == 0:
                        # one pass is paced: under further seeds the arrivals would be the same
                        if work.at is not None:
                            wait_until(start + work.at)
                        run.seen["arrivals"].append(time.perf_counter() - start)
                        run.seen["batches"].append(list(work.prompts))
                    run.call(work, seed)
        if profiler is not None:
            run.seen["operators"] = {event.key: int(event.count) for event in profiler.key_averages()}
        run.seen["compiled"] = before.change(compilation)
        run.seen["resolved"] = run.watch.resolved()
        run.seen["fetched"] = dict(run.watch.fetched)
        if run.watch.attended is not None:
            run.seen["attended"] = run.watch.attended
        run.seen["memory"] = [torchside.peak_memory()]
        run.seen["processes"] = [
            {
                "pid": os.getpid(),
                "rank": self.rank,
                "prompts": sorted({output["prompt"] for output in run.seen["outputs"]}),
                "forwards": len(run.watch.forwards),
            }
        ]
        return run.seen


def _streamer(watch: Watch, tokenizer: Any, prompt: int, seed: int) -> Any:
    return timed_streamer(tokenizer, prompt, seed, lambda: len(watch.forwards))


class _Run:
    """A request while it is being run: each call of `generate` adds to `seen`."""

    def __init__(self, loaded: Loaded, request: Request, calls: Calls) -> None:
        self.loaded = loaded
        self.request = request
        self.calls = calls
        self.watch = Watch()
        if "attention" in request.instruments:
            self.watch.attended = []
        self.arguments = {**loaded.defaults, **request.arguments}
        # a paged cache drops num_beams: one sequence a prompt comes back, and asking for more is a KeyError
        paged = self.arguments.get("cache_implementation") == "paged"
        self.beams = 1 if paged else int(self.arguments.get("num_beams") or 1)
        if self.beams > 1:
            # all beams and their scores come back; the search itself is the same
            self.arguments.update(num_return_sequences=self.beams, output_scores=True)
        self.seen: Observation = {
            "outputs": [],
            "batches": [],
            "chunks": [],
            "arrivals": [],
            "forwards": self.watch.forwards,
            "seconds": 0.0,
        }

    def call(self, work: Work, seed: int) -> None:
        """One call of upstream's `generate`, timed with the accelerator's queue empty."""
        import torch

        model, tokenizer = self.loaded.model, self.loaded.tokenizer
        texts = [self.request.prompts[index] for index in work.prompts]
        encoded = self.calls("tokenizer", tokenizer, texts, return_tensors="pt", padding=True)
        inputs = {name: encoded[name].to(model.device) for name in ("input_ids", "attention_mask")}
        width = int(inputs["input_ids"].shape[1])
        if self.request.instruments & {"scores", "logits"}:
            self.watch.tape = Tape(width, scores="scores" in self.request.instruments)
        if self.request.streaming is not None:
            # False is forwarded too: it is upstream's `streamer=None`
            streaming = self.request.streaming
            streamer = _streamer(self.watch, tokenizer, work.prompts[0], seed) if streaming else None
            self.arguments["streamer"] = streamer

        torchside.synchronise()
        started = time.perf_counter()
        with torch.no_grad():
            result = self.calls("generate", model.generate, **inputs, **self.arguments, return_dict_in_generate=True)
        torchside.synchronise()
        seconds = time.perf_counter() - started

        self.seen["seconds"] += seconds
        self.watch.keep_config()
        rows = self._keep_outputs(result, work, inputs["attention_mask"], seed, seconds)
        if self.beams > 1:
            self.seen.setdefault("beams", []).extend(
                describe_beams(model, result, work.prompts, width=width, seed=seed, ending=self.watch.ending_ids())
            )
        if self.watch.tape is not None:
            self._keep_tape(self.watch.tape, rows, seed)

    def _keep_outputs(
        self, result: Any, work: Work, mask: Any, seed: int, seconds: float
    ) -> dict[int, tuple[int, list[int]]]:
        """Outputs and chunks of one call; `mask` tells its prompts from padding. Row → (prompt, generated ids)."""
        sequences = getattr(result, "sequences", result)
        if sequences.dim() == 3:
            # cache_implementation="paged" answers with one more dimension in front
            sequences = sequences[0]
        ending = self.watch.ending_ids()
        rows: dict[int, tuple[int, list[int]]] = {}
        width = int(mask.shape[1])
        for position, (index, length) in enumerate(zip(work.prompts, mask.sum(dim=1).tolist(), strict=True)):
            row = position * self.beams
            ids, ended = _own_ids(sequences[row, width:].tolist(), ending)
            rows[row] = (index, ids)
            text = self.loaded.tokenizer.decode(ids, skip_special_tokens=True)
            output: Output = {"prompt": index, "seed": seed, "token_ids": ids, "text": text, "ended": ended}
            self.seen["outputs"].append({**output, "prompt_tokens": length})
            if not self.request.streaming:
                self.seen["chunks"].append(
                    {"prompt": index, "seed": seed, "at_s": seconds, "tokens": len(ids), "text": text}
                )
        if self.request.streaming:
            self.seen["chunks"].extend(self.arguments["streamer"].chunks)
        return rows

    def _keep_tape(self, tape: Tape, rows: dict[int, tuple[int, list[int]]], seed: int) -> None:
        if tape.scores and self.beams == 1:
            # beams change rows at every step, so a row's steps are not one output's
            self.seen.setdefault("steps", []).extend(tape.steps(rows, seed))
        if seed == self.request.passes[0][0]:
            for row in rows:
                if row in tape.first:
                    self.seen.setdefault("logits", []).append(thin(tape.first[row]))


def _own_ids(ids: list[int], ending: set[int]) -> tuple[list[int], bool]:
    """Generated ids up to and including the first EOS, and whether there was one."""
    for position, token in enumerate(ids):
        if token in ending:
            return ids[: position + 1], True
    return ids, False
