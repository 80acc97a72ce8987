"""What chooses tokens in vLLM, made deaf: the sampler, its processors, stopping, what is reported.

Each function stands for itself in an engine process of its own (see `harness.declare.Deaf`).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any


def _unchanged(name: str) -> None:
    """Have a processor of this class return the logits it was given."""
    from vllm.v1.sample.logits_processor import builtin

    def apply(self: Any, logits: Any) -> Any:  # noqa: ARG001 - upstream's signature
        return logits

    processor = getattr(builtin, name)
    assert callable(processor.apply)
    processor.apply = apply


def min_p() -> None:
    """No id is left out for its small probability."""
    _unchanged("MinPLogitsProcessor")


def logit_bias() -> None:
    """No logit is moved."""
    _unchanged("LogitBiasLogitsProcessor")


def min_tokens() -> None:
    """The ending is possible from the first token on."""
    _unchanged("MinTokensLogitsProcessor")


def temperature() -> None:
    """The temperature divides nothing."""
    from vllm.v1.sample.sampler import Sampler

    def apply(logits: Any, *args: Any) -> Any:  # noqa: ARG001 - upstream's signature
        return logits

    assert callable(Sampler.apply_temperature)
    Sampler.apply_temperature = staticmethod(apply)


def _limits(*, k: bool, p: bool) -> None:
    from vllm.v1.sample.ops import topk_topp_sampler as drawing

    original = drawing.apply_top_k_top_p

    def apply(logits: Any, own_k: Any, own_p: Any, *args: Any, **kwargs: Any) -> Any:
        return original(logits, None if k else own_k, None if p else own_p, *args, **kwargs)

    drawing.apply_top_k_top_p = apply


def top_k() -> None:
    """No id is left out for its rank."""
    _limits(k=True, p=False)


def top_p() -> None:
    """No id is left out for the probability before it."""
    _limits(k=False, p=True)


def penalties() -> None:
    """Ids that came lose nothing."""
    from vllm.v1.sample import sampler

    def apply(logits: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: ARG001
        return logits

    assert callable(sampler.apply_all_penalties)
    sampler.apply_all_penalties = apply


def bad_words() -> None:
    """Words may come whatever they are."""
    from vllm.v1.sample import sampler

    def apply(*args: Any, **kwargs: Any) -> None:
        pass

    assert callable(sampler.apply_bad_words)
    sampler.apply_bad_words = apply


def allowed_ids() -> None:
    """Ids that are not allowed stay possible."""
    from vllm.v1.sample.sampler import Sampler

    original = Sampler.apply_logits_processors

    def apply(self: Any, logits: Any, metadata: Any, *args: Any, **kwargs: Any) -> Any:
        return original(self, logits, replace(metadata, allowed_token_ids_mask=None), *args, **kwargs)

    Sampler.apply_logits_processors = apply


def draws_where_it_is_greedy() -> None:
    """Greedy decoding draws an id."""
    import torch
    from vllm.v1.sample.sampler import Sampler

    def draw(logits: Any) -> Any:
        return torch.multinomial(logits.float().softmax(-1), 1).view(-1)

    assert callable(Sampler.greedy_sample)
    Sampler.greedy_sample = staticmethod(draw)


def draws_the_likeliest() -> None:
    """What should be drawn is the likeliest id."""
    _drawn(lambda sampler, original, logits, _generators, k, p: _likeliest(sampler, original, logits, k, p))


def seed() -> None:
    """No request's generator is used."""
    _drawn(_unseeded)


def _likeliest(sampler: Any, original: Any, logits: Any, *given: Any) -> Any:
    best = logits.argmax(-1)
    return best, original(sampler, logits, *given)[1]


def _unseeded(sampler: Any, original: Any, logits: Any, _generators: Any, *limits: Any) -> Any:
    return original(sampler, logits, {}, *limits)


def _drawn(instead: Any) -> None:
    from vllm.v1.sample.ops.topk_topp_sampler import TopKTopPSampler

    for name in ("forward_native", "forward_cpu", "forward_cuda"):
        _instead(TopKTopPSampler, name, instead)


def _instead(sampler: Any, name: str, instead: Any) -> None:
    original = getattr(sampler, name)

    def forward(self: Any, logits: Any, *given: Any) -> Any:
        return instead(self, original, logits, *given)

    setattr(sampler, name, forward)


def stop_texts() -> None:
    """No text ends an output."""
    from vllm.v1.engine import detokenizer

    def check(*args: Any, **kwargs: Any) -> None:
        pass

    assert callable(detokenizer.check_stop_strings)
    detokenizer.check_stop_strings = check


def include_stop() -> None:
    """A text that ends an output is left out of it where it should be kept, and kept where it should not."""
    from vllm.v1.engine import detokenizer

    original = detokenizer.check_stop_strings

    def check(output_text: Any, new_char_count: Any, stop: Any, include_in_output: Any) -> Any:
        return original(output_text, new_char_count, stop, not include_in_output)

    detokenizer.check_stop_strings = check


def stop_ids() -> None:
    """No id but the model's own ending ends an output."""
    from vllm.v1.core.sched import scheduler

    original = scheduler.check_stop

    def check(request: Any, *args: Any) -> Any:
        params = request.sampling_params
        asked, params.stop_token_ids = params.stop_token_ids, []
        try:
            return original(request, *args)
        finally:
            params.stop_token_ids = asked

    scheduler.check_stop = check


def max_tokens() -> None:
    """The length ends an output 8 tokens late."""
    from vllm.v1.core.sched import scheduler

    original = scheduler.check_stop

    def check(request: Any, *args: Any) -> Any:
        asked = request.max_tokens
        request.max_tokens = asked + 8
        try:
            return original(request, *args)
        finally:
            request.max_tokens = asked

    scheduler.check_stop = check


def logprobs() -> None:
    """Half as many log-probabilities are reported as asked for; of more, the front end would take the first."""
    from vllm.v1.sample.sampler import Sampler

    original = Sampler.gather_logprobs

    def gather(logprobs: Any, asked: int, token_ids: Any) -> Any:
        return original(logprobs, asked // 2, token_ids)

    Sampler.gather_logprobs = staticmethod(gather)


_OTHER = {
    "raw_logprobs": "processed_logprobs",
    "processed_logprobs": "raw_logprobs",
    "raw_logits": "processed_logits",
    "processed_logits": "raw_logits",
}


def logprobs_mode() -> None:
    """What is reported is taken before processing where it should be after it, and the other way round."""
    from vllm.v1.sample.sampler import Sampler

    original = Sampler.__init__

    def init(self: Any, logprobs_mode: str = "raw_logprobs", *args: Any, **kwargs: Any) -> None:
        original(self, _OTHER[logprobs_mode], *args, **kwargs)

    Sampler.__init__ = init


def structure() -> None:
    """No id is left out for the form that an output must take."""
    from vllm.v1.worker import gpu_model_runner

    def apply(*args: Any, **kwargs: Any) -> None:
        pass

    assert callable(gpu_model_runner.apply_grammar_bitmask)
    gpu_model_runner.apply_grammar_bitmask = apply
