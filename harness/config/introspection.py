"""Questions about the schema and the rules, answered from the schema and the rules."""

import hashlib
import json
from typing import Any

from harness.config import rules
from harness.config._types import BACKENDS
from harness.config.experiment import ExperimentConfig
from harness.config.flat import settings
from harness.config.requirements import REQUIREMENTS
from harness.config.schema import LeafField, leaf_fields

__all__ = [
    "compute_config_hash",
    "get_backend_specific_params",
    "get_mutual_exclusions",
    "get_param_skip_conditions",
    "get_shared_params",
    "get_validation_rules",
]


def _described(leaf: LeafField) -> dict[str, Any]:
    return {
        "types": list(leaf.kinds),
        "choices": None if leaf.choices is None else list(leaf.choices),
        "constraints": dict(leaf.constraints),
        "default": leaf.default,
        "description": leaf.description,
    }


def get_shared_params() -> dict[str, dict[str, Any]]:
    """Return every parameter that all backends share, by dotted path."""
    return {path: _described(leaf) for path, leaf in leaf_fields().items() if leaf.backend is None}


def get_backend_specific_params() -> dict[str, dict[str, dict[str, Any]]]:
    """Return each backend's own parameters by dotted path."""
    return {
        backend: {path: _described(leaf) for path, leaf in leaf_fields().items() if leaf.backend == backend}
        for backend in BACKENDS
    }


def get_mutual_exclusions() -> dict[str, tuple[str, ...]]:
    """Map each parameter to the others that some rejecting rule relates it to."""
    related: dict[str, set[str]] = {}
    for rule in rules.REGISTRY:
        if rule.severity == "error":
            for path in rule.parameters:
                related.setdefault(path, set()).update(set(rule.parameters) - {path})
    return {path: tuple(sorted(others)) for path, others in sorted(related.items()) if others}


def get_param_skip_conditions() -> dict[str, list[dict[str, Any]]]:
    """Map parameters to the conditions under which a test of them cannot run.

    Each has ``what``, ``backends`` and, where they matter, ``packages``, ``accelerator``,
    ``compute_capability``, ``versions`` and ``devices``.
    """
    conditions: dict[str, list[dict[str, Any]]] = {}
    for need in REQUIREMENTS:
        capability = need.capability
        conditions.setdefault(need.parameter, []).append(
            {
                "what": need.what,
                "backends": list(need.backends),
                "packages": [f"{name}>={low}" if low else name for name, low in need.packages],
                "accelerator": need.accelerator,
                "compute_capability": None if capability is None else f"{capability[0]}.{capability[1]}",
            }
        )
    for rule in rules.REGISTRY:
        if rule.devices:
            for path in rule.parameters:
                conditions.setdefault(path, []).append(
                    {
                        "what": rule.combination,
                        "backends": list(rule.backends or BACKENDS),
                        "versions": rule.versions,
                        "devices": rule.devices,
                    }
                )
    return conditions


def get_validation_rules() -> list[dict[str, Any]]:
    """Return every rule as a JSON object, in registry order."""
    return [
        {
            "id": rule.id,
            "severity": rule.severity,
            "backends": list(rule.backends) if rule.backends else ["all"],
            "parameters": list(rule.parameters),
            "combination": rule.combination,
            "expected": rule.expected,
            "reason": rule.reason,
            "resolution": rule.resolution,
            "witness": rule.example(rule.witness),
            "neighbour": rule.example(rule.neighbour),
            "versions": rule.versions,
            "devices": rule.devices,
        }
        for rule in rules.REGISTRY
    ]


def compute_config_hash(config: ExperimentConfig) -> str:
    """Return a SHA-256 (hex) of what the config states.

    Key order and explicit None do not matter; every stated value does, ``revision`` among them.
    """
    stated = {"model": config.model, "backend": config.backend, "settings": settings(config)}
    text = json.dumps(stated, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
