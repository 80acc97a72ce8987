"""What a request gets back: sequences, log-probabilities, logits, text, where it ends, which form it takes."""

from __future__ import annotations

from harness.declare import Parameter, Value
from harness.jsontypes import JSON
from matrix import workloads
from matrix.parameters.declaring import LOSSLESS, on_off
from matrix.parameters.tensorrt.declaring import request
from matrix.probes import inflight, requests, trt_results
from matrix.variants import SHIPPED

_SAMPLE: dict[str, JSON] = {"decoder.do_sample": True}
_STOP = "5"
"""A digit that most of the sums' answers contain."""
_DOT = 260
_ENUM: JSON = {"enum": [10, 15]}
_GUIDED: dict[str, JSON] = {"tensorrt.guided_decoding_backend": "xgrammar"}

PARAMETERS: tuple[Parameter, ...] = (
    request("n", requests.n, Value(1, contrast=3), Value(3), companions=_SAMPLE, workload=workloads.OPEN),
    request("best_of", inflight.best_of, Value(1, contrast=3), Value(3), companions=_SAMPLE, workload=workloads.OPEN),
    request("ignore_eos", requests.ignore_eos, *on_off(contrast_on=False)),
    request("end_id", trt_results.end_id, Value(_DOT), variant=SHIPPED),
    request("stop", requests.stop, Value(_STOP), Value([_STOP, "7"]), variant=SHIPPED),
    request("stop_token_ids", requests.stop, Value([_DOT]), variant=SHIPPED),
    request(
        "include_stop_str_in_output",
        requests.include_stop,
        *on_off(),
        companions={"tensorrt.stop": _STOP},
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
    request("return_context_logits", trt_results.context_logits, *on_off(), output=LOSSLESS),
    request("return_generation_logits", trt_results.generation_logits, *on_off(), output=LOSSLESS),
    request("exclude_input_from_output", trt_results.exclude_input, *on_off()),
    request("detokenize", requests.detokenize, *on_off(), output=LOSSLESS),
    request(
        "skip_special_tokens",
        requests.skip_special,
        *on_off(),
        output=LOSSLESS,
        # the token that ends an output is left out of its text in any case
        companions={"tensorrt.ignore_eos": True},
    ),
    request("truncate_prompt_tokens", trt_results.truncate_prompt, Value(4), Value(6), workload=workloads.LOOPING),
    request("guided_decoding.regex", requests.regex, Value(" [0-9]{4} \\."), companions=_GUIDED),
    request("guided_decoding.grammar", requests.grammar, Value('root ::= "red" | "blue"'), companions=_GUIDED),
    request("guided_decoding.json", requests.json_schema, Value(_ENUM), companions=_GUIDED),
    request("guided_decoding.json_object", trt_results.json_object, *on_off(), companions=_GUIDED),
)
