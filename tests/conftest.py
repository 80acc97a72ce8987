"""Fixtures of the harness's own tests, and the order of their files."""

from __future__ import annotations

from typing import Final

import pytest

from tests import interpreters

LONGEST: Final = (
    "test_vllm_faults.py",
    "test_plugin.py",
    "test_shards.py",
    "test_ray.py",
    "test_cli.py",
    "test_slots_faults.py",
    "test_variants_vllm.py",
    "test_repro.py",
    "test_versions.py",
    "test_energy_plugin.py",
    "test_audit_real.py",
    "test_order_and_company.py",
    "test_drawn_statistics.py",
    "test_expectations.py",
    "test_config_properties.py",
    "test_store.py",
    "test_backend_vllm.py",
    "test_reference_sampler.py",
    "test_config_differential.py",
    "test_supervisor.py",
    "test_slots_allocation.py",
    "test_summary.py",
)
"""Files that take a minute and more, the longest first: begun last, one would leave the other cores idle."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first: `make test` deals files out whole, in this order."""
    rank = {name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(item.path.name, len(rank)))


@pytest.fixture(scope="session")
def pytorch_python() -> str:
    """The PyTorch backend's interpreter; without it nothing real can be tested, so that is a failure."""
    path = interpreters.pytorch()
    if not path.is_file():
        pytest.fail(f"no PyTorch interpreter at {path}: `make setup` makes it")
    return str(path)
