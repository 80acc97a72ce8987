"""Rules about speculative decoding in TensorRT-LLM: one config class per decoding type."""

from __future__ import annotations

from typing import Any

from harness.config.rules._rule import Rule, Values
from harness.config.rules._tensorrt import inert, refused, within

__all__ = ["RULES"]

_SECTION = "tensorrt.speculative"
_TYPE, _LENGTH, _MODEL = (f"{_SECTION}.{name}" for name in ("decoding_type", "max_draft_len", "speculative_model"))
_DRAFTS = ("NGram", "Draft_Target", "Eagle3")
_MODELS = ("Draft_Target", "Eagle3")
_NGRAM_FIELDS: dict[str, Any] = {
    "max_matching_ngram_size": 2,
    "is_keep_all": True,
    "is_use_oldest": True,
    "is_public_pool": True,
}


def _untyped(values: Values) -> bool:
    return within(values, _SECTION) and _TYPE not in values


def _ngram_only(name: str, value: Any) -> Rule:
    path = f"{_SECTION}.{name}"
    return refused(
        f"speculative.tensorrt_{name}",
        path,
        _TYPE,
        violated=lambda values: path in values and values.get(_TYPE, "NGram") != "NGram",
        combination=f"{path} without {_TYPE}=NGram",
        expected=f"{_TYPE}=NGram",
        reason="The config classes of other decoding types have no such field and forbid it",
        resolution=f"Set {_TYPE}='NGram', or remove {path}",
        witness={path: value, _TYPE: "AUTO"},
        neighbour={path: value, _TYPE: "NGram", _LENGTH: 3},
    )


RULES: tuple[Rule, ...] = (
    refused(
        "speculative.tensorrt_without_type",
        _SECTION,
        _TYPE,
        violated=_untyped,
        combination=f"{_SECTION} without {_TYPE}",
        expected=f"{_TYPE} beside the rest",
        reason="The type decides which config class upstream is given",
        resolution=f"Set {_TYPE} (for example 'NGram'), or remove the rest of {_SECTION}",
        witness={_LENGTH: 3},
        neighbour={_LENGTH: 3, _TYPE: "NGram"},
    ),
    refused(
        "speculative.tensorrt_without_length",
        _TYPE,
        _LENGTH,
        violated=lambda values: values.get(_TYPE) in _DRAFTS and _LENGTH not in values,
        combination=f"{_TYPE} without {_LENGTH}",
        expected=f"{_LENGTH} beside the type",
        reason="There is no default: upstream asserts that it is above 0",
        resolution=f"Set {_LENGTH}, or remove {_TYPE}",
        witness={_TYPE: "NGram"},
        neighbour={_TYPE: "NGram", _LENGTH: 3},
    ),
    refused(
        "speculative.tensorrt_without_model",
        _TYPE,
        _MODEL,
        violated=lambda values: values.get(_TYPE) in _MODELS and _MODEL not in values,
        combination=f"{_TYPE} of a drafting model without {_MODEL}",
        expected=f"{_MODEL} beside the type",
        reason="Upstream asserts: path to draft model must be specified",
        resolution=f"Set {_MODEL}, or use {_TYPE}='NGram'",
        witness={_TYPE: "Draft_Target", _LENGTH: 3},
        neighbour={_TYPE: "Draft_Target", _LENGTH: 3, _MODEL: "draft"},
    ),
    *(_ngram_only(name, value) for name, value in _NGRAM_FIELDS.items()),
    inert(
        "speculative.tensorrt_model_inert",
        _MODEL,
        _TYPE,
        violated=lambda values: _MODEL in values and values.get(_TYPE) in ("NGram", "AUTO"),
        combination=f"{_MODEL} with {_TYPE}=NGram or AUTO",
        expected=f"{_MODEL} to be omitted",
        reason="These draft without a model",
        resolution=f"Remove {_MODEL}, or set {_TYPE}='Draft_Target'",
        witness={_MODEL: "draft", _TYPE: "AUTO"},
        neighbour={_MODEL: "draft", _TYPE: "Draft_Target", _LENGTH: 3},
    ),
)
