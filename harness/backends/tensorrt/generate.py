"""One job on an engine: hand the batches over under every seed, and say what came of it."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from harness.backends.base import Observation
from harness.backends.planning import concurrently, plan, token_ids
from harness.backends.tensorrt.outputs import Told
from harness.backends.torchside import peak_memory

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.backends.base import Calls, GenerateJob
    from harness.backends.tensorrt.requests import Requests
    from harness.backends.tensorrt.witness import Witness
    from harness.jsontypes import JSON


class Run:
    """A job while it is being run."""

    def __init__(self, llm: Any, requests: Requests, job: GenerateJob, calls: Calls) -> None:
        self.llm = llm
        self.requests = requests
        self.job = job
        self.calls = calls
        bias = job.settings.get("tensorrt.embedding_bias") or {}
        self.told = Told(
            job.instruments, frozenset(int(token) for token in bias) if isinstance(bias, dict) else frozenset()
        )
        self.arrivals: list[float] = []
        self.seconds = 0.0
        self.start = time.perf_counter()
        streaming = job.settings.get("streaming")
        self.streaming = None if streaming is None else bool(streaming)
        self.others = requests.others(job, calls)
        self.prompts, lengths = _prompts(llm, requests.model, job.prompts)
        self.plan = plan(job.settings, lengths, calls, together=len(lengths))

    def all(self) -> None:
        """Every batch under every seed. Only the first pass is paced: further arrivals would be the same."""
        for seed in self.job.seeds:
            first = seed == self.job.seeds[0]
            params = self.requests.sampling(self.job, seed, self.calls, self.llm)
            if first:
                self.start = time.perf_counter()
            began = time.perf_counter()
            if self.streaming is not None or (self.plan.moments is not None and first):
                asyncio.run(self._concurrently(params, seed, first=first))
            else:
                for batch in self.plan.batches:
                    self._together(batch, params, seed, first=first)
            self.seconds += time.perf_counter() - began

    def _together(self, batch: tuple[int, ...], params: Any, seed: int, *, first: bool) -> None:
        """One call of `LLM.generate`."""
        if first:
            self._arrived(batch)
        began = time.perf_counter()
        prompts = [self.prompts[index] for index in batch]
        found = self.calls("LLM.generate", self.llm.generate, prompts, params, use_tqdm=False, **self._own(batch))
        seconds = time.perf_counter() - began
        for index, result in zip(batch, found, strict=True):
            self.told.take(result, params, index, seed)
            output = self.told.outputs[-1]
            self.told.chunks.append(
                {
                    "prompt": index,
                    "seed": seed,
                    "at_s": seconds,
                    "tokens": len(output["token_ids"]),
                    "text": output["text"],
                }
            )

    async def _concurrently(self, params: Any, seed: int, *, first: bool) -> None:
        began = time.perf_counter()
        await concurrently(
            self.plan,
            lambda index: self._one(index, params, seed),
            start=self.start,
            paced=first,
            arrived=self._arrived,
        )
        self.calls.seconds += time.perf_counter() - began

    async def _one(self, index: int, params: Any, seed: int) -> None:
        """One call of `LLM.generate_async`, whose result grows as pieces arrive."""
        began = time.perf_counter()
        tokens = characters = 0
        result = self.calls(
            "LLM.generate_async",
            self.llm.generate_async,
            self.prompts[index],
            params,
            streaming=bool(self.streaming),
            **self._own((index,), alone=True),
        )
        async for part in result:
            first = part.outputs[0]
            count, text = len(first.token_ids), first.text or ""
            self.told.chunks.append(
                {
                    "prompt": index,
                    "seed": seed,
                    "at_s": time.perf_counter() - began,
                    "tokens": count - tokens,
                    "text": text[characters:],
                }
            )
            tokens, characters = count, len(text)
        self.told.take(result, params, index, seed)

    def _own(self, batch: tuple[int, ...], *, alone: bool = False) -> dict[str, Any]:
        """The further arguments for these prompts: a salt a prompt is cut to the batch."""
        own = dict(self.others)
        if isinstance(salts := own.get("cache_salt"), list):
            own["cache_salt"] = salts[batch[0]] if alone else [salts[index] for index in batch]
        return own

    def _arrived(self, batch: tuple[int, ...]) -> None:
        """Note that these prompts are handed over now."""
        self.arrivals += [time.perf_counter() - self.start] * len(batch)

    def observation(self, witness: Witness) -> Observation:
        """What was seen, with what was noted meanwhile."""
        observation = self.told.observation(witness)
        observation["arrivals"] = self.arrivals
        observation["batches"] = [list(batch) for batch in self.plan.batches]
        observation["seconds"] = self.seconds
        if memory := witness.reads("memory", peak_memory):
            observation["memory"] = [memory]
        planned: list[JSON] = list(self.plan.moments or ())
        observation["resolved"] |= {"planned_arrivals": planned, "unread": dict(witness.reads.unread)}
        return observation


def _prompts(llm: Any, model: str, texts: Sequence[str]) -> tuple[list[Any], list[int]]:
    """What is handed over, and its lengths in tokens. Ids, where the engine has no tokenizer."""
    if llm.tokenizer is None:
        return token_ids(model, texts)
    return list(texts), [len(llm.tokenizer.encode(text)) for text in texts]
