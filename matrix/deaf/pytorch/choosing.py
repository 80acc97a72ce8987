"""What chooses tokens, made deaf: processors, stopping, drawing, beams, streaming.

Each function stands for itself in an engine process of its own (see `harness.declare.Deaf`).
"""

from __future__ import annotations

from typing import Any


def _unchanged(*names: str) -> None:
    """Have processors of these classes return the scores they were given."""
    from transformers.generation import logits_process

    def call(self: Any, input_ids: Any, scores: Any) -> Any:  # noqa: ARG001 - upstream's signature
        return scores

    for name in names:
        getattr(logits_process, name).__call__ = call


def temperature() -> None:
    """The temperature divides nothing."""
    _unchanged("TemperatureLogitsWarper")


def top_k() -> None:
    """No id is left out for its rank."""
    _unchanged("TopKLogitsWarper")


def top_p() -> None:
    """No id is left out for the probability before it."""
    _unchanged("TopPLogitsWarper")


def min_p() -> None:
    """No id is left out for its small probability."""
    _unchanged("MinPLogitsWarper")


def repetition_penalty() -> None:
    """Ids of the context lose nothing."""
    _unchanged("RepetitionPenaltyLogitsProcessor")


def min_new_tokens() -> None:
    """The ending is possible from the first token on."""
    _unchanged("MinNewTokensLengthLogitsProcessor", "MinLengthLogitsProcessor")


def suppress_tokens() -> None:
    """Suppressed ids stay possible."""
    _unchanged("SuppressTokensLogitsProcessor")


def no_repeat_ngram() -> None:
    """N-grams may come again."""
    _unchanged("NoRepeatNGramLogitsProcessor")


def draws_the_likeliest() -> None:
    """What should be drawn is the likeliest id instead."""
    import torch

    def multinomial(probs: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: ARG001 - torch's signature
        return probs.argmax(dim=-1, keepdim=True)

    vars(torch)["multinomial"]  # a KeyError where torch has no such function any more
    torch.multinomial = multinomial


def draws_where_it_is_greedy() -> None:
    """Greedy decoding draws an id, as sampling does."""
    import torch

    original = torch.argmax

    def argmax(scores: Any, *args: Any, **kwargs: Any) -> Any:
        if scores.dim() == 2 and scores.is_floating_point() and kwargs.get("dim") == -1:
            return torch.multinomial(torch.softmax(scores, dim=-1), num_samples=1).squeeze(1)
        return original(scores, *args, **kwargs)

    torch.argmax = argmax


def max_length() -> None:
    """The length ends an output 24 tokens late."""
    from transformers.generation.stopping_criteria import MaxLengthCriteria

    original = MaxLengthCriteria.__call__

    def call(self: Any, input_ids: Any, *args: Any, **kwargs: Any) -> Any:
        if input_ids.shape[1] < self.max_length + 24:
            return input_ids.new_zeros(input_ids.shape[0]).bool()
        return original(self, input_ids, *args, **kwargs)

    MaxLengthCriteria.__call__ = call


def seed() -> None:
    """No generator is seeded."""
    import transformers

    def set_seed(seed: int, deterministic: bool = False) -> None:
        del seed, deterministic

    transformers.set_seed  # noqa: B018 - an AttributeError where it has gone
    transformers.set_seed = set_seed


def beams_that_are_one() -> None:
    """All beams follow the best one."""
    from transformers.generation.utils import GenerationMixin

    original = GenerationMixin._get_top_k_continuations

    def continuations(self: Any, *args: Any, **kwargs: Any) -> Any:
        found = original(self, *args, **kwargs)
        return tuple(part[:, :1].expand_as(part).clone() for part in found)

    GenerationMixin._get_top_k_continuations = continuations


def _told(name: str, value: Any) -> None:
    """Have what beam search asks go by another value of an argument than the one it is given."""
    import inspect

    from transformers.generation.utils import GenerationMixin

    for method in ("_update_finished_beams", "_check_early_stop_heuristic", "_beam_search_has_unfinished_sequences"):
        original = getattr(GenerationMixin, method)
        shape = inspect.signature(original)

        def told(*args: Any, _original: Any = original, _shape: Any = shape, **kwargs: Any) -> Any:
            bound = _shape.bind(*args, **kwargs)
            if name in bound.arguments:
                bound.arguments[name] = value
            return _original(*bound.args, **bound.kwargs)

        static = isinstance(vars(GenerationMixin)[method], staticmethod)
        setattr(GenerationMixin, method, staticmethod(told) if static else told)


def length_penalty_is_one() -> None:
    """Beam scores are divided by the length itself."""
    _told("length_penalty", 1.0)


def length_penalty_is_none() -> None:
    """Beam scores are not divided by any length."""
    _told("length_penalty", 0.0)


def early_stopping() -> None:
    """The search goes by upstream's default."""
    _told("early_stopping", False)


def streamer() -> None:
    """The streamer is told of the tokens once all are there."""
    from transformers.generation.utils import GenerationMixin

    original = GenerationMixin._sample

    def sample(self: Any, input_ids: Any, *args: Any, streamer: Any = None, **kwargs: Any) -> Any:
        result = original(self, input_ids, *args, streamer=None, **kwargs)
        if streamer is not None:
            for token in result.sequences[0, input_ids.shape[1] :]:
                streamer.put(token.reshape(1).cpu())
            streamer.end()
        return result

    GenerationMixin._sample = sample


def prompt_lookup() -> None:
    """Nothing is drafted."""
    from transformers.generation.candidate_generator import PromptLookupCandidateGenerator

    def candidates(self: Any, input_ids: Any, **kwargs: Any) -> Any:  # noqa: ARG001 - upstream's signature
        return input_ids, None

    PromptLookupCandidateGenerator.get_candidates = candidates
