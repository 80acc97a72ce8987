"""What every request can ask for by itself: `SamplingParams`."""

from __future__ import annotations

from harness.declare import Parameter, Value
from harness.jsontypes import JSON
from matrix import workloads
from matrix.parameters.declaring import LOSSLESS, on_off
from matrix.parameters.sampling import NEUTRAL
from matrix.parameters.vllm.declaring import engine, request
from matrix.probes import barred, requests
from matrix.variants import SHIPPED

_SAMPLE: dict[str, JSON] = {"decoder.do_sample": True}
_HALF: dict[str, JSON] = {**NEUTRAL, "decoder.temperature": 0.5, "vllm.logprobs": 5}
"""At a temperature of its own, what was scaled by it can be told from what was not."""
_STOP = "5"
"""A digit that most of the sums' answers contain."""
_DOT = 260
_ENUM: JSON = {"enum": [10, 15]}

PARAMETERS: tuple[Parameter, ...] = (
    request("best_of", requests.n, Value(1), Value(2), companions=_SAMPLE, note="removed from vLLM's SamplingParams"),
    request("n", requests.n, Value(1, contrast=3), Value(3), companions=_SAMPLE, workload=workloads.OPEN),
    request("min_tokens", barred.min_new_tokens, Value(1), Value(4), workload=workloads.SUMS),
    request("ignore_eos", requests.ignore_eos, *on_off(contrast_on=False)),
    request(
        "stop",
        requests.stop,
        Value(_STOP),
        Value([_STOP, "7"]),
        variant=SHIPPED,
    ),
    request("stop_token_ids", requests.stop, Value([_DOT]), variant=SHIPPED),
    request(
        "include_stop_str_in_output",
        requests.include_stop,
        *on_off(),
        companions={"vllm.stop": _STOP},
        variant=SHIPPED,
    ),
    request(
        "logprobs",
        requests.logprobs,
        Value(0),
        Value(1),
        Value(5),
        output=LOSSLESS,
        # where every token is the likeliest, none and one look alike
        companions=_SAMPLE,
        workload=workloads.OPEN,
    ),
    request("prompt_logprobs", requests.prompt_logprobs, Value(0), Value(2), output=LOSSLESS),
    engine(
        "max_logprobs",
        requests.max_logprobs,
        Value(-1, companions={"vllm.logprobs": -1}, control={"vllm.logprobs": 20}),
        Value(30, companions={"vllm.logprobs": 30}, control={"vllm.logprobs": 20}),
    ),
    engine(
        "logprobs_mode",
        requests.logprobs_mode,
        Value("raw_logprobs", contrast="processed_logprobs"),
        Value("raw_logits", contrast="processed_logits"),
        Value("processed_logprobs", contrast="raw_logprobs"),
        Value("processed_logits", contrast="raw_logits"),
        companions=_HALF,
        workload=workloads.OPEN,
    ),
    request(
        "flat_logprobs",
        requests.flat_logprobs,
        *on_off(),
        output=LOSSLESS,
        companions={"vllm.logprobs": 2},
    ),
    request(
        "presence_penalty",
        requests.presence_penalty,
        Value(0.0, contrast=1.5),
        Value(1.5),
        Value(-0.5),
        workload=workloads.LOOPING,
    ),
    request(
        "frequency_penalty",
        requests.frequency_penalty,
        Value(0.0, contrast=1.5),
        Value(1.5),
        Value(-0.5),
        workload=workloads.LOOPING,
    ),
    request("logit_bias", requests.logit_bias, Value({"0": -100.0}), Value({"5": 2.5}), variant=SHIPPED),
    request("allowed_token_ids", requests.allowed, Value([17, 21, 221, _DOT]), variant=SHIPPED),
    request("bad_words", requests.bad_words, Value([_STOP]), variant=SHIPPED),
    request("detokenize", requests.detokenize, *on_off(), output=LOSSLESS),
    request(
        "skip_special_tokens",
        requests.skip_special,
        *on_off(),
        output=LOSSLESS,
        # the token that ends an output is left out of its text in any case
        companions={"vllm.ignore_eos": True},
    ),
    request(
        "spaces_between_special_tokens",
        requests.spaces,
        *on_off(),
        output=LOSSLESS,
        companions={"vllm.skip_special_tokens": False, "vllm.ignore_eos": True, "vllm.allowed_token_ids": [0]},
        variant=SHIPPED,
        note="shows with tokenizers that put a space before a special token, which the shipped model's does not",
    ),
    request("structured_outputs.regex", requests.regex, Value(" [0-9]{4} \\.")),
    request("structured_outputs.choice", requests.choice, Value(["red", "blue"])),
    request("structured_outputs.grammar", requests.grammar, Value('root ::= "red" | "blue"')),
    request("structured_outputs.json", requests.json_schema, Value(_ENUM)),
)
