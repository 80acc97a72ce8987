"""Introspection answers from the schema and the registry, and the config hash."""

from __future__ import annotations

import dataclasses
import json

import pytest

from harness.config import BACKENDS, ExperimentConfig, PyTorchConfig, leaf_paths, rules
from harness.config.introspection import (
    compute_config_hash,
    get_backend_specific_params,
    get_mutual_exclusions,
    get_param_skip_conditions,
    get_shared_params,
    get_validation_rules,
)


def test_shared_and_specific_params_make_up_the_schema() -> None:
    specific = get_backend_specific_params()
    assert list(specific) == list(BACKENDS)
    parts = [set(get_shared_params()), *(set(params) for params in specific.values())]
    assert set.union(*parts) == set(leaf_paths())
    assert sum(map(len, parts)) == len(leaf_paths())
    for backend, params in specific.items():
        assert all(path.startswith(f"{backend}.") for path in params)


def test_the_new_pytorch_fields_are_reported_with_types_choices_and_limits() -> None:
    params = get_backend_specific_params()["pytorch"]
    assert {f"pytorch.{name}" for name in PyTorchConfig.model_fields} == set(params)
    assert "flash_attention_3" in params["pytorch.attn_implementation"]["choices"]
    assert params["pytorch.torch_compile_mode"]["choices"] is None
    assert params["pytorch.num_beams"]["constraints"]["ge"] == 1
    assert get_shared_params()["decoder.min_p"]["constraints"] == {"ge": 0.0, "le": 1.0}


def test_mutual_exclusions_relate_the_parameters_of_rejecting_rules() -> None:
    related = get_mutual_exclusions()
    assert "pytorch.torch_compile" in related["pytorch.torch_compile_mode"]
    assert "pytorch.load_in_4bit" in related["pytorch.bnb_4bit_quant_type"]
    assert "pytorch.load_in_8bit" in related["pytorch.load_in_4bit"]
    assert "decoder.do_sample" not in related.get("pytorch.num_beams", ())  # only a warning
    for path, others in related.items():
        assert path not in others
        assert all(path in related[other] for other in others)


def test_validation_rules_are_the_registry_as_json() -> None:
    listed = get_validation_rules()
    assert [item["id"] for item in listed] == [rule.id for rule in rules.REGISTRY]
    assert json.loads(json.dumps(listed)) == listed


def test_answers_follow_the_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    extra = dataclasses.replace(
        rules.REGISTRY[0], id="made.up", parameters=("streaming", "random_seed"), devices="a made-up device"
    )
    monkeypatch.setattr(rules, "REGISTRY", (*rules.REGISTRY, extra))
    assert get_validation_rules()[-1]["id"] == "made.up"
    assert "random_seed" in get_mutual_exclusions()["streaming"]
    assert get_param_skip_conditions()["streaming"][-1]["devices"] == "a made-up device"


def test_skip_conditions_name_packages_and_capability() -> None:
    conditions = get_param_skip_conditions()
    flash = {item["what"]: item for item in conditions["pytorch.attn_implementation"]}
    assert flash["attn_implementation=flash_attention_4"]["compute_capability"] == "9.0"
    assert flash["attn_implementation=flash_attention_2"]["packages"] == ["flash-attn"]
    assert conditions["pytorch.load_in_4bit"][0]["packages"] == ["accelerate>=1.1.0", "bitsandbytes>=0.46.1"]
    assert set(conditions) - {"backend"} <= set(leaf_paths())


def _hash(data: dict[str, object]) -> str:
    return compute_config_hash(ExperimentConfig.model_validate(data))


def test_the_hash_ignores_key_order_explicit_none_and_empty_sections() -> None:
    plain = _hash({"model": "m", "streaming": True, "decoder": {"top_k": 1, "min_p": 0.5}})
    assert plain == _hash({"decoder": {"min_p": 0.5, "top_k": 1}, "streaming": True, "model": "m"})
    assert plain == _hash(
        {
            "model": "m",
            "streaming": True,
            "decoder": {"top_k": 1, "min_p": 0.5, "top_p": None, "beam_search": {}},
            "vllm": None,
        }
    )


def test_the_hash_tells_revisions_models_backends_and_falsy_values_apart() -> None:
    hashes = [
        _hash({"model": "m"}),
        _hash({"model": "n"}),
        _hash({"model": "m", "backend": "vllm"}),
        _hash({"model": "m", "streaming": False}),
        _hash({"model": "m", "pytorch": {"revision": "abc123"}}),
        _hash({"model": "m", "pytorch": {"revision": "def456"}}),
    ]
    assert len(set(hashes)) == len(hashes)


def test_the_hash_does_not_change_between_versions_of_the_harness() -> None:
    assert _hash({"model": "m", "decoder": {"top_k": 1}}) == (
        "b72419c0af0b98066e71c5669e3522fb3b7cbd77b355d5bf3b260c9b78c7c1f3"
    )
