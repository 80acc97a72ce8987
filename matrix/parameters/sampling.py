"""`decoder.*`: how the next token is chosen."""

from __future__ import annotations

from dataclasses import replace

from harness.declare import Column, OutputRule, Parameter, Probe, Scope, Value, Workload
from harness.jsontypes import JSON
from matrix import workloads
from matrix.parameters.columns import everywhere
from matrix.probes import barred, choices, drawn, outputs, scores
from matrix.sections import DECODER

NEUTRAL: dict[str, JSON] = {
    "decoder.do_sample": True,
    "decoder.temperature": 1.0,
    "decoder.top_k": 0,
    "decoder.top_p": 1.0,
    "decoder.repetition_penalty": 1.0,
}
"""Sampling with nothing else in the way: upstream keeps 50 ids unless told otherwise, and a model's
own generation_config.json may set any of these."""


_HOT: dict[str, JSON] = {**NEUTRAL, "decoder.temperature": drawn.HOT}
"""Ids far down the order are drawn too, unless they are left out."""


_DRAWN = (
    "the value itself is read from the scores, without chance; that tokens are drawn at all shows with transformers in "
    "a token of three stories, up to 12 of each, that is not the likeliest: greedy decoding has none, and {rule} has "
    "none with a chance of {chance} with the shipped model"
)


def _column(probe: Probe, companions: dict[str, JSON], work: Workload) -> Column:
    return Column(Scope.REQUEST, probe, OutputRule.FREE, companions=companions, workload=work)


def _sampled(
    name: str,
    probe: Probe,
    values: tuple[Value, ...],
    companions: dict[str, JSON],
    work: Workload = workloads.OPEN,
    *,
    drawn: Column | None = None,
) -> Parameter:
    """`drawn` is the column of TensorRT-LLM, which tells tokens and raw logits, and not what is made of these."""
    column = _column(probe, companions, work)
    return Parameter(f"decoder.{name}", section=DECODER, values=values, columns=everywhere(column, drawn))


PARAMETERS = (
    _sampled(
        "do_sample",
        replace(
            outputs.varies_with_seed,
            statistics="whether outputs under four seeds differ for each of three stories, up to 12 tokens of each: "
            "greedy ones never do, and drawn ones of a story agree with a chance below 1e-12 with the shipped model",
        ),
        (Value(True, contrast=False), Value(False, contrast=True)),
        {},
        workloads.OPEN_SEEDS,
    ),
    _sampled(
        "temperature",
        replace(
            scores.temperature,
            statistics=_DRAWN.format(rule="a temperature of 0.5", chance="1.6e-6"),
        ),
        (
            Value(0.0, backends=("pytorch",)),
            # there it means greedy
            Value(0.0, backends=("vllm",), probe=scores.greedy, companions={"decoder.do_sample": None}),
            Value(0.0, backends=("tensorrt",), probe=choices.greedy, companions={"decoder.do_sample": None}),
            Value(0.5),
            Value(1.0, contrast=0.5),
            Value(1.5),
        ),
        NEUTRAL,
        drawn=_column(drawn.temperature, NEUTRAL, workloads.MANY_DRAWS),
    ),
    _sampled(
        "top_k",
        scores.top_k,
        (Value(0, contrast=5), Value(1), Value(5), Value(50, contrast=5)),
        NEUTRAL,
        drawn=_column(drawn.top_k, _HOT, workloads.DRAWS),
    ),
    _sampled(
        "top_p",
        scores.top_p,
        (Value(0.0), Value(0.5), Value(0.9), Value(1.0, contrast=0.5)),
        NEUTRAL,
        drawn=_column(drawn.top_p, NEUTRAL, workloads.DRAWS),
    ),
    _sampled(
        "min_p",
        scores.min_p,
        (Value(0.0, contrast=0.2), Value(0.1), Value(1.0)),
        NEUTRAL,
        drawn=_column(drawn.min_p, NEUTRAL, workloads.MANY_DRAWS),
    ),
    _sampled(
        "repetition_penalty",
        scores.repetition_penalty,
        (Value(0.8), Value(1.0, contrast=1.3), Value(1.3)),
        {},
        drawn=_column(choices.repetition_penalty, {}, workloads.REPEATS),
    ),
    _sampled(
        "min_new_tokens",
        barred.min_new_tokens,
        (
            Value(1, backends=("pytorch", "vllm")),
            Value(4, backends=("pytorch", "vllm")),
            # before its fifth token no sum ends, with or without it
            Value(8, backends=("tensorrt",)),
            Value(12),
        ),
        {},
        workloads.SUMS,
        drawn=_column(choices.min_tokens, {}, workloads.SUMS),
    ),
    _sampled(
        "preset",
        replace(
            scores.preset,
            statistics=_DRAWN.format(rule="factual, under four seeds,", chance="2.7e-7"),
        ),
        (
            Value("deterministic", contrast="standard"),
            Value("standard"),
            Value("creative"),
            # so sure of itself that one seed draws the likeliest tokens alone every fortieth time
            Value("factual", backends=("pytorch",), workload=workloads.OPEN_SEEDS),
            Value("factual", backends=("vllm", "tensorrt")),
        ),
        # a field that is set wins over the preset, so the base's own choice must not be
        {"decoder.do_sample": None},
        drawn=_column(drawn.preset, {"decoder.do_sample": None}, workloads.MANY_DRAWS),
    ),
)
