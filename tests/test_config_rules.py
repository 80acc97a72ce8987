"""The rule registry: each rule against its witness and neighbour, and against mutation."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
from pydantic import ValidationError

from harness.backends.vllm import arguments as adapter
from harness.config import BACKENDS, ExperimentConfig, PyTorchConfig, leaf_paths, rules, warnings_for
from harness.config.flat import nest
from harness.config.rules import REGISTRY, Rule, Values
from harness.config.rules.passthrough import shadowed_field

BY_ID = {rule.id: rule for rule in REGISTRY}


def build(values: Values) -> ExperimentConfig:
    return ExperimentConfig.model_validate(nest({"model": "m", **values}))


def rejecting(values: Values) -> dict[str, str]:
    """The message of each rule that rejects the settings, by rule id; fails on any other error."""
    try:
        build(values)
    except ValidationError as error:
        found = {item["type"].removeprefix("rule."): item["msg"] for item in error.errors()}
        assert set(found) <= set(BY_ID), found
        return found
    return {}


def warned(values: Values) -> dict[str, str]:
    return {problem.rule or "": problem.actual for problem in warnings_for(build(values))}


def check(rule: Rule) -> None:
    """All that must be true of one rule."""
    bare = {"backend": rule.backends[0] if rule.backends else "pytorch"}
    witness, neighbour = rule.example(rule.witness), rule.example(rule.neighbour)
    assert not rule.violated(bare), "the rule rejects a config that states nothing"
    if rule.severity == "error":
        assert set(rejecting(witness)) == {rule.id}
    else:
        assert rejecting(witness) == {}
        assert rule.id in warned(witness)
        assert rule.id not in warned(neighbour)
    assert rejecting(neighbour) == {}


@pytest.mark.parametrize("rule", REGISTRY, ids=lambda rule: rule.id)
def test_each_rule_objects_to_its_witness_and_accepts_its_neighbour(rule: Rule) -> None:
    check(rule)


@pytest.mark.parametrize("constant", [True, False], ids=["always", "never"])
@pytest.mark.parametrize("rule", REGISTRY, ids=lambda rule: rule.id)
def test_a_predicate_that_became_constant_is_noticed(
    rule: Rule, constant: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    mutant = dataclasses.replace(rule, violated=lambda _values: constant)
    monkeypatch.setattr(rules, "REGISTRY", tuple(mutant if other is rule else other for other in REGISTRY))
    with pytest.raises(AssertionError):
        check(mutant)


@pytest.mark.parametrize("rule", REGISTRY, ids=lambda rule: rule.id)
def test_each_message_names_every_parameter_and_says_how_to_fix_it(rule: Rule) -> None:
    witness = rule.example(rule.witness)
    if rule.severity == "error":
        message = rejecting(witness)[rule.id]
    else:
        message = rule.message(witness)
        assert warned(witness)[rule.id] in message
    for path in rule.parameters:
        assert f"`{path}" in message
    for part in (rule.combination, f"expected {rule.expected}", rule.reason, f"To fix: {rule.resolution}"):
        assert part in message


@pytest.mark.parametrize("rule", REGISTRY, ids=lambda rule: rule.id)
def test_each_witness_is_minimal(rule: Rule) -> None:
    witness = rule.example(rule.witness)
    for path in rule.witness:
        if path == "backend":
            continue
        smaller = {name: value for name, value in witness.items() if name != path}
        assert not rule.violated(smaller) or rejecting(smaller).keys() - {rule.id}, path


@pytest.mark.parametrize("rule", REGISTRY, ids=lambda rule: rule.id)
def test_each_rule_names_parameters_that_exist_for_its_backends(rule: Rule) -> None:
    known = {*leaf_paths(), "backend"}
    sections = {path[:end] for path in leaf_paths() for end, char in enumerate(path) if char == "."}
    assert set(rule.parameters) <= known | sections
    assert {*rule.witness, *rule.neighbour} <= known
    assert set(rule.backends or BACKENDS) <= set(BACKENDS)


def test_rule_ids_are_unique_and_begin_with_their_subject() -> None:
    assert len(BY_ID) == len(REGISTRY)
    assert all(all(rule.id.partition(".")) for rule in REGISTRY)


@pytest.mark.parametrize(
    ("rule_id", "words"),
    [
        ("parallelism.pytorch_pipeline", "full model access"),
        ("parallelism.vllm_data", "Ray/tensor parallel"),
        ("quantization.vllm_8bit", "does not support bitsandbytes 8-bit"),
        ("backends.tensorrt_float32", "optimised for lower precision"),
        ("quantization.tensorrt_4bit", "does not support bitsandbytes"),
        ("quantization.tensorrt_8bit", "does not support bitsandbytes"),
        ("quantization.method_missing", "doesn't specify which method"),
        ("quantization.4bit_and_8bit", "both 4-bit and 8-bit"),
    ],
)
def test_the_eight_published_config_errors_are_errors_with_their_reason(rule_id: str, words: str) -> None:
    rule = BY_ID[rule_id]
    assert rule.severity == "error"
    assert words in rule.reason


def test_all_problems_are_reported_at_once_each_at_its_path() -> None:
    data = {
        "backend": "pytorch",
        "fp_precision": "float31",
        "streaming": True,
        "decoder": {"top_p": 2, "do_sample": True, "temperature": 0.0},
        "pytorch": {"torch_compile_mode": "x", "num_beams": 2, "use_cache": "no"},
        "vllm": {"enforce_eager": True},
    }
    with pytest.raises(ValidationError) as caught:
        ExperimentConfig.model_validate(data)
    found = {(item["type"], ".".join(map(str, item["loc"]))) for item in caught.value.errors()}
    assert found == {
        ("missing", "model"),
        ("literal_error", "fp_precision"),
        ("less_than_equal", "decoder.top_p"),
        ("bool_type", "pytorch.use_cache"),
        ("rule.decoding.sampling_at_temperature_zero", "decoder.do_sample"),
        ("rule.compile.mode_without_compile", "pytorch.torch_compile_mode"),
        ("rule.beams.native_streaming", "pytorch.num_beams"),
        ("rule.backends.vllm_section", "vllm"),
    }


def test_a_rule_does_not_speak_about_a_value_that_has_an_error_of_its_own() -> None:
    with pytest.raises(ValidationError) as caught:
        PyTorchConfig.model_validate({"torch_compile": "yes", "torch_compile_mode": "default"})
    assert [item["type"] for item in caught.value.errors()] == ["bool_type"]


def test_section_rules_fire_on_a_ready_made_section_and_on_a_mapping_alike() -> None:
    section = {"load_in_4bit": True, "load_in_8bit": True}
    errors: list[list[str]] = []
    attempts: list[Callable[[], object]] = [
        lambda: PyTorchConfig.model_validate(section),
        lambda: ExperimentConfig.model_validate({"model": "m", "pytorch": section}),
    ]
    for attempt in attempts:
        with pytest.raises(ValidationError) as caught:
            attempt()
        errors.append([item["type"] for item in caught.value.errors()])
    assert errors == [["rule.quantization.native_4bit_and_8bit"]] * 2


def test_presets_count_as_the_fields_they_stand_for() -> None:
    assert set(rejecting({"decoder.preset": "standard", "decoder.temperature": 0.0})) == {
        "decoding.sampling_at_temperature_zero"
    }
    assert "decoding.greedy_top_k" in warned({"decoder.preset": "deterministic", "decoder.top_k": 5})


@pytest.mark.parametrize(
    ("backend", "key", "field"),
    [
        ("pytorch", "temperature", "decoder.temperature"),
        ("pytorch", "torch_dtype", "fp_precision"),
        ("pytorch", "decoder.top_k", "decoder.top_k"),
        ("pytorch", "max_new_tokens", "max_output_tokens"),
        ("vllm", "block_size", "vllm.block_size"),
        ("vllm", "tensor_parallel_size", "vllm.tensor_parallel_size"),
        ("vllm", "seed", "vllm.seed"),
        ("vllm", "max_tokens", "max_output_tokens"),
        ("vllm", "compilation_config", "vllm.compilation"),
        ("vllm", "structured_outputs", "vllm.structured_outputs"),
        ("vllm", "spec_method", "vllm.speculative.method"),
        ("tensorrt", "quant_config", "tensorrt.quantization.method"),
    ],
)
def test_passthrough_keys_that_name_a_declared_field_are_rejected(backend: str, key: str, field: str) -> None:
    message = rejecting({"backend": backend, "passthrough_kwargs": {key: 1, "typical_p": 0.9}})["passthrough.collision"]
    assert f"`passthrough_kwargs.{key}` shadows `{field}`" in message
    assert "typical_p" not in message


def test_no_argument_that_the_vllm_adapter_sets_can_be_passed_through() -> None:
    calls = (adapter.LLM, adapter.SAMPLING, adapter.BEAM, adapter.GENERATE)
    names = {name for table in calls for name in table.values()} | set(adapter.PARALLEL.values())
    assert {name for name in names if shadowed_field(name, "vllm") is None} == set()


def test_passthrough_keys_of_another_backend_are_left_alone() -> None:
    assert rejecting({"backend": "pytorch", "passthrough_kwargs": {"block_size": 16, "enabled": True}}) == {}
