"""One job on an engine: hand the batches over under every seed, and say what came of it."""

from __future__ import annotations

import asyncio
import os
import time
from typing import TYPE_CHECKING, Any

from harness.backends import torchside
from harness.backends.base import Observation
from harness.backends.pacing import wait_until
from harness.backends.planning import concurrently, plan, token_ids
from harness.backends.settings import ConflictingSettingsError
from harness.backends.vllm.outputs import Told, describe_beams, describe_output

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.backends.base import Calls, GenerateJob
    from harness.backends.vllm.requests import Requests
    from harness.jsontypes import JSON


class Run:
    """A job while it is being run."""

    def __init__(
        self, engine: Any, loop: asyncio.AbstractEventLoop | None, requests: Requests, job: GenerateJob, calls: Calls
    ) -> None:
        self.engine = engine
        self.loop = loop
        self.requests = requests
        self.job = job
        self.calls = calls
        self.told = Told()
        self.arrivals: list[float] = []
        self.seconds = 0.0
        self.start = time.perf_counter()
        self.beam_params = requests.beams(job, calls)
        if self.beam_params is not None and loop is not None:
            raise ConflictingSettingsError(
                "beams are searched by LLM.beam_search, and `streaming`, True or False, takes the async engine, which "
                "has no such call: leave one of the two out"
            )
        self.others = requests.others(job, calls)
        self.prompts, lengths = _prompts(self.engine, self.requests.model, job.prompts)
        # beams are searched prompt by prompt unless it is said how many go together
        self.plan = plan(job.settings, lengths, calls, together=1 if self.beam_params is not None else len(lengths))
        self._next_id = 0
        torchside.reset_peak_memory()

    def all(self) -> None:
        """Every batch under every seed. Only the first pass is paced: further arrivals would be the same."""
        for seed in self.job.seeds:
            first = seed == self.job.seeds[0]
            params = None if self.beam_params else self.requests.sampling(self.job, seed, self.calls)
            if first:
                self.start = time.perf_counter()
            began = time.perf_counter()
            if self.loop is not None:
                self.loop.run_until_complete(self._stream(params, seed, paced=first))
            elif self.plan.moments is not None and first and self.beam_params is None:
                self._paced(params, seed)
            else:
                for batch in self.plan.batches:
                    self._together(batch, params, seed, first=first)
            self.seconds += time.perf_counter() - began

    def _together(self, batch: tuple[int, ...], params: Any, seed: int, *, first: bool) -> None:
        """One call of `LLM.generate` or `LLM.beam_search`."""
        prompts = [self.prompts[index] for index in batch]
        if first:
            self._arrived(batch)
        before = self.engine.request_counter.counter
        began = time.perf_counter()
        if self.beam_params is not None:
            # asked for as it is: a text prompt is a mapping there
            wrapped = [prompt if isinstance(prompt, dict) else {"prompt": prompt} for prompt in prompts]
            lora = {name: given for name, given in self._own(batch).items() if name == "lora_request"}
            found = self.calls("LLM.beam_search", self.engine.beam_search, wrapped, self.beam_params, **lora)
        else:
            found = self.calls(
                "LLM.generate", self.engine.generate, prompts, params, use_tqdm=False, **self._own(batch)
            )
        seconds = time.perf_counter() - began
        self.told.name(before, self.engine.request_counter.counter, batch, seed)
        for index, result in zip(batch, found, strict=True):
            if self.beam_params is not None:
                describe_beams(self.told, result, index, seed, self.engine)
            else:
                describe_output(self.told, result, index, seed)
            text, tokens = self.told.outputs[-1]["text"], len(self.told.outputs[-1]["token_ids"])
            self.told.chunks.append({"prompt": index, "seed": seed, "at_s": seconds, "tokens": tokens, "text": text})

    def _arrived(self, batch: tuple[int, ...]) -> None:
        """Note that these prompts are handed over now."""
        self.arrivals += [time.perf_counter() - self.start] * len(batch)

    def _own(self, batch: tuple[int, ...]) -> dict[str, Any]:
        """The further arguments for these prompts: of what is given for each prompt, those of the batch."""
        return {
            name: [given[index] for index in batch] if isinstance(given, list) else given
            for name, given in self.others.items()
        }

    def _paced(self, params: Any, seed: int) -> None:
        """Hand each batch over when it is due, while the engine works on what is in flight."""
        assert self.plan.moments is not None
        waiting = list(zip(self.plan.moments, self.plan.batches, strict=True))
        core = self.engine.llm_engine
        prompt_of: dict[str, int] = {}
        while waiting or core.has_unfinished_requests():
            if waiting and not core.has_unfinished_requests():
                wait_until(self.start + waiting[0][0])
            while waiting and time.perf_counter() >= self.start + waiting[0][0]:
                _, batch = waiting.pop(0)
                self._arrived(batch)
                before = self.engine.request_counter.counter
                self.calls(
                    "LLM.enqueue",
                    self.engine.enqueue,
                    [self.prompts[index] for index in batch],
                    params,
                    use_tqdm=False,
                    **self._own(batch),
                )
                self.told.name(before, self.engine.request_counter.counter, batch, seed)
                prompt_of |= {str(before + place): index for place, index in enumerate(batch)}
            began = time.perf_counter()
            finished = [result for result in core.step() if result.finished]
            self.calls.seconds += time.perf_counter() - began
            for result in finished:
                describe_output(self.told, result, prompt_of[result.request_id], seed)

    async def _stream(self, params: Any, seed: int, *, paced: bool) -> None:
        """Every batch through the async engine."""
        began = time.perf_counter()
        await concurrently(
            self.plan,
            lambda index: self._one(index, params, seed),
            start=self.start,
            paced=paced,
            arrived=self._arrived,
        )
        self.calls.seconds += time.perf_counter() - began

    async def _one(self, index: int, params: Any, seed: int) -> None:
        request = self._next_id
        self._next_id += 1
        self.told.name(request, request + 1, (index,), seed)
        began = time.perf_counter()
        parts: list[Any] = []
        own = {name: given[0] if isinstance(given, list) else given for name, given in self._own((index,)).items()}
        stream = self.calls("AsyncLLM.generate", self.engine.generate, self.prompts[index], params, str(request), **own)
        async for result in stream:
            now = time.perf_counter()
            part = result.outputs[0]
            parts.append(result)
            chunk = {"prompt": index, "seed": seed, "at_s": now - began, "tokens": len(part.token_ids)}
            self.told.chunks.append({**chunk, "text": part.text})  # type: ignore[typeddict-item]
            self.told.chunk_times.append(now)
        describe_output(self.told, parts[-1], index, seed, parts=parts)

    def observation(self, noted: Sequence[dict[str, Any]]) -> Observation:
        """What was seen, with what the workers noted meanwhile."""
        observation = self.told.observation(noted)
        observation["arrivals"] = self.arrivals
        observation["batches"] = [list(batch) for batch in self.plan.batches]
        observation["seconds"] = self.seconds
        own = [] if os.getpid() in {worker["pid"] for worker in noted} else [torchside.peak_memory()]
        observation["memory"] = [*own, *(worker["memory"] for worker in noted)]
        for process in observation["processes"]:
            process["apart"] = process["pid"] != os.getpid()
        planned: list[JSON] = list(self.plan.moments or ())
        observation["resolved"] = {**observation.get("resolved", {}), "planned_arrivals": planned}
        return observation


def _prompts(engine: Any, model: str, texts: Sequence[str]) -> tuple[list[Any], list[int]]:
    """What is handed over, and its lengths in tokens. Ids, where the engine has no tokenizer."""
    if engine.model_config.skip_tokenizer_init:
        return token_ids(model, texts)
    return list(texts), [len(own) for own in engine.get_tokenizer()(list(texts))["input_ids"]]
