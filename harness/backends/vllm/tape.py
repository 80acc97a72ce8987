"""The logits that go into vLLM's sampler against those that the token is drawn from.

What is drawn from is taken where the drawing is done: it is what top-k and top-p left when
sampling, and the argument of the argmax when greedy (vllm/v1/sample/sampler.py, 0.31 and 0.32).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.backends.steps import summarise, thin

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.jsontypes import JSON


class UnknownSamplerError(RuntimeError):
    """The engine samples with a class whose logits we do not know how to follow."""


class Tape:
    """Follows one worker's sampler, request by request and step by step."""

    def __init__(self, runner: Any, *, scores: bool) -> None:
        from vllm.v1.sample import sampler as samplers
        from vllm.v1.sample.ops import topk_topp_sampler as drawing

        sampler: Any = getattr(runner, "sampler", None)
        if type(sampler) is not samplers.Sampler:
            raise UnknownSamplerError(
                f"scores and logits are read from {samplers.Sampler.__qualname__} of vllm.v1.sample, the engine "
                f"samples with {type(sampler).__module__}.{type(sampler).__qualname__}. "
                "VLLM_USE_V2_MODEL_RUNNER=0 makes it use the former."
            )
        self.runner = runner
        self.scores = scores
        self.first: dict[str, list[float]] = {}
        self.summaries: list[dict[str, JSON]] = []
        self.drawn: dict[str, JSON] = {"greedy": 0, "sampled": 0}
        """How tokens were drawn: calls of each way, and the limits that the sampler was given."""
        self._counts: dict[str, int] = {}
        self._drawn: Any = None
        self._sampler: Any = sampler
        self._drawing: Any = drawing
        self._forward: Callable[..., Any] = sampler.forward
        self._limits: Callable[..., Any] = drawing.apply_top_k_top_p
        self._greedy: Callable[..., Any] = sampler.greedy_sample
        sampler.forward = self._sample
        sampler.greedy_sample = self._argmax
        drawing.apply_top_k_top_p = self._limit

    def _argmax(self, logits: Any) -> Any:
        self._drawn = logits.clone()
        self._count("greedy")
        return self._greedy(logits)

    def _limit(self, logits: Any, k: Any, p: Any, *args: Any, **kwargs: Any) -> Any:
        limited = self._limits(logits, k, p, *args, **kwargs)
        self._drawn = limited.clone()
        self._count("sampled")
        for name, value in (("top_k", k), ("top_p", p)):
            self.drawn[name] = None if value is None else float(value[0])
        return limited

    def _count(self, way: str) -> None:
        count = self.drawn[way]
        assert isinstance(count, int)
        self.drawn[way] = count + 1

    def _sample(self, logits: Any, *args: Any, **kwargs: Any) -> Any:
        raw = logits.clone()
        self._drawn = None
        output = self._forward(logits, *args, **kwargs)
        if self._drawn is None:
            raise UnknownSamplerError("the token was drawn on a path that is not followed, so its scores are unknown")
        self._keep(raw, self._drawn)
        return output

    def _keep(self, raw: Any, drawn: Any) -> None:
        batch = self.runner.input_batch
        discarded = self.runner.discard_request_mask.np
        for row in range(raw.shape[0]):
            request = batch.req_ids[row]
            if discarded[row]:
                continue  # a prompt that is not yet taken in whole
            step = self._counts.get(request, 0)
            self._counts[request] = step + 1
            if step == 0:
                self.first[request] = thin(raw[row].detach().cpu())
            if self.scores:
                self.summaries.append(
                    {
                        "request": request,
                        "step": step,
                        **summarise(raw[row].cpu(), drawn[row].cpu(), self._context(batch, row)),  # type: ignore[dict-item]
                    }
                )

    def _context(self, batch: Any, row: int) -> Any:
        """The ids of the prompt and of what was generated so far."""
        import torch

        length = int(batch.num_tokens_no_spec[row])
        return torch.as_tensor(batch.token_ids_cpu[row, :length].copy()).long()

    def close(self) -> dict[str, JSON]:
        """Put the sampler back as it was; what was noted."""
        del self._sampler.forward, self._sampler.greedy_sample
        self._drawing.apply_top_k_top_p = self._limits
        return {
            "logits": {k: list(v) for k, v in self.first.items()},
            "scores": list(self.summaries),
            "drawn": self.drawn,
        }
