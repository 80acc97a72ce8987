"""Properties that hold for every config, checked with Hypothesis."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic import ValidationError

from harness.config import (
    BACKENDS,
    ExperimentConfig,
    compute_config_hash,
    config_from_settings,
    leaf_paths,
    schema_field,
    settings,
    warnings_for,
)
from harness.config.environment import Device, EnvironmentSnapshot, ModelFacts
from harness.config.files import dump_yaml, render, to_json, validate_text
from harness.config.flat import nest, to_plain
from harness.config.preflight import preflight
from harness.config.presets import PRESETS
from harness.config.problems import problems_of
from harness.config.rules import REGISTRY, Rule
from tests.config_strategies import flat_settings, leaf_values, raw_configs, repaired

ERRORS = [rule for rule in REGISTRY if rule.severity == "error"]


def build(backend: str, flat: dict[str, Any], model: str = "m") -> ExperimentConfig:
    return ExperimentConfig.model_validate({"model": model, "backend": backend, **nest(flat)})


def verdict(data: Any) -> set[tuple[str, tuple[int | str, ...]]]:
    try:
        ExperimentConfig.model_validate(data)
    except ValidationError as error:
        return {(item["type"], item["loc"]) for item in error.errors()}
    return set()


@given(raw_configs())
def test_any_data_is_a_config_or_raises_validation_error_with_problems(data: Any) -> None:
    try:
        assert isinstance(ExperimentConfig.model_validate(data), ExperimentConfig)
    except ValidationError as error:
        problems = problems_of(error)
        assert problems
        assert all(item.what and item.actual and item.expected and item.fix for item in problems)


@given(flat_settings())
def test_settings_without_a_violation_are_accepted_and_read_back_unchanged(drawn: tuple[str, dict[str, Any]]) -> None:
    backend, flat = drawn
    stated = settings(build(backend, flat))
    for path, value in flat.items():
        assert stated[path] == (value if not isinstance(value, dict) else json.loads(json.dumps(value)))


@given(flat_settings(every=True))
def test_settings_drawn_for_every_field_are_accepted(drawn: tuple[str, dict[str, Any]]) -> None:
    backend, flat = drawn
    assert set(flat) <= set(settings(build(backend, flat)))


@given(flat_settings())
def test_dump_and_load_through_json_yaml_and_flat_settings_is_identity(drawn: tuple[str, dict[str, Any]]) -> None:
    config = build(*drawn)
    assert ExperimentConfig.model_validate(json.loads(json.dumps(to_plain(config)))) == config
    assert ExperimentConfig.model_validate_json(config.model_dump_json()) == config
    report = validate_text(dump_yaml(config).encode(), "dumped")
    assert report.config is not None, render([report])
    assert to_plain(report.config) == to_plain(config)
    again = config_from_settings(settings(config), model=config.model, backend=config.backend)
    assert settings(again) == settings(config)


def with_every_none(data: dict[str, Any]) -> dict[str, Any]:
    """State None for every field, at every level, that the data omits."""
    filled: dict[str, Any] = nest(dict.fromkeys(leaf_paths()))

    def overlay(base: dict[str, Any], top: dict[str, Any]) -> dict[str, Any]:
        return {
            key: overlay(base[key], top[key])
            if isinstance(base.get(key), dict) and key in top
            else top.get(key, base.get(key))
            for key in {**base, **top}
        }

    return overlay(filled, data)


@given(flat_settings())
def test_explicit_none_is_the_same_as_omitted(drawn: tuple[str, dict[str, Any]]) -> None:
    backend, flat = drawn
    plain = build(backend, flat)
    filled = ExperimentConfig.model_validate(with_every_none({"model": "m", "backend": backend, **nest(flat)}))
    assert settings(filled) == settings(plain)
    assert compute_config_hash(filled) == compute_config_hash(plain)
    assert warnings_for(filled) == warnings_for(plain)


def reordered(data: Any, draw: st.DataObject) -> Any:
    if not isinstance(data, dict):
        return data
    keys = draw.draw(st.permutations(list(data)))
    return {key: reordered(data[key], draw) for key in keys}


@given(flat_settings(), st.data())
def test_key_order_does_not_matter_to_the_hash(drawn: tuple[str, dict[str, Any]], data: st.DataObject) -> None:
    backend, flat = drawn
    nested = {"model": "m", "backend": backend, **nest(flat)}
    shuffled = ExperimentConfig.model_validate(reordered(nested, data))
    assert compute_config_hash(shuffled) == compute_config_hash(ExperimentConfig.model_validate(nested))


@given(raw_configs(), st.data())
def test_key_order_does_not_matter_to_the_verdict(raw: Any, data: st.DataObject) -> None:
    assert verdict(reordered(raw, data)) == verdict(raw)


@given(flat_settings(), flat_settings())
def test_configs_hash_alike_exactly_if_they_state_the_same(
    first: tuple[str, dict[str, Any]], second: tuple[str, dict[str, Any]]
) -> None:
    one, other = build(*first), build(*second)
    same = json.dumps([one.backend, settings(one)], sort_keys=True) == json.dumps(
        [other.backend, settings(other)], sort_keys=True
    )
    assert (compute_config_hash(one) == compute_config_hash(other)) == same


def unrelated(flat: dict[str, Any], rule: Rule) -> dict[str, Any]:
    """The settings that share no rule with those of the rule's witness and neighbour."""
    touched = {*rule.parameters, *rule.witness, *rule.neighbour} - {"backend"}
    near = {path for other in REGISTRY if touched & {*other.parameters, *other.witness} for path in other.parameters}
    near |= touched
    presets = {f"decoder.{name}" for fields in PRESETS.values() for name in fields}
    if near & presets:
        near.add("decoder.preset")
    return {
        path: value
        for path, value in flat.items()
        if not any(
            f"{path}.".startswith(f"{name}.") or f"{name}.".startswith(f"{path}.") for name in near - {"backend"}
        )
    }


