"""The tokens of both backends against a sampler of our own, which computes them from the model's raw logits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from matrix import grammar
from tests import chances, interpreters
from tests.reference_logits import Reference, reference
from tests.reference_sampler import VLLM, Rules, choices, greedy, transformers_beams, vllm_beams

MODEL = interpreters.ROOT / "models" / "tiny"
EOS = 0
TOKENS = 12
SLACK = 1e-4
"""Of probability: what logits of another summation order can move a limit by, with room."""
ERROR = 1e-6
"""Chance that a sampler which is right shows a surprising count."""
ENGINE = {
    "vllm": {
        "fp_precision": "float32",
        "vllm.enforce_eager": True,
        "vllm.max_model_len": 512,
        "vllm.kv_cache_memory_bytes": 64 << 20,
    },
    "pytorch": {"fp_precision": "float32"},
}
PROMPTS = [grammar.SHORT[0], *grammar.OPEN, *grammar.LOOPING]
BOTH = ("pytorch", "vllm")

# backends, settings, rules
CERTAIN: dict[str, tuple[tuple[str, ...], dict[str, Any], Rules]] = {
    "greedy": (BOTH, {}, Rules()),
    "penalty 1.3": (BOTH, {"decoder.repetition_penalty": 1.3}, Rules(penalty=1.3)),
    "penalty 0.8": (BOTH, {"decoder.repetition_penalty": 0.8}, Rules(penalty=0.8)),
    # vLLM has no such parameter
    "no repeated 2-gram": (("pytorch",), {"pytorch.no_repeat_ngram_size": 2}, Rules(ngram=2)),
    "no repeated 3-gram": (("pytorch",), {"pytorch.no_repeat_ngram_size": 3}, Rules(ngram=3)),
    "penalty and 2-gram": (
        ("pytorch",),
        {"decoder.repetition_penalty": 1.2, "pytorch.no_repeat_ngram_size": 2},
        Rules(penalty=1.2, ngram=2),
    ),
}
# settings, rules, rules of a sampler that drops one of them
DRAWN: dict[str, tuple[dict[str, Any], Rules, Rules]] = {
    "temperature": ({"decoder.temperature": 0.5}, Rules(temperature=0.5), Rules()),
    "hot": ({"decoder.temperature": 2.0}, Rules(temperature=2.0), Rules()),
    "top_k": ({"decoder.top_k": 4}, Rules(top_k=4), Rules()),
    "top_p": ({"decoder.top_p": 0.6}, Rules(top_p=0.6), Rules()),
    "min_p": ({"decoder.min_p": 0.2}, Rules(min_p=0.2), Rules()),
    "all": (
        {
            "decoder.temperature": 1.5,
            "decoder.top_k": 8,
            "decoder.top_p": 0.8,
            "decoder.min_p": 0.1,
            "decoder.repetition_penalty": 1.2,
        },
        Rules(temperature=1.5, top_k=8, top_p=0.8, min_p=0.1, penalty=1.2),
        Rules(top_k=8, top_p=0.8, min_p=0.1, penalty=1.2),
    ),
}
BEAMS: dict[str, tuple[str, dict[str, Any]]] = {
    **{
        f"{name} length_penalty={penalty:g}": (backend, {"length_penalty": penalty})
        for backend, name in (("pytorch", "transformers"), ("vllm", "vLLM"))
        for penalty in (-2.0, 0.0, 0.5, 1.0, 2.0)
    },
    "transformers early_stopping=True": ("pytorch", {"length_penalty": 1.0, "early_stopping": True}),
    "transformers early_stopping=never": ("pytorch", {"length_penalty": 1.0, "early_stopping": "never"}),
    "transformers no 2-gram": ("pytorch", {"length_penalty": 1.0, "no_repeat_ngram_size": 2}),
}
WIDTH = 4
BEAM_TOKENS = 16
SEEDS = tuple(range(0, 8000, 1000))
ROWS = 64
"""Draws a pass: prompts in one batch, or sequences of one prompt with vLLM, whose requests of a pass share a seed."""


def _jobs(backend: str) -> dict[str, dict[str, Any]]:
    jobs: dict[str, dict[str, Any]] = {}
    for name, (backends, settings, _) in CERTAIN.items():
        if backend in backends:
            jobs[name] = {"decoder.do_sample": False, **settings, "_prompts": PROMPTS, "_tokens": TOKENS}
    for name, (settings, _, _) in DRAWN.items():
        sampled = {"decoder.do_sample": True, "decoder.top_k": 0, **settings}
        jobs[f"{name} steps"] = {**sampled, "_prompts": PROMPTS, "_tokens": TOKENS, "_seeds": [1, 2, 3]}
        rows: dict[str, Any] = (
            {"_prompts": [grammar.OPEN[0]], "vllm.n": ROWS}
            if backend == "vllm"
            else {"_prompts": [grammar.OPEN[0]] * ROWS, "batching.batch_size": ROWS}
        )
        jobs[f"{name} draws"] = {**sampled, **rows, "_tokens": 1, "_seeds": SEEDS}
    for name, (of, settings) in BEAMS.items():
        if of == backend:
            given = {f"decoder.beam_search.{key}": value for key, value in settings.items()}
            shape = {"decoder.beam_search.num_beams": WIDTH, "_prompts": grammar.BEAMS, "_tokens": BEAM_TOKENS}
            jobs[name] = {**given, **shape}
    return jobs


class Side:
    """One backend's tokens, and the model as its interpreter computes it without the backend."""

    def __init__(self, name: str, python: Path, model: Reference) -> None:
        self.name = name
        self.model = model
        jobs = _jobs(name)
        scenario = {"model": str(MODEL), "load": ENGINE[name], "jobs": list(jobs.values())}
        found = interpreters.scenarios(python, name, {"all": scenario})["all"]
        self.jobs: dict[str, Any] = dict(zip(jobs, found["jobs"], strict=True))

    def seen(self, job: str) -> Any:
        assert "raised" not in self.jobs[job], self.jobs[job]
        return self.jobs[job]["seen"]


