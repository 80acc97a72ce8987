"""What one worker sees while a job runs: steps, memory, and what the instruments ask for.

Nothing is replaced by something that computes differently: calls are noted as they pass, and what notes them is
taken away after the job.
"""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, Any

from harness.backends import torchside
from harness.backends.vllm import loading
from harness.backends.vllm.tape import Tape

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.jsontypes import JSON


class Record:
    """What one worker sees, from its making to its closing."""

    def __init__(self, runner: Any, instruments: frozenset[str]) -> None:
        self.runner = runner
        self.steps: list[dict[str, JSON]] = []
        torchside.reset_peak_memory()
        wants = instruments & {"scores", "logits"}
        self.tape = Tape(runner, scores="scores" in wants) if wants else None
        self.profiler = torchside.profiler() if "operators" in instruments else None
        self.modules = Modules() if "modules" in instruments else None
        self.products = Products(runner)
        self._adapters: dict[str, int] = {}
        self._seeded: set[str] = set()
        self._execute: Callable[..., Any] = runner.execute_model
        runner.execute_model = self._noting
        if self.profiler is not None:
            self.profiler.__enter__()

    def _noting(self, scheduler_output: Any, *args: Any, **kwargs: Any) -> Any:
        tokens = scheduler_output.num_scheduled_tokens
        for new in scheduler_output.scheduled_new_reqs:
            if new.lora_request is not None:
                self._adapters[str(new.req_id)] = int(new.lora_request.lora_int_id)
            if getattr(new.sampling_params, "seed", None) is not None:
                self._seeded.add(str(new.req_id))
        if tokens:
            drafts = scheduler_output.scheduled_spec_decode_tokens or {}
            self.steps.append(
                {
                    "at": time.perf_counter(),
                    "tokens": {str(request): int(count) for request, count in tokens.items()},
                    "drafts": {str(request): len(ids) for request, ids in drafts.items()},
                    "adapters": len({self._adapters[name] for name in map(str, tokens) if name in self._adapters}),
                    "seeded": len(self._seeded.intersection(map(str, tokens))),
                }
            )
        return self._execute(scheduler_output, *args, **kwargs)

    def close(self) -> dict[str, JSON]:
        """Put everything back as it was; what was noted."""
        seen: dict[str, JSON] = {"steps": list(self.steps), "memory": torchside.peak_memory()}
        seen["loading"] = list(loading.seen())
        if self.profiler is not None:
            self.profiler.__exit__(None, None, None)
            seen["operators"] = {event.key: int(event.count) for event in self.profiler.key_averages()}
        if self.modules is not None:
            seen["modules"] = self.modules.close()
        if products := self.products.close():
            seen["adapted"] = products
        del self.runner.execute_model
        if self.tape is not None:
            seen |= self.tape.close()
        return seen


class Modules:
    """Counts the forward calls of every module of this process, by class."""

    def __init__(self) -> None:
        from torch.nn.modules.module import register_module_forward_pre_hook

        self.calls: Counter[str] = Counter()
        self._hook = register_module_forward_pre_hook(self._count)

    def _count(self, module: Any, inputs: Any) -> None:
        del inputs
        kind = type(module)
        self.calls[f"{kind.__module__}.{kind.__qualname__}"] += 1

    def close(self) -> dict[str, JSON]:
        """Count no more; what was counted."""
        self._hook.remove()
        return dict(self.calls)


class Products:
    """Counts the products with adapters' weights, by their rank; none where there is no room for adapters.

    Every layer with room for adapters holds the object that computes them (`punica_wrapper`), and most hold the same.
    """

    def __init__(self, runner: Any) -> None:
        manager = getattr(getattr(runner, "lora_manager", None), "_adapter_manager", None)
        self.calls: Counter[str] = Counter()
        held: list[Any] = [getattr(layer, "punica_wrapper", None) for layer in getattr(manager, "modules", {}).values()]
        self._wrappers = {id(wrapper): wrapper for wrapper in held if hasattr(wrapper, "add_shrink")}
        for wrapper in self._wrappers.values():
            wrapper.add_shrink = self._noting(wrapper.add_shrink)

    def _noting(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def add_shrink(y: Any, *args: Any, **kwargs: Any) -> Any:
            for part in y:  # one for each of the layers that were merged
                self.calls[str(int(part.shape[-1]))] += 1
            return original(y, *args, **kwargs)

        return add_shrink

    def close(self) -> dict[str, JSON]:
        """Count no more; what was counted."""
        for wrapper in self._wrappers.values():
            del wrapper.add_shrink
        return dict(self.calls)