@given(st.sampled_from(ERRORS), st.data())
def test_unrelated_settings_never_turn_rejection_into_acceptance_and_the_resolution_repairs(
    rule: Rule, data: st.DataObject
) -> None:
    witness, neighbour = rule.example(rule.witness), rule.example(rule.neighbour)
    shared = set.intersection(*(set(leaf_paths(item["backend"])) for item in (witness, neighbour)))
    _, flat = data.draw(flat_settings(witness["backend"]))
    flat = unrelated({path: value for path, value in flat.items() if path in shared}, rule)
    flat = repaired(flat, witness["backend"], neighbour["backend"])
    assert f"rule.{rule.id}" in {kind for kind, _ in verdict(nest({"model": "m", **flat, **witness}))}
    assert verdict(nest({"model": "m", **flat, **neighbour})) == set()


@given(flat_settings(), st.data())
def test_another_backends_section_is_rejected(drawn: tuple[str, dict[str, Any]], data: st.DataObject) -> None:
    backend, flat = drawn
    foreign = data.draw(st.sampled_from([path for path in leaf_paths() if path not in leaf_paths(backend)]))
    owner = schema_field(foreign).backend
    value = data.draw(leaf_values(foreign))
    kinds = {kind for kind, _ in verdict({"model": "m", "backend": backend, **nest({**flat, foreign: value})})}
    assert f"rule.backends.{owner}_section" in kinds


@given(st.sampled_from(ERRORS))
def test_a_rejection_survives_any_other_error_in_the_config(rule: Rule) -> None:
    witness = rule.example(rule.witness)
    alone = verdict(nest({"model": "m", **witness}))
    both = verdict(nest({"model": "m", "nonexistent": 1, **witness}))
    assert both == alone | {("extra_forbidden", ("nonexistent",))}


@given(flat_settings())
def test_warnings_name_set_parameters_and_never_reject(drawn: tuple[str, dict[str, Any]]) -> None:
    config = build(*drawn)
    for warning in warnings_for(config):
        assert warning.severity == "warning"
        assert set(warning.parameters) & {*settings(config), "backend"} or any(
            path.startswith(f"{name}.") for path in settings(config) for name in warning.parameters
        )


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_any_bytes_get_a_report_that_renders(content: bytes) -> None:
    report = validate_text(content, "file")
    assert (report.exit_code == 0) == (report.config is not None) == (not report.problems)
    assert render([report]).endswith(")\n")
    (row,) = json.loads(to_json([report]))
    assert row["status"] == report.status


_SIZES = st.none() | st.integers(0, 2**40)
_SNAPSHOTS = st.builds(
    EnvironmentSnapshot,
    packages=st.dictionaries(
        st.sampled_from(["torch", "transformers", "accelerate", "bitsandbytes", "vllm", "tensorrt-llm"]),
        st.sampled_from(["0.1", "0.50.2", "5.23.0", "2.13.0+cpu", "weird"]),
    ),
    devices=st.lists(
        st.tuples(st.none() | st.tuples(st.integers(3, 12), st.integers(0, 9)), _SIZES, _SIZES), max_size=3
    ).map(lambda rows: tuple(Device(i, f"gpu{i}", *row) for i, row in enumerate(rows))),
    available_bytes=_SIZES,
    memory_bytes=_SIZES,
    model=st.none()
    | st.builds(
        ModelFacts, parameter_count=st.none() | st.integers(1, 10**12), weight_bytes=_SIZES, linear_parameters=_SIZES
    ),
)


@given(flat_settings(), _SNAPSHOTS)
def test_preflight_judges_any_config_in_any_environment(
    drawn: tuple[str, dict[str, Any]], snapshot: EnvironmentSnapshot
) -> None:
    problems = preflight(build(*drawn), snapshot)
    assert problems == preflight(build(*drawn), snapshot)
    for problem in problems:
        assert problem.what
        assert problem.actual
        assert problem.expected
        assert problem.fix
        assert problem.rule is not None


@given(st.sampled_from(BACKENDS), st.data())
def test_more_memory_never_makes_a_config_fail(backend: str, data: st.DataObject) -> None:
    _, flat = data.draw(flat_settings(backend))
    snapshot = data.draw(_SNAPSHOTS)
    assume(all(device.free_bytes is not None for device in snapshot.devices))
    roomy = EnvironmentSnapshot(
        packages=snapshot.packages,
        devices=tuple(
            Device(
                device.index, device.name, device.compute_capability, device.memory_bytes, (device.free_bytes or 0) * 2
            )
            for device in snapshot.devices
        ),
        available_bytes=None if snapshot.available_bytes is None else snapshot.available_bytes * 2,
        memory_bytes=snapshot.memory_bytes,
        model=snapshot.model,
    )
    before = {problem.what for problem in preflight(build(backend, flat), snapshot)}
    after = {problem.what for problem in preflight(build(backend, flat), roomy)}
    assert after <= before
