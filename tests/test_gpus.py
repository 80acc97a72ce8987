"""Which GPUs are ours: what CUDA would let a process use, and no other's."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from harness.cluster.node import of_node
from harness.gpus import allotted, gpus
from harness.slots.machine import Machine
from harness.snapshot import snapshot
from tests import fake_smi

A, B, C, D = "GPU-a1", "GPU-a2", "GPU-b1", "GPU-b2"
E, F = "MIG-e", "MIG-f"


@pytest.fixture
def four(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four GPUs."""
    install(tmp_path, monkeypatch, dict.fromkeys((A, B, C, D), ()))


def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: dict[str, tuple[str, ...]]) -> None:
    monkeypatch.setenv("PATH", fake_smi.install(tmp_path / "bin", there) + os.pathsep + os.environ["PATH"])
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


@pytest.mark.parametrize(
    ("variable", "ours"),
    [
        (None, [A, B, C, D]),
        ("3", [D]),
        ("2,0", [C, A]),
        (" 1, 2", [B, C]),
        ("+1", [B]),
        ("1x,2", [B, C]),
        (D, [D]),
        (f"{C},{A}", [C, A]),
        (f"{A},3", [A, D]),
        ("GPU-b2", [D]),
        ("", []),
        ("-1", []),
        ("0,-1,1", [A]),
        ("0,,1", [A]),
        ("0,7,1", [A]),
        ("NoDevFiles", []),
        ("GPU-nobody,0", []),
        (f"{A},GPU-nobody,{B}", [A]),
        ("GPU-a", []),
        (f"{A}, {B}", [A]),
        ("0,1,0", []),
        (f"0,{A}", []),
        ("MIG-nobody", []),
    ],
)
@pytest.mark.usefixtures("four")
def test_slots_and_headers_have_the_gpus_that_cuda_would_show(
    monkeypatch: pytest.MonkeyPatch, variable: str | None, ours: list[str]
) -> None:
    if variable is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", variable)
    assert list(Machine.here().gpus) == ours
    told = snapshot([])["gpus"]
    assert isinstance(told, list)
    assert [gpu["uuid"] for gpu in told if isinstance(gpu, dict)] == ours


@pytest.mark.parametrize(
    ("variable", "ours", "seen"),
    [
        (None, [E, F, B], [E]),
        (F, [F], [F]),
        (f"{F},{E}", [F, E], [F]),
        ("1", [B], [B]),
        ("0", [E], [E]),
        (A, [E], [E]),
        (f"{E},MIG-nobody,{F}", [E], [E]),
        (f"{E},{E}", [], []),
        ("MIG-", [], []),
    ],
)
def test_an_instance_is_a_slot_and_a_process_uses_one_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str | None, ours: list[str], seen: list[str]
) -> None:
    install(tmp_path, monkeypatch, {A: (E, F), B: ()})
    if variable is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", variable)
    assert [gpu["uuid"] for gpu in allotted()] == ours
    assert [gpu["uuid"] for gpu in gpus() if isinstance(gpu, dict)] == seen


def test_an_instance_is_told_by_its_profile_and_its_memory_is_not_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, monkeypatch, {A: (E,)})
    assert gpus() == [
        {
            "index": 0,
            "name": "NVIDIA Toy MIG 1g.10gb",
            "uuid": E,
            "memory_bytes": None,
            "free_bytes": None,
            "compute_capability": "9.0",
            "driver": "580.00",
        }
    ]


def test_without_a_driver_there_is_none_whatever_the_variable_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert Machine.here().gpus == ()
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 'Failed to initialize NVML: Driver/library version mismatch'\nexit 18\n")
    tool.chmod(0o755)
    assert Machine.here().gpus == ()


@pytest.mark.parametrize(
    ("visible", "count", "devices"), [(None, 3, "0,1,2"), ("4,5,6", 2, "4,5"), (f"{A},{B}", 2, f"{A},{B}"), ("", 0, "")]
)
def test_a_node_of_a_cluster_has_the_gpus_that_the_cluster_was_given_there(
    visible: str | None, count: int, devices: str
) -> None:
    assert of_node(visible, count) == devices
