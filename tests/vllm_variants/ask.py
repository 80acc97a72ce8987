"""Ask vLLM itself: loads models one after another, each in a process of its own, and prints what it saw.

The argument is a JSON object of name to {"engine": arguments of LLM, "requests": {"prompts", "adapters",
"logits"}}.
Standard library and vLLM only: this runs in vLLM's interpreter.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vllm import LLM, SamplingParams
from vllm.lora.request import LoRARequest

VOCABULARY = 512
SMALL = {
    "dtype": "float32",
    "kv_cache_memory_bytes": 64 << 20,
    "enforce_eager": True,
    "max_model_len": 512,
    "max_logprobs": VOCABULARY,
    "logprobs_mode": "raw_logits",
}


def linear_methods(llm: Any) -> list[str]:
    """Which classes compute the projections, and with which kernels."""
    found = set()
    model = llm.llm_engine.engine_core.engine_core.model_executor.driver_worker.worker.model_runner.model
    for name, module in model.named_modules():
        if name.rpartition(".")[2].endswith("_proj"):
            method = module.quant_method
            scheme = getattr(module, "scheme", None)
            found.add("/".join(type(part).__name__ for part in (method, scheme) if part is not None))
    return sorted(found)


def windows(llm: Any) -> list[int | None]:
    """The sliding window of each attention layer, as the layer has it."""
    layers = llm.llm_engine.vllm_config.compilation_config.static_forward_context
    return [getattr(layer, "sliding_window", None) for layer in layers.values()]


def drafts(llm: Any) -> dict[str, int]:
    """How many tokens were drafted and accepted so far."""
    names = {"vllm:spec_decode_num_draft_tokens": "drafted", "vllm:spec_decode_num_accepted_tokens": "accepted"}
    return {names[metric.name]: metric.value for metric in llm.get_metrics() if metric.name in names}


def defaults(llm: Any) -> dict[str, Any]:
    """What a request gets that states nothing."""
    found = llm.get_default_sampling_params()
    return {name: getattr(found, name) for name in ("temperature", "top_k", "repetition_penalty", "max_tokens")}


def ask(engine: Mapping[str, Any], requests: Mapping[str, Any]) -> dict[str, Any]:
    llm = LLM(**{**SMALL, **engine})
    seen: dict[str, Any] = {"methods": linear_methods(llm), "windows": windows(llm), "defaults": defaults(llm)}
    config = llm.llm_engine.vllm_config.model_config.hf_config
    seen["config"] = type(config).__module__.partition(".")[0]
    params = SamplingParams(temperature=0.0, max_tokens=16)
    first = SamplingParams(temperature=0.0, max_tokens=1, logprobs=VOCABULARY)
    for number, adapter in enumerate([None, *requests["adapters"]], 1):
        lora = None if adapter is None else LoRARequest(str(number), number, adapter)
        outputs = llm.generate(requests["prompts"], params, use_tqdm=False, lora_request=lora)
        answer = {
            "texts": [output.outputs[0].text for output in outputs],
            "tokens": [list(output.outputs[0].token_ids) for output in outputs],
        }
        if requests["logits"]:
            outputs = llm.generate(requests["prompts"], first, use_tqdm=False, lora_request=lora)
            entries = [output.outputs[0].logprobs[0] for output in outputs]
            answer["logits"] = [[entry[token].logprob for token in range(VOCABULARY)] for entry in entries]
        seen["adapter " + Path(adapter).name if adapter else "plain"] = answer
    if "speculative_config" in engine:
        seen |= drafts(llm)
    return seen


def in_a_process(engine: Mapping[str, Any], requests: Mapping[str, Any]) -> dict[str, Any]:
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        try:
            answer = ask(engine, requests)
        except BaseException as error:  # noqa: BLE001 - whatever upstream raises is an answer
            traceback.print_exc()
            answer = {"error": f"{type(error).__name__}: {error}"}
        with os.fdopen(write, "w") as pipe:
            json.dump(answer, pipe)
            pipe.flush()
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        text = pipe.read()
    os.waitpid(child, 0)
    found: dict[str, Any] = json.loads(text) if text else {"error": "the process died"}
    return found


print(json.dumps({name: in_a_process(**wanted) for name, wanted in json.loads(sys.argv[1]).items()}))
