"""Generation in one process: run the batches of a request under every seed and report."""

from __future__ import annotations

import os
import time
from collections import Counter
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, TYPE_CHECKING

from harness.backends.base import Calls, Chunk, Observation, Output, Step, describe
from harness.backends.pacing import wait_until
from harness.backends.pytorch import compiling
from harness.backends.pytorch.beams import describe_beams
from harness.backends.pytorch.observe import Watch, watching
from harness.backends.pytorch.steps import Tape
from harness.backends.pytorch.streaming import timed_streamer

if TYPE_CHECKING:
    from harness.jsontypes import JSON
    from harness.backends.pytorch.load import Loaded

SAMPLED_LOGITS = 256


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
    seeds: tuple[int, ...]
    forced_seed: int | None
    """Declared `random_seed`: used for every pass instead of the pass's own."""
    arguments: dict[str, Any]
    streaming: bool | None
    instruments: frozenset[str]


class Replica:
    """One loaded model in one process."""

    def __init__(self, loaded: Loaded, rank: int) -> None:
        self.loaded = loaded
        self.rank = rank

    def run(self, request: Request, calls: Calls) -> Observation:
        """Generate for all of `request.work` under each seed."""
        import transformers

        observation: Observation = {"outputs": [], "batches": [], "chunks": [], "arrivals": []}
        watch = Watch()
        compilation = self.loaded.compilation
        before, graphs, runs = compiling.counters(), len(compilation.graphs), Counter(compilation.runs)
        spent = 0.0
        with (
            watching(self.loaded.model, watch, compiled=bool(compilation.enabled)),
            _profiler("operators" in request.instruments) as profiler,
        ):
            start = time.perf_counter()
            for number, seed in enumerate(request.seeds):
                seeded = seed if request.forced_seed is None else request.forced_seed
                calls("transformers.set_seed", transformers.set_seed, seeded)
                for work in request.work:
                    if number == 0:
                        # one pass is paced: under further seeds the arrivals would be the same
                        if work.at is not None:
                            wait_until(start + work.at)
                        observation["arrivals"].append(time.perf_counter() - start)
                        observation["batches"].append(list(work.prompts))
                    spent += self._generate(request, work, seed, watch, observation, calls)
        if profiler is not None:
            observation["operators"] = {event.key: int(event.count) for event in profiler.key_averages()}
        observation["seconds"] = spent
        observation["forwards"] = watch.forwards
        observation["compiled"] = compiling.change(compilation, before, graphs, runs)
        observation["resolved"] = self._resolved(watch)
        observation["memory"] = _memory()
        observation["processes"] = [
            {
                "pid": os.getpid(),
                "rank": self.rank,
                "prompts": [index for work in request.work for index in work.prompts],
                "forwards": len(watch.forwards),
            }
        ]
        return observation

    def _generate(
        self, request: Request, work: Work, seed: int, watch: Watch, observation: Observation, calls: Calls
    ) -> float:
        """One call of upstream's `generate`. Returns the seconds spent in it."""
        import torch

        model, tokenizer = self.loaded.model, self.loaded.tokenizer
        encoded = tokenizer([request.prompts[index] for index in work.prompts], return_tensors="pt", padding=True)
        encoded = {name: encoded[name].to(model.device) for name in ("input_ids", "attention_mask")}
        width = int(encoded["input_ids"].shape[1])
        arguments = {**self.loaded.defaults, **request.arguments}
        beams = int(arguments.get("num_beams") or 1)
        if request.instruments & {"scores", "logits"}:
            watch.tape = Tape(width, beams, scores="scores" in request.instruments)
        if request.streaming:
            arguments["streamer"] = timed_streamer(tokenizer, work.prompts[0], seed)
        elif request.streaming is False:
            arguments["streamer"] = None
        if beams > 1:
            # all beams and their scores come back; the search itself is the same
            arguments.update(num_return_sequences=beams, output_scores=True)

        _synchronise()
        started = time.perf_counter()
        with torch.no_grad():
            result = calls("generate", model.generate, **encoded, **arguments, return_dict_in_generate=True)
        _synchronise()
        ended = time.perf_counter() - started

        if not watch.generation_config and watch.last_config is not None:
            watch.generation_config = describe(watch.last_config.to_diff_dict())  # type: ignore[assignment]
        sequences = getattr(result, "sequences", result)
        if sequences.dim() == 3:
            # cache_implementation="paged" answers with one more dimension in front
            sequences = sequences[0]
        rows: dict[int, tuple[int, list[int]]] = {}
        for position, index in enumerate(work.prompts):
            ids, finished = self._own_ids(sequences[position * beams, width:].tolist(), watch)
            rows[position * beams] = (index, ids)
            text = tokenizer.decode(ids, skip_special_tokens=True)
            output: Output = {"prompt": index, "seed": seed, "token_ids": ids, "text": text, "ended": finished}
            observation["outputs"].append(output)
            if not request.streaming:
                chunk: Chunk = {"prompt": index, "seed": seed, "at_s": ended, "tokens": len(ids), "text": text}
                observation["chunks"].append(chunk)
        if request.streaming:
            observation["chunks"].extend(arguments["streamer"].chunks)
        if beams > 1:
            found = describe_beams(model, result, work.prompts, beams, width, seed, self._ending_ids(watch))
            observation.setdefault("beams", []).extend(found)
        if watch.tape is not None:
            self._keep_tape(watch.tape, rows, seed, first=seed == request.seeds[0], observation=observation)
        return ended

    def _keep_tape(
        self,
        tape: Tape,
        rows: dict[int, tuple[int, list[int]]],
        seed: int,
        *,
        first: bool,
        observation: Observation,
    ) -> None:
        if tape.scores and tape.rows_per_prompt == 1:
            # beams change rows at every step, so a row's steps are not one output's
            steps: list[Step] = tape.steps(rows, seed)
            observation.setdefault("steps", []).extend(steps)
        if first:
            for row in rows:
                if row in tape.first:
                    values = tape.first[row]
                    stride = max(1, -(-values.shape[0] // SAMPLED_LOGITS))
                    observation.setdefault("logits", []).append(values[::stride].float().tolist())

    def _ending_ids(self, watch: Watch) -> set[int]:
        ending = getattr(watch.last_config, "eos_token_id", None)
        if ending is None:
            return set()
        return set(ending) if isinstance(ending, (list, tuple)) else {int(ending)}

    def _own_ids(self, ids: list[int], watch: Watch) -> tuple[list[int], bool]:
        """Generated ids up to and including the first EOS, and whether there was one."""
        ending = self._ending_ids(watch)
        for position, token in enumerate(ids):
            if token in ending:
                return ids[: position + 1], True
        return ids, False

    def _resolved(self, watch: Watch) -> dict[str, JSON]:
        return {
            "generation_config": watch.generation_config,
            "logits_processors": dict(watch.processors),
            "caches": list(watch.caches),
            "attention_functions": dict(watch.attention),
            "generation_mode": _mode(watch.last_config),
        }


def _mode(config: Any) -> JSON:
    """The decoding method that upstream derived from the effective config."""
    return None if config is None else str(config.get_generation_mode().value)


def _profiler(wanted: bool) -> Any:
    """torch's profiler on every device there is, or nothing."""
    if not wanted:
        return nullcontext()
    from torch.profiler import ProfilerActivity, profile, supported_activities

    wished = (ProfilerActivity.CPU, ProfilerActivity.CUDA)
    return profile(activities=[kind for kind in wished if kind in supported_activities()])


def _synchronise() -> None:
    """Wait for the accelerator: its work is queued, and times without this are wrong."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _memory() -> dict[str, JSON]:
    """Peak memory so far, in bytes: of the process, and of each accelerator."""
    import resource

    import torch

    seen: dict[str, JSON] = {"process_peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            seen[f"cuda:{index}_peak"] = int(torch.cuda.max_memory_allocated(index))
    return seen
