"""Beam search and n-grams: the shared spelling and PyTorch's own mean the same."""

from __future__ import annotations

from dataclasses import replace

from harness.declare import Column, NotApplicable, OutputRule, Parameter, Scope, Value, Workload
from harness.jsontypes import JSON
from matrix import workloads
from matrix.parameters.columns import CUDA
from matrix.probes import beams, outputs, trt_results
from matrix.sections import DECODER, PYTORCH

_PROBES = {
    "num_beams": beams.width,
    "length_penalty": beams.length_penalty,
    "early_stopping": beams.early_stopping,
    "no_repeat_ngram_size": outputs.no_repeats,
}
_VALUES = {
    "num_beams": (Value(1, contrast=4), Value(2), Value(4)),
    "length_penalty": (
        Value(0.0, backends=("pytorch", "vllm")),
        # upstream's default there
        Value(0.0, contrast=2.0, backends=("tensorrt",)),
        Value(0.5),
        Value(1.0, contrast=2.0),
        Value(1.5),
    ),
    "early_stopping": (Value(False, contrast=True), Value(True, contrast=False), Value("never", contrast=False)),
    "no_repeat_ngram_size": (Value(0, contrast=2), Value(2), Value(3)),
}

_VLLM_PROBES = {"num_beams": beams.kept, "length_penalty": beams.ranked}
_VLLM = {
    "early_stopping": NotApplicable(
        "vLLM's beam search has no such argument (BeamSearchParams, 0.32): it ends at max_tokens or without a beam left"
    ),
    "no_repeat_ngram_size": NotApplicable(
        "vLLM has no such argument (BeamSearchParams and SamplingParams, 0.32); the nearest are repetition_penalty and "
        "bad_words"
    ),
}

_TENSORRT_PROBES = {
    "num_beams": trt_results.num_beams,
    "length_penalty": trt_results.length_penalty,
    "early_stopping": trt_results.early_stopping,
    "no_repeat_ngram_size": outputs.no_repeats,
}

_EIGHT: dict[str, JSON] = {"decoder.beam_search.num_beams": 8}
"""vLLM returns no scores, TensorRT-LLM undivided sums.
Of four beams' order the penalty cannot be told: 0 and 0.5, 1 and 1.5 give the same."""

_SUMS: dict[str, JSON] = {**_EIGHT, "tensorrt.logprobs": 1}
"""Sums come with log-probabilities alone, and 0 asks for none: `bool(self.logprobs)`
(SamplingParams._get_output_config, tensorrt_llm/sampling_params.py)."""

_FOUR: dict[str, JSON] = {"decoder.beam_search.num_beams": 4}
_NO_NUMBER: dict[str, JSON] = {"decoder.beam_search.num_beams": None}
_ALONE: dict[str, JSON] = {"batching.batch_size": 1}


def _vllm(name: str) -> dict[str, JSON]:
    return _EIGHT if name == "length_penalty" else {}


def _tensorrt(name: str, companions: dict[str, JSON]) -> dict[str, JSON]:
    # one at a time, since which step a request joins is the moment's, and steps are compared
    return _SUMS if name == "length_penalty" else {**companions, **_ALONE} if name == "early_stopping" else companions


def _parameter(name: str, prefix: str, section: str) -> Parameter:
    companions: dict[str, JSON] = {}
    work: Workload = workloads.BEAMS
    if name == "length_penalty":
        companions = {f"{prefix}.num_beams": 4}
    if name == "early_stopping":
        # here the search ends after 8 forward calls when True, 16 when False, 24 when "never"
        companions = {f"{prefix}.num_beams": 3, f"{prefix}.length_penalty": 1.5}
    if name == "no_repeat_ngram_size":
        work = workloads.LOOPING
    column = Column(Scope.REQUEST, _PROBES[name], OutputRule.FREE, companions=companions, workload=work)
    columns: dict[str, Column | NotApplicable] = {"pytorch": column}
    if section == DECODER:
        columns["vllm"] = _VLLM.get(name) or replace(column, probe=_VLLM_PROBES[name], companions=_vllm(name))
        columns["tensorrt"] = replace(
            column,
            # the engine is made for a number of beams
            scope=Scope.ENGINE if name == "num_beams" else Scope.REQUEST,
            probe=_TENSORRT_PROBES[name],
            companions=_tensorrt(name, companions),
            needs=CUDA,
        )
    return Parameter(f"{prefix}.{name}", section=section, values=_VALUES[name], columns=columns)


PARAMETERS = (
    Parameter(
        "decoder.beam_search.enabled",
        section=DECODER,
        values=(
            Value(False, contrast=True, control=_FOUR),
            # upstream has no such switch: what is handed over is the number of beams alone, or the width at load
            Value(
                True,
                contrast=False,
                companions=_FOUR,
                control=_NO_NUMBER,
                by_harness=True,
                backends=("pytorch", "vllm"),
            ),
            Value(True, contrast=False, companions=_FOUR, control=_NO_NUMBER, backends=("tensorrt",)),
        ),
        columns={
            "pytorch": Column(
                Scope.REQUEST,
                beams.enabled,
                OutputRule.FREE,
                workload=workloads.BEAMS,
            ),
            "vllm": Column(
                Scope.REQUEST,
                beams.kept_enabled,
                OutputRule.FREE,
                # one prompt at a time, so that rows are beams
                companions={"batching.batch_size": 1},
                workload=workloads.BEAMS,
                # a search is a call of its own there, which the adapter makes or not
                by_harness=True,
            ),
            "tensorrt": Column(
                Scope.ENGINE, trt_results.beams_enabled, OutputRule.FREE, workload=workloads.BEAMS, needs=CUDA
            ),
        },
    ),
    *(_parameter(name, "decoder.beam_search", DECODER) for name in _PROBES),
    *(_parameter(name, "pytorch", PYTORCH) for name in _PROBES),
)
