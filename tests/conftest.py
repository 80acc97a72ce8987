"""Fixtures of the harness's own tests."""

from __future__ import annotations

import pytest

from tests import interpreters


@pytest.fixture(scope="session")
def pytorch_python() -> str:
    """The PyTorch backend's interpreter; without it nothing real can be tested, so that is a failure."""
    path = interpreters.pytorch()
    if not path.is_file():
        pytest.fail(f"no PyTorch interpreter at {path}: `make setup` makes it")
    return str(path)
