"""Rules about what vLLM makes of the tokens: text, structure; and about adapters and priorities of requests."""

from __future__ import annotations

from typing import Any

from harness.config.rules._rule import Rule, is_true
from harness.config.rules._vllm import inert, refused

__all__ = ["RULES"]

_STOP, _DETOKENIZE, _SKIP = "vllm.stop", "vllm.detokenize", "vllm.skip_tokenizer_init"
_STRUCTURED = "vllm.structured_outputs"
_KINDS = tuple(f"{_STRUCTURED}.{name}" for name in ("regex", "choice", "json", "grammar"))


def _without_text(name: str, *, value: bool) -> Rule:
    path = f"vllm.{name}"
    return inert(
        f"output.vllm_{name}_without_text",
        path,
        _DETOKENIZE,
        violated=lambda values: path in values and values.get(_DETOKENIZE) is False,
        combination=f"{path} with {_DETOKENIZE}=False",
        expected=f"{_DETOKENIZE}=True",
        reason="No text is made: nothing says how to make it",
        resolution=f"Remove {path}, or set {_DETOKENIZE}=True",
        witness={path: value, _DETOKENIZE: False},
        neighbour={path: value, _DETOKENIZE: True},
    )


def _without_tokenizer(name: str, value: Any) -> Rule:
    path = f"vllm.{name}"
    return inert(
        f"output.vllm_{name}_without_tokenizer",
        path,
        _SKIP,
        violated=lambda values: bool(values.get(path)) and values.get(_SKIP) is True,
        combination=f"{path} with {_SKIP}=True",
        expected=f"{_SKIP}=False",
        reason="Texts cannot be told without a tokenizer: vLLM takes the argument and ignores it",
        resolution=f"Remove {path}, or remove {_SKIP}",
        witness={path: value, _SKIP: True},
        neighbour={path: value, _SKIP: False},
    )


RULES: tuple[Rule, ...] = (
    refused(
        "output.vllm_stop_without_text",
        _STOP,
        _DETOKENIZE,
        violated=lambda values: bool(values.get(_STOP)) and values.get(_DETOKENIZE) is False,
        combination=f"{_STOP} with {_DETOKENIZE}=False",
        expected=f"{_DETOKENIZE}=True",
        reason="SamplingParams raises: stop strings are only supported when detokenize is True",
        resolution=f"Set {_DETOKENIZE}=True, or use vllm.stop_token_ids",
        witness={_STOP: ["."], _DETOKENIZE: False},
        neighbour={_STOP: ["."], _DETOKENIZE: True},
    ),
    _without_text("skip_special_tokens", value=False),
    _without_text("spaces_between_special_tokens", value=False),
    _without_tokenizer("stop", ["."]),
    _without_tokenizer("bad_words", ["red"]),
    refused(
        "structured.vllm_two_kinds",
        *_KINDS,
        violated=lambda values: sum(path in values for path in _KINDS) > 1,
        combination=f"two kinds of {_STRUCTURED}",
        expected="one of regex, choice, json and grammar",
        reason="StructuredOutputsParams raises: you can only use one kind of structured outputs constraint",
        resolution="Keep the one that is meant",
        witness={f"{_STRUCTURED}.regex": "[0-9]+", f"{_STRUCTURED}.choice": ["15", "16"]},
        neighbour={f"{_STRUCTURED}.regex": "[0-9]+"},
    ),
    refused(
        "structured.vllm_without_tokenizer",
        _STRUCTURED,
        _SKIP,
        violated=lambda values: values.get(_SKIP) is True and any(path in values for path in _KINDS),
        combination=f"{_STRUCTURED} with {_SKIP}=True",
        expected=f"{_SKIP}=False",
        reason="The request is rejected: structured outputs require a tokenizer",
        resolution=f"Remove {_SKIP}, or remove {_STRUCTURED}",
        witness={f"{_STRUCTURED}.regex": "[0-9]+", _SKIP: True},
        neighbour={f"{_STRUCTURED}.regex": "[0-9]+", _SKIP: False},
    ),
    refused(
        "lora.vllm_request_not_enabled",
        "vllm.lora_request",
        "vllm.enable_lora",
        violated=lambda values: "vllm.lora_request" in values and not is_true("vllm.enable_lora")(values),
        combination="vllm.lora_request without vllm.enable_lora=True",
        expected="vllm.enable_lora=True",
        reason="The request is rejected: LoRA is not enabled",
        resolution="Set vllm.enable_lora=True, or remove vllm.lora_request",
        witness={"vllm.lora_request": "adapter"},
        neighbour={"vllm.enable_lora": True},
    ),
    inert(
        "scheduling.vllm_priority_inert",
        "vllm.priority",
        "vllm.scheduling_policy",
        violated=lambda values: "vllm.priority" in values and values.get("vllm.scheduling_policy") != "priority",
        combination="vllm.priority without vllm.scheduling_policy=priority",
        expected="vllm.scheduling_policy=priority",
        reason="Requests are taken in the order of their arrival: vLLM accepts priorities and ignores them",
        resolution="Set vllm.scheduling_policy='priority', or remove vllm.priority",
        witness={"vllm.priority": [1]},
        neighbour={"vllm.priority": [1], "vllm.scheduling_policy": "priority"},
    ),
    inert(
        "scheduling.vllm_policy_without_priority",
        "vllm.scheduling_policy",
        "vllm.priority",
        violated=lambda values: values.get("vllm.scheduling_policy") == "priority" and "vllm.priority" not in values,
        combination="vllm.scheduling_policy=priority without vllm.priority",
        expected="vllm.priority, one number per prompt",
        reason="All requests then have priority 0, and the order of arrival decides",
        resolution="Set vllm.priority, or remove vllm.scheduling_policy",
        witness={"vllm.scheduling_policy": "priority"},
        neighbour={"vllm.scheduling_policy": "priority", "vllm.priority": [1]},
    ),
)