def on(*pairs: tuple[str, str]) -> pytest.MarkDecorator:
    """Cases of (backend, name)."""
    cases = [pytest.param(backend, name, id=f"{backend}-{name}") for backend, name in pairs]
    return pytest.mark.parametrize(("side", "name"), cases, indirect=["side"])


@pytest.fixture(scope="module")
def sides() -> Iterator[Callable[[str], Side]]:
    """Each backend's side, made once."""
    with ExitStack() as stack:

        @cache
        def make(name: str) -> Side:
            python: Path = getattr(interpreters, name)()
            if not python.exists():
                if name == "pytorch":
                    pytest.fail(f"no PyTorch interpreter at {python}: `make setup` makes it")
                pytest.skip(f"no vLLM interpreter at {python}: `make setup BACKENDS=vllm` makes it")
            return Side(name, python, stack.enter_context(reference(python, MODEL)))

        yield make


@pytest.fixture
def side(request: pytest.FixtureRequest, sides: Callable[[str], Side]) -> Side:
    return sides(request.param)


@on(*((backend, name) for name, (backends, _, _) in CERTAIN.items() for backend in backends))
def test_tokens_that_are_not_drawn_are_the_reference_s_token_for_token(name: str, side: Side) -> None:
    rules = CERTAIN[name][2]
    for prompt, output in zip(PROMPTS, side.seen(name)["outputs"], strict=True):
        expected = greedy(side.model, side.model.ids(prompt), rules, ending=EOS, limit=TOKENS)
        assert output["token_ids"] == expected, prompt


@on(*(("pytorch", name) for name in CERTAIN if name != "greedy"))
def test_each_of_these_parameters_changes_the_reference_s_tokens(name: str, side: Side) -> None:
    """Else agreement would say nothing of it."""
    contexts = [side.model.ids(prompt) for prompt in PROMPTS]
    tokens, plain = (
        [greedy(side.model, context, rules, ending=EOS, limit=TOKENS) for context in contexts]
        for rules in (CERTAIN[name][2], Rules())
    )
    assert tokens != plain


@on(*((backend, name) for name in DRAWN for backend in BOTH))
def test_every_token_drawn_is_one_that_the_reference_allows(name: str, side: Side) -> None:
    rules = _ordered(DRAWN[name][1], side)
    for output in side.seen(f"{name} steps")["outputs"]:
        context = side.model.ids(PROMPTS[output["prompt"]])
        for token in output["token_ids"]:
            assert token in choices(side.model(context), context, rules, slack=SLACK), (output, len(context))
            context.append(token)


@on(*((backend, name) for name in DRAWN for backend in BOTH))
def test_tokens_are_drawn_as_often_as_the_reference_says(name: str, side: Side) -> None:
    """512 draws of a first token, each token's count in an exact binomial test (`chances.surprises`)."""
    _, rules, dropped = DRAWN[name]
    seen = side.seen(f"{name} draws")
    drawn = Counter(
        sequence["token_ids"][0] for sequence in (seen["sequences"] if side.name == "vllm" else seen["outputs"])
    )
    assert sum(drawn.values()) == ROWS * len(SEEDS)
    context = side.model.ids(grammar.OPEN[0])
    logits = side.model(context)
    assert not chances.surprises(drawn, choices(logits, context, _ordered(rules, side)), ERROR)
    # and the test would have told a sampler that drops the parameter
    assert chances.surprises(drawn, choices(logits, context, _ordered(dropped, side)), ERROR)


def _ordered(rules: Rules, side: Side) -> Rules:
    return replace(rules, order=VLLM) if side.name == "vllm" else rules


@on(*((backend, name) for name, (backend, _) in BEAMS.items()))
def test_beams_and_their_scores_are_the_reference_s(name: str, side: Side) -> None:
    settings = BEAMS[name][1]
    found = side.seen(name)
    for beams, output, prompt in zip(found["beams"], found["outputs"], grammar.BEAMS, strict=True):
        context = side.model.ids(prompt)
        if side.name == "vllm":
            expected = vllm_beams(side.model, context, width=WIDTH, ending=EOS, limit=BEAM_TOKENS, **settings)
        else:
            ours = {"early_stopping": False, **settings}
            rules = Rules(ngram=ours.pop("no_repeat_ngram_size", 0))
            expected = transformers_beams(
                side.model, context, width=WIDTH, ending=EOS, limit=BEAM_TOKENS, rules=rules, **ours
            )
        assert beams["token_ids"] == [list(beam.tokens) for beam in expected]
        assert output["token_ids"] == list(expected[0].tokens)
        assert beams["log_probabilities"] == pytest.approx([beam.total for beam in expected], rel=1e-4)
        if side.name == "pytorch":
            assert beams["scores"] == pytest.approx([beam.score for beam in expected], rel=1e-4)
